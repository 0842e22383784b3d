import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_runs import SETS, image_rows, slow_metrics, write_csv

from gain_lightning.cli import main
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import _agrees, compare
from gain_lightning.studies.comparison.tables import method_title


def compared(paths, **kwargs):
    return compare([read_run(path) for path in paths], **kwargs)


def difference(comparison, metric, a, b):
    (row,) = (row for row in comparison.differences if (row.metric, row.a, row.b) == (metric, a, b))
    return row


def test_groups_come_in_the_methods_order(make_run):
    paths = [make_run(name, name) for name in ("other", "gain_ext", "gradcam", "gain")]

    assert [group.name for group in compared(paths).groups] == ["gradcam", "gain", "gain_ext", "other"]


def test_mean_and_sample_deviation_over_runs(make_run):
    paths = [make_run(str(s), seed=s, metrics={"test/seed_miou": v}) for s, v in enumerate((0.3, 0.5, 0.4))]

    stat = compared(paths).groups[0].metrics["test/seed_miou"]

    assert (stat.mean, stat.std, stat.n) == (pytest.approx(0.4), pytest.approx(0.1), 3)
    assert compared(paths[:1]).groups[0].metrics["test/seed_miou"].std is None


def test_differences_are_later_minus_earlier(make_study):
    comparison = compared(make_study(seeds=(0, 1, 2)))

    assert {(row.a, row.b) for row in comparison.differences} == {
        ("gradcam", "gain"),
        ("gradcam", "gain_ext"),
        ("gain", "gain_ext"),
    }
    means = {group.name: group.metrics["test/energy"].mean for group in comparison.groups}
    row = difference(comparison, "test/energy", "gradcam", "gain_ext")
    assert row.delta == pytest.approx(means["gain_ext"] - means["gradcam"])
    assert row.over == "seeds and images"
    assert row.ci95[0] < row.delta < row.ci95[1]
    assert row.is_clear
    assert not [row for row in comparison.differences if "threshold" in row.metric]


def test_every_metric_of_per_image_csv_gets_an_interval_over_images(make_study):
    comparison = compared(
        make_study(seeds=(0,))
    )  # the metrics come from a slow oracle, which they must agree with

    over = {row.metric: row.over for row in comparison.differences}
    assert over == {
        "test/mean_ap": "images",
        "test/energy": "images",
        "test/pointing": "images",
        "test/boat_without_water": "images",
        "test/water_without_boat": "images",
        "test/biased_accuracy": "images",
        "test/seed_miou": "",  # one pair of seeds
    }
    assert not comparison.notes


def test_seed_miou_has_students_interval_over_seeds(make_run):
    values = {"gradcam": (0.30, 0.32, 0.31), "gain": (0.36, 0.35, 0.39)}
    paths = [
        make_run(f"{name}_{seed}", name, seed, metrics={"test/seed_miou": value})
        for name, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]

    row = difference(compared(paths), "test/seed_miou", "gradcam", "gain")

    deltas = [0.06, 0.03, 0.08]
    half = (
        4.302653 * np.std(deltas, ddof=1) / np.sqrt(3)
    )  # Student's t with two degrees of freedom, from a table
    assert row.over == "seeds"
    assert row.ci95 == pytest.approx((np.mean(deltas) - half, np.mean(deltas) + half))
    assert not row.is_clear  # though the second method is better with every seed


def test_seeds_that_all_differ_by_the_same_give_no_interval(make_study):
    row = difference(compared(make_study(seeds=(0, 1))), "test/seed_miou", "gradcam", "gain")

    assert (row.ci95, row.over, row.is_clear) == (None, "", False)
    assert row.delta == pytest.approx(0.05)


def test_pairing_by_seed_ignores_the_order(make_study):
    paths = make_study(seeds=(0, 1))

    first, second = compared(paths), compared(paths[::-1])

    for row in first.differences:
        other = difference(second, row.metric, row.a, row.b)
        assert (other.delta, other.ci95) == (
            pytest.approx(row.delta),
            pytest.approx(row.ci95) if row.ci95 else None,
        )


@pytest.mark.parametrize("seeds", [(0, 1), (1, 1), (None, 0)])
def test_runs_that_cannot_be_paired_have_no_interval(make_run, seeds):
    paths = [make_run("a", "gradcam", 0), make_run("b", "gradcam", 2)]
    paths += [make_run(f"c{i}", "gain", summary={"seed": seed}) for i, seed in enumerate(seeds)]

    comparison = compared(paths)

    assert {row.ci95 for row in comparison.differences} == {None}
    assert any("cannot be paired by seed" in note for note in comparison.notes)


