import contextlib
import errno
import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path

import optuna
import pytest
import yaml
from sweeping import every_trial_once, log_of, rows_of

from gain_lightning.cli import main
from gain_lightning.constants import REQUEUE
from gain_lightning.studies.sweeps import sweep
from gain_lightning.studies.sweeps.file import read_sweep_file
from gain_lightning.studies.sweeps.parameter import SweepError
from gain_lightning.studies.sweeps.sweep import Sweep, _last_line


def test_a_grid_runs_every_combination_once(sweep_file, tmp_path, capsys):
    path = sweep_file({"x": {"values": [1, 2, 3]}, "y": {"values": ["a", "b"]}})
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out), "--workers", "2"]) == 0
    printed = capsys.readouterr().out
    assert "6 trials: 6 done" in printed
    assert "best score:" in printed
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) < 80
    rows = rows_of(out)
    assert sorted((row["x"], row["y"], float(row["score"])) for row in rows) == [
        (x, y, float(x) ** 2) for x in "123" for y in "ab"
    ]
    assert sorted(log_of(out)) == sorted(
        f"{word} {n:04d} {1 + n // 2}" for n in range(6) for word in ("begin", "end")
    )
    assert (out / "sweep.yaml").read_text() == path.read_text()


def test_a_finished_sweep_runs_nothing_again(sweep_file, tmp_path):
    path, out = sweep_file({"x": {"values": [1, 2]}}), tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    before = log_of(out)
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    assert log_of(out) == before


def test_another_file_in_the_same_folder_is_refused(sweep_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["sweep", str(sweep_file({"x": {"values": [1]}})), "--out", str(out)]) == 0
    assert main(["sweep", str(sweep_file({"x": {"values": [2]}})), "--out", str(out)]) == 1
    assert "holds another sweep than this file" in capsys.readouterr().err


def test_bayes_finds_the_peak_of_a_parabola(sweep_file, tmp_path):
    path = sweep_file({"x": {"min": -1.0, "max": 1.0}}, method="bayes", run_cap=12)
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out), "--workers", "2"]) == 0
    rows = rows_of(out)
    assert len(rows) == 12
    assert len({row["x"] for row in rows}) == 12
    for row in rows:
        assert float(row["score"]) == pytest.approx(float(row["x"]) ** 2)


def test_random_draws_the_same_trials_each_time(sweep_file, tmp_path):
    path = sweep_file({"x": {"min": 0.0, "max": 1.0}}, method="random", run_cap=3)
    found = []
    for name in ("a", "b"):
        assert main(["sweep", str(path), "--out", str(tmp_path / name)]) == 0
        found.append([row["x"] for row in rows_of(tmp_path / name)])
    assert found[0] == found[1]


def test_a_target_ends_the_sweep(sweep_file, tmp_path):
    path = sweep_file(
        {"x": {"values": [1, 5, 2, 3]}}, metric={"name": "score", "goal": "maximize", "target": 20}
    )
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    assert [row["state"] for row in rows_of(out)] == ["done", "done", "waiting", "waiting"]


def test_a_trial_that_fails_is_named_and_the_others_go_on(sweep_file, tmp_path, capsys):
    path = sweep_file({"x": {"values": [1, 2, 3]}, "bad": {"value": 2}})
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 1
    assert "0001  failed: cannot do 2" in capsys.readouterr().out
    assert [(row["state"], row["error"]) for row in rows_of(out)] == [
        ("done", ""),
        ("failed", "cannot do 2"),
        ("done", ""),
    ]


