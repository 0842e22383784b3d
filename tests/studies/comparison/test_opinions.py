from pathlib import Path

from gain_lightning.runs.map_checks import write_map_checks
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.comparison.opinions import opinion_notes
from gain_lightning.studies.comparison.tables import text_table
from gain_lightning.studies.report.report import write_report


def judge(run, energy, state="agree", ids=("a", "b")):
    opinion = {
        "energy": {"attention": {"mean": 0.9}, "occlusion": {"mean": energy}},
        "state": state,
        "words": "map and occlusion disagree by 60.0 points",
        "ids": list(ids),
    }
    write_map_checks(Path(run), {"second_opinion": opinion})
    return run


def test_energies_are_a_column_with_differences_over_seeds(make_run, tmp_path):
    runs = [
        judge(make_run(f"{method}-{seed}", method, seed), energy + 0.01 * seed * seed)
        for method, energy in (("gradcam", 0.2), ("gain_ext", 0.6))
        for seed in (0, 1, 2)
    ]
    comparison = compare([read_run(run) for run in runs])
    assert "test/energy_occlusion" in comparison.metrics
    (row,) = [row for row in comparison.differences if row.metric == "test/energy_occlusion"]
    assert round(row.delta, 6) == 0.4
    (line,) = [line for line in text_table(comparison).splitlines() if line.startswith("energy by occlusion")]
    assert "21.7" in line
    assert "61.7" in line
    write_report(comparison, tmp_path / "report.html")
    assert "energy by occlusion" in (tmp_path / "report.html").read_text()
    assert opinion_notes(comparison.groups) == []


def test_flagged_runs_and_other_images_are_named(make_run):
    plain = judge(make_run("plain", "gradcam", 0), 0.2)
    guided = judge(make_run("guided", "gain_ext", 0), 0.3, state="disagree", ids=("a", "c"))
    unchecked = make_run("unchecked", "gain", 0)
    notes = compare([read_run(run) for run in (plain, guided, unchecked)]).notes
    assert f"gain check-maps flags {guided}: map and occlusion disagree by 60.0 points." in notes
    (note,) = [note for note in notes if "other images" in note and "check-maps" in note]
    assert guided in note
    assert plain in note
    assert unchecked not in note
