"""Run small trainings that are stopped and go on, and compare what they leave."""

import csv
import json
import signal

import torch
from small_run import CONFIG

from gain_lightning.cli import main
from gain_lightning.training.resume import ExactResume

SMALL = [
    *("--data.num_train=24", "--data.num_val=8", "--data.num_test=8", "--data.num_biased=4"),
    *("--data.batch_size=4", "--data.masked_batch_size=2", "--data.mask_budget=5"),
    *("--trainer.max_epochs=3", "--model.warmup=0.333333", "--trainer.enable_progress_bar=false"),
    *("--trainer.enable_model_summary=false", "--trainer.logger=false", "--trainer.log_every_n_steps=1"),
    "--trainer.accelerator=cpu",
]
STEPS = 6  # an epoch


def fit(folder, *more):
    return main(["fit", *CONFIG, *SMALL, f"--run_dir={folder}", *more])


def what_is_left(folder):
    """Return the checkpoint, the metrics as text, and the test's scores of a finished training."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["state"] == "finished"
    return checkpoint, (folder / "metrics.csv").read_text(), summary["metrics"]


def assert_equal(got, expected):
    for key, tensor in expected[0]["state_dict"].items():
        assert torch.equal(got[0]["state_dict"][key], tensor), key
    moments = [c["optimizer_states"][0]["state"] for c in (got[0], expected[0])]
    for key, state in moments[1].items():
        assert all(torch.equal(moments[0][key][name], value) for name, value in state.items()), key
    assert got[0]["lr_schedulers"] == expected[0]["lr_schedulers"]
    assert (got[0]["epoch"], got[0]["global_step"]) == (expected[0]["epoch"], expected[0]["global_step"])
    assert sorted_rows(got[1]) == sorted_rows(expected[1])
    assert got[2] == expected[2]


def sorted_rows(text):
    """Return the rows in one order, since a step's row may stand before or after the learning rate's."""
    return sorted(tuple(sorted(row.items())) for row in csv.DictReader(text.splitlines()))


def tell(monkeypatch, *, at_step=None, in_validation_of=None):
    """Send a SIGTERM in the middle of a step, or of an epoch's validation."""

    def backward(self, trainer, pl_module, loss):
        if trainer.global_step == at_step:
            signal.raise_signal(signal.SIGTERM)

    def validated(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if trainer.current_epoch == in_validation_of:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ExactResume, "on_before_backward", backward, raising=False)
    monkeypatch.setattr(ExactResume, "on_validation_batch_end", validated, raising=False)
