import json
import os
import time

from gain_lightning.cli import main


def test_runs_of_every_state_are_listed(make_run, tmp_path, capsys):
    make_run("a", "gain_ext", 3, summary={"num_masked": 48})
    make_run("deep_" + "x" * 60, "gain", summary={"state": "failed", "metrics": {}})
    for name, text in (("half", '{"state": "run'), ("list", "[]")):
        (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
        (tmp_path / "runs" / name / "summary.json").write_text(text)
    (tmp_path / "runs" / "none" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "none" / "config.yaml").write_text("{}")
    (tmp_path / "runs" / "report").mkdir()
    (tmp_path / "runs" / "report" / "summary.json").write_text("{}")
    (tmp_path / "runs" / "report" / "report.html").write_text("")
    old = tmp_path / "runs" / "old"
    old.mkdir()
    (old / "summary.json").write_text(json.dumps({"state": "running", "method": "gain", "seed": 1}))
    os.utime(old / "summary.json", (time.time() - 5 * 86400,) * 2)
    assert main(["runs", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert lines[0].split() == ["run", "state", "method", "seed", "mAP", "biased"]  # no score that no run has
    assert "finished" in rows["a"]
    assert "gain_ext 48" in rows["a"]
    assert "broken summary.json" in rows["half"]
    assert "broken summary.json" in rows["list"]
    assert "no summary.json" in rows["none"]
    assert "running? 5 d" in rows["old"]
    assert "report" not in rows
    assert any("failed" in line and line.startswith("..") for line in lines)
    assert max(map(len, lines)) < 80


def test_runs_show_the_scores_that_they_have(make_run, tmp_path, capsys):
    make_run("count", "gain", summary={"metrics": {"test/mae": 0.4567}})
    make_run("sec", "gain", summary={"metrics": {"test/miou": 0.314, "test/miou_crf": 0.35}})
    assert main(["runs", str(tmp_path / "runs")]) == 0
    header, count, sec = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header[4:] == ["MAE", "SEC", "+CRF"]
    assert (count[-1], sec[-2:]) == ("0.457", ["31.4", "35.0"])


def test_no_run_and_no_folder_are_said(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 1
    assert "no run in" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "x")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_runs_lists_no_copy_that_a_program_left(tmp_path, capsys):
    for name in ("a", ".ipynb_checkpoints", "__MACOSX", ".Trash"):
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / "summary.json").write_text('{"state": "finished"}')
    assert main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "a/run"]
