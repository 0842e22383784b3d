"""Number formats: bfloat16 trains as float32 does, and two trainings in determinism mode are equal to the bit."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from gain_lightning.cli import main

CONFIG = Path(__file__).parent.parent / "experiments" / "shapes" / "gain_ext.yaml"
SMALL = [
    *("--data.num_train=160", "--data.num_val=8", "--data.num_test=8", "--data.num_biased=4"),
    *("--data.batch_size=16", "--data.masked_batch_size=4", "--data.mask_budget=16"),
    *("--trainer.max_epochs=3", "--model.warmup_epochs=1", "--model.lr_scheduler=null"),
    *(
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--trainer.logger=false",
    ),
    *("--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu"),
]


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """Determinism is a setting of the whole process, and the run folder one of its environment."""
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["gain"])
    yield
    torch.use_deterministic_algorithms(False)


def fit(folder, *more):
    """Weights at the end, and the losses of every step by name."""
    assert main(["fit", f"--config={CONFIG}", *SMALL, f"--run_dir={folder}", *more]) == 0
    weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("train/loss_cl", "train/loss_am", "train/loss_ext")
    return weights, {name: torch.tensor([float(row[name]) for row in rows if row[name]]) for name in names}


def test_determinism_mode_gives_equal_bits_twice(tmp_path):
    options = ["--trainer.deterministic=true", "--data.num_workers=1"]
    first, losses = fit(tmp_path / "first", *options)
    assert torch.are_deterministic_algorithms_enabled()
    second, same_losses = fit(tmp_path / "second", *options)
    other, _ = fit(tmp_path / "other", *options, "--seed_everything=1")
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(torch.equal(losses[name], same_losses[name]) for name in losses)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_bfloat16_trains_as_float32_does(tmp_path):
    """L_cl of every step of the warm-up. Guided losses by their means over 20 steps alone, which scatter: a weight
    of 50 on L_e of four images a step carries every rounding on."""
    weights, losses = fit(tmp_path / "float32")
    half_weights, half_losses = fit(tmp_path / "bf16", "--trainer.precision=bf16-mixed")
    assert all(half_weights[key].dtype == weights[key].dtype for key in weights)
    warmup = slice(0, 10)
    torch.testing.assert_close(
        half_losses["train/loss_cl"][warmup], losses["train/loss_cl"][warmup], rtol=0.02, atol=0
    )
    for name, loss in losses.items():
        assert len(loss) in (20, 30)
        assert not torch.equal(half_losses[name], loss), "bfloat16 was not used"
        torch.testing.assert_close(half_losses[name].mean(), loss.mean(), rtol=0.1, atol=0)