def test_without_per_image_csv_there_is_a_note_and_no_interval(make_study):
    paths = make_study(seeds=(0,))
    Path(paths[1], "per_image.csv").unlink()

    comparison = compared(paths)

    assert {row.ci95 for row in comparison.differences} == {None}
    assert f"No per_image.csv in {paths[1]}" in comparison.notes[0]


def test_a_score_that_per_image_csv_contradicts_has_no_interval(make_run):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", metrics={"test/energy": 0.9})]

    comparison = compared(paths)

    assert difference(comparison, "test/energy", "gradcam", "gain").ci95 is None
    assert difference(comparison, "test/mean_ap", "gradcam", "gain").ci95 is not None
    assert "test/energy is 0.9000 in" in comparison.notes[0]


def test_tests_on_different_images_have_no_interval(make_run):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", sets={"test": 41, "x": 10})]

    comparison = compared(paths)

    assert {row.ci95 for row in comparison.differences} == {None}
    assert "other images or classes were tested" in comparison.notes[0]


@pytest.mark.parametrize(
    "key",
    [
        "data.class_path",
        "data.init_args.image_size",
        "data.init_args.split",
        "model.backbone",
        "trainer.max_epochs",
    ],
)
def test_compare_refuses_keys_that_decide_what_is_measured(make_run, key):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", config={key: "another"})]
    short = key.replace("init_args.", "")

    with pytest.raises(RunError) as error:
        compared(paths)

    assert f"  {short}\n" in str(error.value)
    assert f"    another: {paths[1]}" in str(error.value)
    assert f"    {read_run(paths[0]).config.get(short)}: {paths[0]}" in str(error.value)
    (note,) = (note for note in compared(paths, allow=[key]).notes if note.startswith("Allowed"))
    assert short in note
    assert "another" in note


@pytest.mark.parametrize(
    "key", ["batch_size", "masked_batch_size", "mask_budget", "mask_seed", "num_workers", "mask_folder"]
)
def test_compare_accepts_other_masks_and_batches(make_run, key):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", config={f"data.init_args.{key}": 77})]

    comparison = compared(paths)

    assert f"data.{key}" in dict(comparison.config)


def test_allow_of_a_key_that_is_not_compared_is_an_error(make_run):
    with pytest.raises(RunError, match=r"--allow model\.sigma: no such key is compared"):
        compared([make_run("a")], allow=["model.sigma"])


def test_config_shows_only_keys_that_differ(make_study):
    comparison = compared(make_study(seeds=(0, 1)))  # seeds, run_dir and the logger's folder differ too

    assert comparison.config == [("model.am_weight", ["0", "1", "1"])]


def test_config_notes_settings_mixed_within_a_method(make_run):
    paths = [make_run("a", seed=0), make_run("b", seed=1, config={"model.am_weight": 0.1})]

    comparison = compared(paths)

    assert comparison.config == [("model.am_weight", ["1, 0.1"])]
    assert "Runs of one method differ in model.am_weight (gain)" in comparison.notes[0]


def test_different_commits_are_noted(make_run):
    paths = [make_run("a"), make_run("b", seed=1, summary={"git_commit": "def"})]

    assert "The runs come from different commits: abc, def." in compared(paths).notes


def test_score_classes_restrict_every_score(make_run):
    """A run that scores boat alone has the intervals of one whose data know no other class."""
    comparisons = []
    for names in (["boat"], None):
        paths = []
        for method in ("gradcam", "gain"):
            rows = [row for row in image_rows(method, 0, SETS) if names is not None or row["class"] == "boat"]
            metrics = slow_metrics([row for row in rows if row["class"] == "boat"], ["boat"], "boat")
            path = make_run(
                f"{method}_{names}", method, config={"model.score_classes": names}, metrics=metrics
            )
            write_csv(Path(path, "per_image.csv"), rows)
            paths.append(path)
        comparisons.append(compared(paths))

    restricted, alone = comparisons
    assert not [note for note in restricted.notes if "but its per_image.csv gives" in note]
    for key in ("test/mean_ap", "test/energy", "test/pointing", "test/boat_without_water"):
        row, expected = (difference(one, key, "gradcam", "gain") for one in (restricted, alone))
        assert (row.delta, row.ci95, row.over) == (expected.delta, pytest.approx(expected.ci95), "images")


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_scores_of_val_are_said_to_be_of_val(make_run, tmp_path, capsys, seeds):
    """Without a test split: table, headline, figures and report."""
    for method in ("gradcam", "gain"):
        for seed in seeds:
            path = make_run(f"{method}_{seed}", method, seed)
            rows = [
                {**row, "set": "val" if row["set"] == "test" else row["set"]}
                for row in image_rows(method, seed, SETS)
            ]
            write_csv(Path(path, "per_image.csv"), rows)

    assert main(["compare", str(tmp_path / "runs" / "*"), "--out", str(tmp_path / "out")]) == 0

    text = capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Percent on val," in text
    assert "compared on val</h1>" in page
    assert "Scores on val in percent" in page
    assert "the same images of val" in page
    assert "seed mIoU (val, %)" in page
    for said in (text, page):
        said = said.replace("There is no test set: all scores are those of val", "")
        said = said.replace("the test set of this name", "").replace(
            "Mean accuracy over the further test sets", ""
        )
        assert not re.findall(
            r"\btests?\b", re.sub(r"data:\S+|<script>.*", "", said, flags=re.DOTALL), re.IGNORECASE
        )
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["scored_set"] == "val"


