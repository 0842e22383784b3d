import json
import subprocess

import pytest
import torch

from gain_lightning.runs import provenance
from gain_lightning.training.metrics_file import MetricsFile


def test_metrics_file_goes_on_where_another_process_left_it(tmp_path):
    first = MetricsFile(tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    first.log_metrics({"a": 2.0, "b": 5.0}, step=1)
    first.save()
    second = MetricsFile(tmp_path)
    second.log_metrics({"a": 3.0, "c": 7.0}, step=2)
    second.save()
    lines = (tmp_path / "metrics.csv").read_text().split()
    assert lines == ["a,b,c,step", "1.0,,,0", "2.0,5.0,,1", "3.0,,7.0,2"]


def test_a_kill_while_columns_are_added_leaves_the_rows(tmp_path, monkeypatch):
    first = MetricsFile(tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    first.save()
    before = (tmp_path / "metrics.csv").read_text()

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        first.log_metrics({"b": 5.0}, step=1)
    assert (tmp_path / "metrics.csv").read_text() == before


def test_a_run_begun_anew_has_no_old_rows_and_no_old_columns(tmp_path):
    old = MetricsFile(tmp_path)
    old.log_metrics({"a": 1.0}, step=0)
    old.save()
    new = MetricsFile(tmp_path)
    assert new.experiment.metrics_keys == ["a", "step"]
    new.begin_anew()
    new.log_metrics({"b": 2.0}, step=0)
    new.save()
    assert (tmp_path / "metrics.csv").read_text().split() == ["b,step", "2.0,0"]


def test_drop_from_forgets_what_a_resumed_run_logs_again(tmp_path):
    log = MetricsFile(tmp_path)
    for step in range(4):
        log.log_metrics({"a": float(step)}, step=step)
    log.save()
    resumed = MetricsFile(tmp_path)
    resumed.drop_from(2)
    resumed.log_metrics({"a": 9.0}, step=2)
    resumed.save()
    assert (tmp_path / "metrics.csv").read_text().split() == ["a,step", "0.0,0", "1.0,1", "9.0,2"]


def test_drop_from_leaves_out_a_line_that_a_kill_cut_short(tmp_path):
    (tmp_path / "metrics.csv").write_text("a,step\n0.0,0\n1.0,1\n2.0")
    MetricsFile(tmp_path).drop_from(5)
    assert (tmp_path / "metrics.csv").read_text().split() == ["a,step", "0.0,0", "1.0,1"]


def test_commit_is_that_of_our_checkout_not_of_a_project_around_it(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "theirs.py").write_text("")
    subprocess.run(["git", "-C", tmp_path, "add", "theirs.py"], check=True)
    subprocess.run(["git", "-C", tmp_path, *identity, "commit", "-qm", "theirs"], check=True)
    (tmp_path / "provenance.py").write_text("")  # an installed copy, which their repository does not track
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_commit() is None
    subprocess.run(["git", "-C", tmp_path, "add", "provenance.py"], check=True)
    assert provenance.git_commit().endswith("+")


def test_summary_is_json_without_nan(tmp_path):
    from gain_lightning.training.run_record import RunRecord

    class Trainer:
        is_global_zero, fast_dev_run = True, False
        callback_metrics = {"test/a": torch.tensor(float("nan")), "test/b": torch.tensor(0.5)}

    record = RunRecord(tmp_path)
    record._note_scores(Trainer())
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=lambda name: 1 / 0)
    assert summary["metrics"] == {"test/a": None, "test/b": 0.5}
