"""Which of the runs that a person names are compared."""

import shutil
from pathlib import Path

from gain_lightning.cli import main
from gain_lightning.runs.read import find_runs


def test_command_passes_over_folders_of_other_verbs(make_run, tmp_path, capsys):
    """``gain compare runs/*`` stops neither at an earlier report nor at seeds or predictions."""
    runs = tmp_path / "runs"
    path = make_run("a", maps=False)
    assert main(["compare", path, "--out", str(runs / "report")]) == 0
    for folder, file in (("seeds", "provenance.json"), ("maps", "predictions.csv")):
        (runs / folder).mkdir()
        (runs / folder / file).write_text("{}")
    shutil.copytree(path, runs / "__MACOSX")
    capsys.readouterr()

    assert main(["compare", *map(str, sorted(runs.iterdir())), "--out", str(tmp_path / "out")]) == 0

    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"Left out: {runs / 'report'}: holds the report of a comparison, and is no run." in text
    assert f"Left out: {runs / 'seeds'}: holds the seeds of a segmentation, and is no run." in text
    assert f"Left out: {runs / 'maps'}: holds the predictions of a run, and is no run." in text
    assert f"Left out: {runs / '__MACOSX'}: was left behind by a program, and is no run." in text
    assert main(["compare", str(runs / "report"), "--out", str(tmp_path / "out")]) == 1
    assert f"no run to compare\n  {runs / 'report'}: holds" in capsys.readouterr().err


def test_command_says_that_a_file_is_no_folder(make_run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("")

    assert main(["compare", make_run("a"), str(tmp_path / "notes.txt"), "--out", str(tmp_path / "out")]) == 1
    assert f"{tmp_path / 'notes.txt'}: is a file, expected the folder of a run" in capsys.readouterr().err


def test_command_names_every_unusable_run(make_run, tmp_path, capsys):
    good, running, bare = (
        make_run("good"),
        make_run("running", summary={"state": "running"}),
        make_run("bare"),
    )
    Path(bare, "summary.json").unlink()
    missing = str(tmp_path / "missing")

    assert main(["compare", good, running, bare, missing, "--out", str(tmp_path / "out")]) == 1

    error = capsys.readouterr().err
    assert f"{running}: its state is 'running'" in error
    assert f"{bare}: has no summary.json" in error
    assert f"{missing}: no such folder" in error
    assert good not in error
    assert not (tmp_path / "out").exists()


def test_folder_of_runs_is_told_from_a_run(make_run, tmp_path, capsys):
    make_run("a")

    assert main(["compare", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 1
    assert f"is no run, but holds some: '{tmp_path / 'runs' / '*'}' names them" in capsys.readouterr().err


def test_command_leaves_out_pruned_trials_and_says_so(make_run, tmp_path):
    good, pruned = make_run("good"), make_run("pruned", summary={"state": "pruned"})

    assert main(["compare", good, pruned, "--out", str(tmp_path / "out")]) == 0

    text = (tmp_path / "out" / "report.html").read_text()
    assert f"Left out: {pruned}: its sweep ended it early." in text


def test_command_refuses_an_empty_glob(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "none*")]) == 1
    assert "matches no folder" in capsys.readouterr().err


def test_command_never_writes_into_a_run(make_run, capsys):
    path = make_run("a")
    before = Path(path, "summary.json").read_text()

    assert main(["compare", path, "--out", path]) == 1
    assert "is the folder of a run" in capsys.readouterr().err
    assert Path(path, "summary.json").read_text() == before


def test_skip_broken_leaves_runs_out_by_name(make_study, make_run, tmp_path, capsys):
    broken = make_run("broken", summary={"state": "failed"})
    (tmp_path / "runs" / "empty").mkdir()
    out = tmp_path / "report"
    make_study()
    assert main(["compare", str(tmp_path / "runs" / "*"), "--out", str(out)]) == 1
    assert "--skip_broken leaves them out" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "runs" / "*"), "--out", str(out), "--skip-broken"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Left out:" in printed
    assert "empty: has no summary.json" in printed
    html = (out / "report.html").read_text()
    assert "Left out:" in html
    assert "its state is &#39;failed&#39;" in html
    assert broken.rpartition("/")[2] in html


def test_skip_broken_with_nothing_left_is_an_error(make_run, tmp_path, capsys):
    path = make_run("broken", summary={"state": "failed"})
    assert main(["compare", path, "--out", str(tmp_path / "o"), "--skip-broken"]) == 1
    assert "none is left" in capsys.readouterr().err


def test_a_sweep_stands_for_its_trials(make_run, tmp_path):
    sweep = tmp_path / "sweep"
    (sweep / "trials").mkdir(parents=True)
    (sweep / "sweep.yaml").write_text("method: grid\n")
    for number, name in enumerate(("a", "b")):
        shutil.copytree(make_run(name), sweep / "trials" / f"{number:04d}")
    (sweep / "trials" / "0002").mkdir()  # waits
    assert find_runs([str(sweep)]) == [str(sweep / "trials" / "0000"), str(sweep / "trials" / "0001")]
