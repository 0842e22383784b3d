import pytest

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