def test_the_last_line_of_a_log_is_no_progress_bar(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(
        "\rEpoch 0: 50%|###  | 1/2\n\rValidation: 100%|####| 2/2\x1b[Again fit: error: lr is negative\n"
    )
    assert _last_line(log).endswith("gain fit: error: lr is negative")
    assert "%" not in _last_line(log)


def test_a_metric_that_never_appears_stops_after_the_first_trial(sweep_file, tmp_path, capsys):
    path = sweep_file({"x": {"values": [1, 2, 3]}}, metric={"name": "val/ap", "goal": "maximize"})
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 1
    assert "metric.name is 'val/ap', but trial 0000 has: other, score" in capsys.readouterr().err
    assert log_of(out) == ["begin 0000 1", "end 0000 1"]


@pytest.mark.parametrize("value", ["NaN", "null", "Infinity"])
def test_a_metric_that_is_not_finite_is_said(sweep_file, tmp_path, capsys, value):
    path = sweep_file({"x": {"values": [1, 2]}})
    script = tmp_path / "trial.py"
    text = script.read_text().replace('float(args["x"]) ** 2', "7.5")
    script.write_text(text.replace("json.dumps(summary)", f"json.dumps(summary).replace('7.5', '{value}')"))
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "score is not finite" in capsys.readouterr().out


def test_a_command_that_does_not_exist_is_an_error(sweep_file, tmp_path, capsys):
    path = sweep_file({"x": {"values": [1, 2]}}, command=["no-such-program", "${args}"])
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "the command cannot be run" in capsys.readouterr().err


def test_a_study_whose_maker_stopped_before_its_parameters(sweep_file, tmp_path):
    """Also what a second process sees of a first one that made the study a moment ago."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, study_name="s", directions=["maximize"])
    with pytest.raises(SweepError, match="'s' has no parameters yet"):
        Sweep(url, tmp_path / "out", "s")
    file = read_sweep_file(sweep_file({"x": {"values": [1, 2, 3]}}).read_text(), where="s")
    assert len(Sweep(url, tmp_path / "out", "s", file=file).trials()) == 3
    assert Sweep(url, tmp_path / "out", "s").file.text == file.text


def test_half_a_line_at_the_journal_s_end_is_dropped(sweep_file, tmp_path):
    """As a full disk or a power cut leaves it; the trials before it and after it count."""
    path, out = sweep_file({"x": {"values": [1, 2, 3]}}), tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    whole = (out / "journal.log").read_bytes()
    for half in (b'{"op_code": 5, "worker_id": "x', b"{"):
        (out / "journal.log").write_bytes(whole + half)
        assert main(["sweep", "worker", str(out)]) == 0
        assert (out / "journal.log").read_bytes().startswith(whole)
    every_trial_once(out, 3)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_named_and_waited_for_by_nobody(
    sweep_file, tmp_path, capsys, monkeypatch, number
):
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert main(["sweep", str(sweep_file({"x": {"values": [1, 2]}})), "--out", str(tmp_path / "out")]) == 1
    assert f"0000: its file system has no locks ({os.strerror(number)})" in capsys.readouterr().err


def test_a_file_system_without_symbolic_links(sweep_file, tmp_path, monkeypatch):
    def symlink(source, target, *_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", symlink)
    assert main(["sweep", str(sweep_file({"x": {"values": [1, 2]}})), "--out", str(tmp_path / "out")]) == 0
    every_trial_once(tmp_path / "out", 2)
    assert not list((tmp_path / "out").glob("*.lock"))


def test_an_empty_name_of_the_folder_is_waited_for_a_while(sweep_file, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "folder_id").touch()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(SweepError, match="folder_id: empty"):
        sweep._token(tmp_path / "out")


@pytest.mark.parametrize("away", [1, 100])
def test_a_heart_beats_on_when_a_database_was_away(sweep_file, tmp_path, monkeypatch, away):
    """For a moment, or for good: then no machine may take the trial for dead while it runs."""
    monkeypatch.setattr(sweep, "STALE", 0.4)
    file = read_sweep_file(sweep_file({"x": {"values": [1]}}).read_text(), where="s")
    under_way = Sweep(f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "out", "s", file=file)
    with under_way._claim() as claim:
        beats = []

        def set_user_attr(key, value):
            beats.append(value)
            if len(beats) <= away:
                raise ConnectionError("the server is away")

        monkeypatch.setattr(claim.trial, "set_user_attr", set_user_attr)
        with under_way._heartbeat(claim.trial):
            time.sleep(1.0)
    assert under_way.stop.is_set() == (away == 100)
    assert len(beats) > 1
    if away == 100:
        assert "takes no signs of life (ConnectionError)" in under_way.error


@pytest.mark.parametrize("status", [-signal.SIGTERM, -signal.SIGINT, REQUEUE])
def test_a_trial_that_hears_of_a_stop_before_its_sweep_does_is_not_run_again(tmp_path, monkeypatch, status):
    """As when a terminal or a scheduler tells the whole group of processes."""
    text = "{method: grid, program: a.py, parameters: {x: {values: [1]}}}"
    under_way = Sweep(
        str(tmp_path / "journal.log"), tmp_path / "out", file=read_sweep_file(text, where="sweep.yaml")
    )
    runs = []

    def run(claim, values):
        runs.append(values)
        threading.Timer(0.2, under_way.stop.set).start()
        return status

    monkeypatch.setattr(under_way, "_run_process", run)
    under_way.work()
    assert runs == [{"x": 1}]
    assert [trial.state.name for trial in under_way.trials()] == ["RUNNING"]


def test_arguments_in_a_json_file(sweep_file, tmp_path):
    script = tmp_path / "read.py"
    script.write_text(
        "import json, os, sys\nx = json.load(open(sys.argv[1]))\n"
        "json.dump({'state': 'finished', 'metrics': {'score': x['x']}}, "
        "open(os.environ['GAIN_TRIAL_DIR'] + '/summary.json', 'w'))"
    )
    command = ["${interpreter}", str(script), "${args_json_file}"]
    path = sweep_file({"x": {"values": [1, 2.5]}, "y": {"value": None}}, command=command)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 0
    assert [float(row["score"]) for row in rows_of(tmp_path / "out")] == [1, 2.5]
    assert json.loads((tmp_path / "out" / "trials" / "0001" / "args.json").read_text()) == {
        "x": 2.5,
        "y": None,
    }


def test_a_trial_whose_checkpoints_lie_below_goes_on(sweep_file, tmp_path):
    file = read_sweep_file(
        sweep_file({"x": {"values": [1]}}, command=["echo", "${args}"]).read_text(), where="s"
    )
    under_way = Sweep(str(tmp_path / "journal.log"), tmp_path / "out", file=file)
    with under_way._claim() as claim:
        checkpoint = claim.folder / "checkpoints" / "a" / "epoch=1.ckpt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        assert under_way._run_process(claim, {"x": 1}) == 0
        assert (claim.folder / "log.txt").read_text() == "--x=1 --ckpt_path=last\n"


def test_a_database_in_place_of_the_journal(sweep_file, tmp_path):
    path, out = sweep_file({"x": {"values": [1, 2, 3]}}), tmp_path / "out"
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert main(["sweep", str(path), "--out", str(out), "--storage", url]) == 0
    every_trial_once(out, 3)
    assert main(["sweep", "worker", url, "--name", "out", "--out", str(tmp_path / "other")]) == 0
    assert not (tmp_path / "other" / "log").exists()


def test_a_trial_of_another_machine_is_left_alone_while_it_lives(sweep_file, tmp_path):
    """Its folder is not here; in the database it has shown life a moment ago."""
    file = read_sweep_file(sweep_file({"x": {"values": [1, 2]}}).read_text(), where="s")
    url = f"sqlite:///{tmp_path / 'study.db'}"
    there = Sweep(url, tmp_path / "there", "s", file=file)
    here = Sweep(url, tmp_path / "here", "s")
    with there._claim() as far:
        with here._claim() as near:
            assert (far.trial.number, near.trial.number) == (0, 1)
            assert here._claim() is None
        far.trial.set_user_attr("alive", time.time() - 1000)
        with here._claim() as again:
            assert again.trial.number == 0
        with contextlib.nullcontext(there._claim()) as none:
            assert none is None  # its old lock is there, but the trial lives here now


def test_a_trial_that_another_machine_took_a_moment_ago_is_not_taken(sweep_file, tmp_path, monkeypatch):
    file = read_sweep_file(sweep_file({"x": {"values": [1]}}).read_text(), where="s")
    url = f"sqlite:///{tmp_path / 'study.db'}"
    there, here = Sweep(url, tmp_path / "there", "s", file=file), Sweep(url, tmp_path / "here", "s")
    stale = here.trials()  # seen as waiting
    with there._claim():
        monkeypatch.setattr(here, "trials", lambda: stale)
        assert here._claim() is None


@pytest.mark.slow
def test_values_reach_a_run_as_options(tmp_path):
    """With the real program: a run folder a trial, resumable, comparable."""
    config = Path(__file__).parents[3] / "experiments" / "shapes" / "gain.yaml"
    tree = {
        "method": "grid",
        "metric": {"name": "test/mean_ap", "goal": "maximize"},
        "parameters": {
            "model.sigma": {"values": [0.3, 0.5]},
            "model": {"parameters": {"am_weight": {"value": 0.5}}},
        },
        "command": [
            *("gain", "fit", "--config", str(config), "--trainer.logger=false", "--trainer.max_epochs=1"),
            *("--model.warmup=0", "--data.num_train=16", "--data.num_val=8", "--data.num_test=8"),
            *("--data.num_biased=4", "--data.batch_size=8", "--trainer.accelerator=cpu", "${args}"),
        ],
    }
    path = tmp_path / "sigma.yaml"
    path.write_text(yaml.safe_dump(tree))
    assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--workers", "2"]) == 0
    for number, sigma in enumerate((0.3, 0.5)):
        run = tmp_path / "out" / "trials" / f"{number:04d}"
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert (config["model"]["sigma"], config["model"]["am_weight"]) == (sigma, 0.5)
        assert json.loads((run / "summary.json").read_text())["state"] == "finished"


@pytest.mark.slow
def test_hyperband_ends_a_bad_trial_of_the_real_program(tmp_path):
    """One that does not learn, after others that do."""
    config = Path(__file__).parents[3] / "experiments" / "shapes" / "gradcam.yaml"
    tree = {
        "method": "grid",
        "metric": {"name": "val/mean_ap", "goal": "maximize"},
        "early_terminate": {"type": "hyperband", "min_iter": 1, "max_iter": 4, "eta": 2},
        "parameters": {"model.optimizer.lr": {"values": [0.003, 0.002, 0.004, 0.0]}},
        "command": [
            *("gain", "fit", "--config", str(config), "--trainer.logger=false", "--trainer.max_epochs=5"),
            *("--data.num_train=64", "--data.num_val=32", "--data.num_test=8", "--data.num_biased=4"),
            *("--data.batch_size=8", "--trainer.accelerator=cpu", "${args}"),
        ],
    }
    path = tmp_path / "rates.yaml"
    path.write_text(yaml.safe_dump(tree))
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out), "--workers", "2"]) == 0
    rows = rows_of(out)
    assert rows[3]["state"] == "pruned"
    assert json.loads((out / "trials" / "0003" / "summary.json").read_text())["state"] == "pruned"
    assert "done" in {row["state"] for row in rows[:3]}


def test_a_database_that_does_not_answer_is_named_without_its_password(sweep_file, tmp_path, capsys):
    pytest.importorskip("psycopg2")
    url = "postgresql+psycopg2://gain:s3cret@127.0.0.1:1/none"
    assert (
        main(
            ["sweep", str(sweep_file({"x": {"values": [1]}})), "--out", str(tmp_path / "o"), "--storage", url]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert "postgresql+psycopg2://...@127.0.0.1:1/none: cannot be opened" in error
    assert "s3cret" not in error
    query = "postgresql+psycopg2://127.0.0.1:1/none?user=gain&password=s3cret"
    assert (
        main(
            [
                "sweep",
                str(sweep_file({"x": {"values": [1]}})),
                "--out",
                str(tmp_path / "q"),
                "--storage",
                query,
            ]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert "postgresql+psycopg2://127.0.0.1:1/none: cannot be opened" in error
    assert "s3cret" not in error
