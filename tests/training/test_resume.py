"""A training that is stopped or killed ends as the one that never was: weights, metrics and steps to the bit."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from resuming import CONFIG, SMALL, STEPS, assert_equal, fit, tell, what_is_left

from gain_lightning import REQUEUE, backbones
from gain_lightning.runs.checkpoints import newest_checkpoint
from gain_lightning.studies.sweeps import sweep
from gain_lightning.training.resume import random_state, set_random_state

STOPPED = """
import os, sys, time
from gain_lightning.training import resume
from gain_lightning.cli import main

class Told(resume.ExactResume):  # the second process alone
    def on_before_backward(self, trainer, pl_module, loss):
        time.sleep(float(os.environ.get("SECONDS_A_STEP", 0)))
        if trainer.global_step == int(os.environ["STOP_AT"]) and trainer.global_rank == 1:
            self.stop_requested = True

import gain_lightning.training.experiment
gain_lightning.training.experiment.ExactResume = Told
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def dropout():
    """The tiny network draws at random in every step, so that the state of the draws counts."""
    plain = backbones.BUILDERS["tiny_cnn"]

    def build(*args):
        backbone = plain(*args)
        backbone.head.insert(2, torch.nn.Dropout(0.3))
        return backbone

    patch = pytest.MonkeyPatch()
    patch.setitem(backbones.BUILDERS, "tiny_cnn", build)
    yield
    patch.undo()


