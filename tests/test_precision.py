"""Number formats: bfloat16 trains as float32 does, and two trainings in determinism mode are equal to the bit."""

import csv
from pathlib import Path

import pytest
import torch

from gain_lightning import GAIN, ShapesDataModule
from gain_lightning.cli import main

CONFIG = Path(__file__).parents[1] / "experiments" / "shapes" / "gain_ext.yaml"
SMALL = [
    *("--data.num_train=160", "--data.num_val=8", "--data.num_test=8", "--data.num_biased=4"),
    *("--data.batch_size=16", "--data.masked_batch_size=4", "--data.mask_budget=16"),
    *("--trainer.max_epochs=3", "--model.warmup=0.333333", "--model.lr_scheduler=null"),
    *(
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--trainer.logger=false",
    ),
    *("--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu"),
]


@pytest.fixture(autouse=True)
def as_it_was():
    """Determinism is a setting of the whole process."""
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


@pytest.mark.slow
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
    """Step by step as long as no attention is trained: two guided trainings part, as two seeds do."""
    weights, losses = fit(tmp_path / "float32")
    half_weights, half_losses = fit(tmp_path / "bf16", "--trainer.precision=bf16-mixed")
    assert all(half_weights[key].dtype == weights[key].dtype for key in weights)
    loss, half_loss = (each["train/loss_cl"][:10] for each in (losses, half_losses))  # of the warm-up
    assert not torch.equal(half_loss, loss), "bfloat16 was not used"
    torch.testing.assert_close(half_loss, loss, rtol=0.02, atol=0)
    check_guided_steps(tmp_path / "float32" / "checkpoints" / "last.ckpt")


def check_guided_steps(checkpoint):
    """From the same weights, each loss and its gradient are the same in both formats, up to their rounding."""
    module = GAIN.load_from_checkpoint(checkpoint).train()
    data = ShapesDataModule(
        num_train=160,
        num_val=8,
        num_test=8,
        num_biased=4,
        batch_size=16,
        masked_batch_size=16,
        mask_budget=16,
    )
    data.prepare_data()
    data.setup("fit")
    batches, _, _ = next(iter(data.train_dataloader()))
    batches = module.on_after_batch_transfer(batches, 0)

    def terms(is_half):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            losses = module.losses(batches["weak"], batches["masked"], 1.0)
        return {
            name: (loss.detach(), flat_gradient(loss, module))
            for name, loss in losses.items()
            if name.startswith("loss")
        }

    exact, rounded = terms(False), terms(True)
    assert exact.keys() == {"loss", "loss_cl", "loss_am", "loss_ext"}
    for name, (loss, gradient) in exact.items():
        half_loss, half_gradient = rounded[name]
        assert not torch.equal(half_gradient, gradient), "bfloat16 was not used"
        # the four convolutions and the head each round once in S_cl and once in S_am
        torch.testing.assert_close(half_loss, loss, rtol=10 * torch.finfo(torch.bfloat16).eps, atol=0)
        assert torch.cosine_similarity(half_gradient, gradient, dim=0) > 0.99


def flat_gradient(loss, module):
    gradients = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