def test_maps_that_do_no_better_than_the_centre_of_the_image_are_named(make_run):
    centre = {"center/energy": 0.4, "center/seed_miou": 0.32, "center/pointing": 0.0}
    paths = [
        make_run(name, name, metrics={**centre, "test/energy": energy, "test/seed_miou": 0.33})
        for name, energy in (("gradcam", 0.35), ("gain", 0.6))
    ]

    notes = [note for note in compared(paths).notes if "centre" in note]

    assert notes == [
        "The maps of Grad-CAM do no better than a Gaussian at the centre of every image, which has seen nothing, "
        "in energy (35.0, the centre 40.0)."
    ]


def test_a_method_whose_maps_are_often_zero_everywhere_is_named(make_run):
    paths = [
        make_run(name, name, metrics={"test/zero_maps": share, "test/seed_miou": 0.24})
        for name, share in (("gradcam", 0.2), ("gain", 0.8))
    ]

    assert [note for note in compared(paths).notes if "zero" in note] == [
        "80 % of the maps of GAIN are zero everywhere: its seed mIoU is then of the background alone, which is nearly "
        "right where objects are small."
    ]


def test_a_run_that_never_guided_is_refused_by_name(make_run, tmp_path, capsys):
    """Its training ended within the warm-up, so it is Grad-CAM under another name."""
    good, never = make_run("a", "gradcam"), make_run("b", "gain_ext", summary={"guided": False})
    base = make_run("c", "gradcam", seed=1, summary={"guided": True})

    assert main(["compare", good, never, base, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert f"{never}: is called gain_ext but was never guided" in error
    assert good not in error
    assert main(["compare", good, never, base, "--out", str(tmp_path / "out"), "--skip-broken"]) == 0
    assert "never guided" in capsys.readouterr().out.replace("\n", " ")


# The command ------------------------------------------------------------------------------------------


def test_command_writes_three_files_and_a_table(make_study, tmp_path, capsys):
    paths, out = make_study(seeds=(0, 1)), tmp_path / "out"

    assert main(["compare", str(tmp_path / "runs" / "*"), "--out", str(out)]) == 0

    assert sorted(path.name for path in out.iterdir()) == [
        *("figures", "report.html", "summary.json", "table.csv", "table.tex")
    ]
    names = ("accuracy_against_attention", "train_loss", "train_loss_am", "train_loss_cl", "val_mean_ap")
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert text.splitlines()[-1] == f"Report: {out / 'report.html'}"
    assert "Grad-CAM -> GAIN_ext" in text
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == ["groups", "differences", "scored_set"]
    assert summary["scored_set"] == "test"
    assert [set(group) for group in summary["groups"]] == 3 * [{"name", "runs", "metrics"}]
    assert sorted(path for group in summary["groups"] for path in group["runs"]) == sorted(paths)
    assert set(summary["differences"][0]) == {"metric", "a", "b", "delta", "ci95", "over"}
    over = {row["metric"]: row["over"] for row in summary["differences"]}
    assert (over["test/energy"], over["test/seed_miou"]) == (
        "seeds and images",
        None,
    )  # seeds that differ by the same
    energies = [
        json.loads(Path(path, "summary.json").read_text())["metrics"]["test/energy"] for path in paths
    ]
    stat = summary["groups"][0]["metrics"]["test/energy"]
    mean, std = np.mean(energies[::3]), np.std(energies[::3], ddof=1)
    assert stat == {"mean": pytest.approx(mean), "std": pytest.approx(std), "n": 2}
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert {"group": "gradcam", "metric": "test/energy", **{k: str(v) for k, v in stat.items()}} in rows


def test_command_gives_the_same_files_twice_and_passes_over_its_own_folder(make_run, tmp_path, capsys):
    make_run("a", maps=False)
    out = tmp_path / "runs" / "compare"
    argv = [str(tmp_path / "runs" / "*"), "--out", str(out)]

    assert main(["compare", *argv]) == 0
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["compare", *argv]) == 0

    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_the_letters_is_no_failure(make_run, tmp_path, encoding):
    paths = [make_run(f"essai_\u00e9\u03c9_{seed}", seed=seed) for seed in (0, 1)]  # \u03c9 is not in cp1252
    command = [sys.executable, "-m", "gain_lightning", "compare", *paths, "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    result = subprocess.run(command, env=environment, capture_output=True, cwd=Path(__file__).parents[3])

    assert result.returncode == 0, result.stderr
    assert b"standard deviation over runs" in result.stdout
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("how", ["| head -c 1 > HEAD", ">&-"])
def test_a_reader_that_is_gone_is_no_failure(make_run, tmp_path, how):
    path, out = make_run("a", maps=False), tmp_path / "out"
    command = f"{sys.executable} -m gain_lightning compare {path} --out {out} {how}".replace(
        "HEAD", str(tmp_path / "h")
    )

    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, cwd=Path(__file__).parents[3]
    )

    assert (result.returncode, result.stderr) == (0, b"")
    assert (out / "report.html").is_file()


def test_a_difference_lies_within_its_own_interval(make_run):
    """Even where the scores of single images were rounded, and the summary says a little more."""
    paths = [make_run("a", "gradcam"), make_run("b", "gradcam")]
    content = json.loads(Path(paths[1], "summary.json").read_text())
    content["metrics"]["test/mean_ap"] += 0.0049
    Path(paths[1], "summary.json").write_text(json.dumps({**content, "method": "gain"}))

    (row,) = [row for row in compared(paths).differences if row.metric == "test/mean_ap"]

    assert (row.delta, row.ci95) == (0, None)  # equal on every image


def test_groups_by_a_key_say_what_else_differs_and_have_short_names(make_run):
    numbers = {"a": (0.034639644598918023, 1), "b": (0.5, 5)}
    runs = [
        read_run(
            make_run(name, config={"model.am_weight": weight, "trainer.max_epochs": 5, "model.omega": omega})
        )
        for name, (weight, omega) in numbers.items()
    ]

    comparison = compare(runs, by="model.am_weight")

    assert [group.name for group in comparison.groups] == ["am_weight 0.03464", "am_weight 0.5"]
    assert "The groups differ in model.omega too: a difference may come from there." in comparison.notes


def test_runs_that_repeat_each_other_without_a_common_score_compare(make_run):
    paths = [make_run("a"), make_run("b")]
    for path, key in zip(paths, ("test/x", "test/y"), strict=True):
        content = json.loads(Path(path, "summary.json").read_text())
        Path(path, "summary.json").write_text(json.dumps({**content, "metrics": {key: 0.5}}))

    assert not [note for note in compared(paths).notes if "equal settings" in note]


def test_command_refuses_incomparable_runs(make_run, tmp_path, capsys):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", config={"model.backbone": "resnet50"})]

    assert main(["compare", *paths, "--out", str(tmp_path / "out")]) == 1
    assert "resnet50" in capsys.readouterr().err
    assert main(["compare", *paths, "--out", str(tmp_path / "out"), "--allow", "model.backbone"]) == 0
    assert "Allowed to differ: model.backbone" in (tmp_path / "out" / "report.html").read_text()


def test_command_says_when_it_cannot_write(make_run, tmp_path, capsys):
    (tmp_path / "file").write_text("")

    assert main(["compare", make_run("a"), "--out", str(tmp_path / "file")]) == 1
    assert "gain compare: error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["per_image.csv", "metrics.csv", "maps.npz"])
def test_command_names_a_foreign_file(make_study, tmp_path, capsys, name):
    paths = make_study(seeds=(0,))
    Path(paths[0], name).write_bytes(b"\x00\xffnot what it should be,\n1,2,3\n")

    assert main(["compare", *paths, "--out", str(tmp_path / "out")]) == 1
    assert name in capsys.readouterr().err


def test_comparison_imports_no_torch(make_run, tmp_path):
    path = make_run("a")
    program = (
        "import sys; from gain_lightning.cli import main; "
        f"assert main(['compare', {path!r}, '--out', {str(tmp_path / 'out')!r}]) == 0; "
        "assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


def test_runs_of_the_same_config_and_seed_have_no_difference(make_run):
    first, second = make_run("a"), make_run("b")

    comparison = compared([first, second])

    assert comparison.notes == [
        f"{first} and {second} have equal settings and seed: no difference in any score."
    ]
    assert all(stat.std == 0 for stat in comparison.groups[0].metrics.values())
    assert comparison.config == []


def test_runs_of_the_same_config_and_seed_that_differ_are_named(make_run):
    first, second = make_run("a"), make_run("b", metrics={"test/seed_miou": 0.36})
    other_seed = make_run("c", seed=1)

    (note, *_) = compared([first, second, other_seed]).notes

    assert note == f"{first} and {second} have equal settings and seed: test/seed_miou differs by 0.0100."


def test_equal_runs_under_two_names_differ_by_nothing(make_run):
    paths = [make_run(name, summary={"method": method}) for name, method in (("a", "gradcam"), ("b", "gain"))]

    comparison = compared(paths)

    assert comparison.differences
    assert all(row.delta == 0 and not row.is_clear for row in comparison.differences)
    assert all(
        row.ci95 is None for row in comparison.differences
    )  # which does not say that no image tells them apart


def test_copied_run_with_its_old_run_dir_still_compares(make_run, tmp_path):
    path = make_run("a", "gradcam")
    shutil.move(path, tmp_path / "elsewhere")

    comparison = compared([str(tmp_path / "elsewhere"), make_run("b", "gain")])

    assert comparison.config == [("model.am_weight", ["0", "1"])]


def test_budgets_are_groups_of_their_own(make_run):
    """A row per number of masks; also of one, so that a reader sees what was paid for it."""
    runs = [read_run(make_run("base", "gradcam"))]
    runs += [
        read_run(make_run(f"ext-{masks}-{seed}", "gain_ext", seed, summary={"num_masked": masks}))
        for masks in (78, 9, 23)
        for seed in (0, 1)
    ]
    groups = compare(runs).groups
    assert [group.name for group in groups] == ["gradcam", "gain_ext_9", "gain_ext_23", "gain_ext_78"]
    assert [len(group.runs) for group in groups] == [1, 2, 2, 2]
    assert [group.name for group in compare(runs[:3]).groups] == ["gradcam", "gain_ext_78"]


def test_a_budget_by_several_classes_is_one_method(make_run):
    """How many images it draws depends on how many show two of the classes, and so on the seed."""
    budget = {"data.init_args.mask_budget": {"cat": 23, "dog": 23}}
    runs = [
        read_run(make_run(f"ext-{seed}", "gain_ext", seed, config=budget, summary={"num_masked": masks}))
        for seed, masks in enumerate((45, 41, 42))
    ]
    runs.append(read_run(make_run("one", "gain_ext", 0, summary={"num_masked": 9})))
    groups = compare(runs).groups
    assert [(group.name, len(group.runs)) for group in groups] == [("gain_ext_9", 1), ("gain_ext_41-45", 3)]
    assert method_title("gain_ext_41-45") == "GAIN_ext (41-45 masks)"


@pytest.mark.parametrize(
    ("metric", "said", "found", "agrees"),
    [
        ("test/mae", 242603.3125, 242603.3050, True),
        ("test/mae", 0.002, 0.004, False),
        ("test/mae", 0.0, 0.0, True),
        ("test/mean_ap", 0.80, 0.804, True),
        ("test/mean_ap", 0.01, 0.016, False),
    ],
)
def test_an_error_is_checked_against_its_images_in_its_own_size(metric, said, found, agrees):
    assert _agrees(metric, said, found) == agrees


def test_runs_are_grouped_by_any_key_in_the_order_of_its_values(make_run):
    paths = [
        make_run(f"{budget}_{seed}", "gain_ext", seed, config={"data.init_args.mask_budget": budget})
        for budget in (20, 3, 100)
        for seed in (0, 1)
    ]
    comparison = compare([read_run(path) for path in paths], by="data.mask_budget")
    assert [group.name for group in comparison.groups] == [
        "mask_budget 3",
        "mask_budget 20",
        "mask_budget 100",
    ]
    assert [len(group.runs) for group in comparison.groups] == [2, 2, 2]


def test_the_key_that_runs_are_grouped_by_may_differ(make_run):
    runs = [read_run(make_run(name, config={"model.backbone": name})) for name in ("tiny_cnn", "vgg16")]
    with pytest.raises(RunError, match=r"model\.backbone"):
        compare(runs)
    assert [group.name for group in compare(runs, by="model.backbone").groups] == [
        "backbone tiny_cnn",
        "backbone vgg16",
    ]


def test_grouping_by_a_key_that_no_run_has_is_an_error(make_run):
    with pytest.raises(
        RunError, match=r"--by model\.backbon: no run has this key; did you mean model\.backbone"
    ):
        compare([read_run(make_run("a"))], by="model.backbon")