@pytest.fixture(scope="module", params=[0, 2], ids=["0 workers", "2 workers"])
def whole(request, tmp_path_factory):
    """A training that nobody stops, and the options that it was given."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    options = [f"--data.num_workers={request.param}"]
    assert fit(folder, *options) == 0
    return what_is_left(folder), options


@pytest.mark.parametrize(
    "stop", [{"at_step": 0}, {"at_step": 3}, {"at_step": 7}, {"at_step": 11}, {"in_validation_of": 1}]
)
def test_stopped_training_goes_on_to_the_bit(whole, tmp_path, monkeypatch, stop, capsys):
    expected, options = whole
    tell(monkeypatch, **stop)
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path / "run", *options)
    assert stopped.value.code == REQUEUE
    tell(monkeypatch)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["state"] == "killed"
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert saved == (12 if stop in ({"at_step": 11}, {"in_validation_of": 1}) else stop["at_step"] + 1)
    pl.seed_everything(99)  # what a new process has drawn by then
    assert fit(tmp_path / "run", *options, "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "run"), expected)


def test_stopped_twice_in_an_epoch(tmp_path, monkeypatch):
    folder = tmp_path / "whole"
    assert fit(folder, "--trainer.accumulate_grad_batches=2") == 0
    options = ["--trainer.accumulate_grad_batches=2"]
    for at, resume in ((4, []), (5, ["--ckpt_path=last"])):
        tell(monkeypatch, at_step=at)
        with pytest.raises(SystemExit):
            fit(tmp_path / "run", *options, *resume)
    tell(monkeypatch)
    assert fit(tmp_path / "run", *options, "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "run"), what_is_left(folder))


def test_a_training_with_weights_and_balanced_draws_goes_on_to_the_bit(tmp_path, monkeypatch):
    options = (
        *("--data.balance_by=group", "--data.bias=0.5", "--data.num_train=60", "--trainer.max_epochs=2"),
        *("--model.class_weights=balanced", "--data.num_workers=0"),
    )
    assert fit(tmp_path / "whole", *options) == 0
    tell(monkeypatch, at_step=9)
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path / "stopped", *options)
    assert stop.value.code == REQUEUE
    tell(monkeypatch)
    assert fit(tmp_path / "stopped", *options, "--ckpt_path=last") == 0
    assert_equal(*(what_is_left(tmp_path / name) for name in ("stopped", "whole")))
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["method"] == "gain_ext+resampled"


def test_training_counted_in_steps_goes_on(tmp_path, monkeypatch):
    """SEC's way to end: `max_steps`, in the middle of an epoch."""
    steps = ["--trainer.max_epochs=-1", "--trainer.max_steps=15"]
    assert fit(tmp_path / "whole", *steps) == 0
    for number, stop in enumerate(({"at_step": 8}, {"in_validation_of": 0})):
        folder = tmp_path / f"run{number}"
        tell(monkeypatch, **stop)
        with pytest.raises(SystemExit):
            fit(folder, *steps)
        tell(monkeypatch)
        assert fit(folder, *steps, "--ckpt_path=last") == 0
        assert_equal(what_is_left(folder), what_is_left(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_training_killed_twenty_times_goes_on_to_the_bit(tmp_path, workers):
    """`kill -9` inside steps, validations and savings, drawn at random, before the first checkpoint too."""
    words = ["fit", *CONFIG, *SMALL, f"--data.num_workers={workers}", "--trainer.max_epochs=16"]
    process = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parents[1] / "helpers" / "killed_twenty_times.py"),
            str(tmp_path),
            *words,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    assert_equal(what_is_left(tmp_path / "killed"), what_is_left(tmp_path / "whole"))
    assert not list((tmp_path / "killed" / "checkpoints").glob("*.part"))


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step(tmp_path):
    """One of them is told, or a signal reaches both at any moment; both save and end, and go on to the bit."""

    def start(name, stop_at, *more, seconds_a_step=0.0):
        ranks = ["--trainer.devices=2", "--trainer.strategy=ddp", "--model.freeze_batch_norm=true"]
        ranks.append("--data.num_workers=1")
        words = ["fit", *CONFIG, *SMALL, *ranks, f"--run_dir={tmp_path / name}", *more]
        environment = {**os.environ, "STOP_AT": str(stop_at), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "stopped.py"), *words],
            env={**environment, "SECONDS_A_STEP": str(seconds_a_step)},
            stdout=subprocess.DEVNULL,
            stderr=(tmp_path / "stderr.txt").open("w"),
            start_new_session=True,
        )

    def run(*words):
        process = start(*words)
        process.wait(timeout=300)
        return process

    (tmp_path / "stopped.py").write_text(STOPPED)
    assert run("whole", -1).returncode == 0
    stopped = run("stopped", 1)
    assert stopped.returncode == REQUEUE, (tmp_path / "stderr.txt").read_text()[-2000:]
    saved = torch.load(tmp_path / "stopped" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert run("stopped", -1, "--ckpt_path=last").returncode == 0
    assert_equal(what_is_left(tmp_path / "stopped"), what_is_left(tmp_path / "whole"))

    metrics, resume = tmp_path / "told" / "metrics.csv", []
    for num_lines in (2, 6):
        told = start("told", -1, *resume, seconds_a_step=0.3)
        try:
            while told.poll() is None and not (
                metrics.is_file() and len(metrics.read_text().splitlines()) >= num_lines
            ):
                time.sleep(0.05)
            time.sleep(random.uniform(0, 0.6))
            os.killpg(told.pid, signal.SIGTERM)
            assert told.wait(timeout=120) == REQUEUE, (tmp_path / "stderr.txt").read_text()[-2000:]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(told.pid, signal.SIGKILL)
        resume = ["--ckpt_path=last"]
    assert run("told", -1, *resume).returncode == 0
    assert_equal(what_is_left(tmp_path / "told"), what_is_left(tmp_path / "whole"))


@pytest.mark.parametrize("stop", [{"at_step": 14}, {"in_validation_of": 1}])
def test_epochs_that_are_not_validated_are_saved_too(tmp_path, monkeypatch, stop):
    """Three epochs, of which the second alone is validated: the last checkpoint is the trained model."""
    options = ["--trainer.check_val_every_n_epoch=2"]
    assert fit(tmp_path / "whole", *options) == 0
    assert what_is_left(tmp_path / "whole")[0]["global_step"] == 3 * STEPS
    tell(monkeypatch, **stop)
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", *options)
    tell(monkeypatch)
    assert fit(tmp_path / "run", *options, "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "run"), what_is_left(tmp_path / "whole"))


def test_a_model_checkpoint_of_the_user_s_keeps_last_the_newest(tmp_path, monkeypatch):
    own = ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.save_last=true"]
    own += ["--trainer.callbacks.every_n_train_steps=4"]
    resume = []
    for step, saved in ((1, 2), (10, 11)):
        tell(monkeypatch, at_step=step)
        with pytest.raises(SystemExit):
            fit(tmp_path / "run", *own, *resume)
        checkpoints = tmp_path / "run" / "checkpoints"
        assert not list(checkpoints.glob("*-v1.ckpt"))
        assert torch.load(newest_checkpoint(checkpoints), weights_only=True)["global_step"] == saved
        resume = ["--ckpt_path=last"]


def test_a_sweep_knows_the_status_of_a_stopped_trial():
    assert sweep.REQUEUE == REQUEUE


def test_random_states_come_back():
    state = random_state()
    draws = [(random.random(), np.random.rand(), torch.rand(1).item()) for _ in range(2)]  # noqa: NPY002
    set_random_state(state)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == draws[0]  # noqa: NPY002
