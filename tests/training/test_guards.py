import json

import pytest
import torch
from resuming import fit
from small_run import CONFIG, SMALL

from gain_lightning.cli import main
from gain_lightning.training.guards import FiniteGuard


class Trainer:
    current_epoch, global_step, precision, world_size = 3, 70, "32-true", 1
    callback_metrics = {"train/loss_am": torch.tensor(0.5)}
    loggers = ()


BATCH = {"weak": {"id": ["cat_1", "dog_2"]}, "masked": {"id": ["cow_3"]}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_guard_stops_at_a_loss_that_is_not_finite_and_names_the_images(value, precision, monkeypatch):
    monkeypatch.setattr(Trainer, "precision", precision)
    model, guard = torch.nn.Linear(2, 1), FiniteGuard()
    guard.on_train_batch_start(Trainer(), model, {"weak": {"id": ["pig_0"]}}, 0)
    guard.on_before_backward(Trainer(), model, torch.tensor(1.0))
    guard.on_before_optimizer_step(Trainer(), model, None)
    for batch, loss in (({"weak": {"id": ["hen_4"]}}, 1.0), (BATCH, value)):  # accumulated
        guard.on_train_batch_start(Trainer(), model, batch, 1)
        guard.on_before_backward(Trainer(), model, torch.tensor(loss))
    expected = r"the loss is -?(nan|inf) .*loss_am': '0\.5'.* epoch 3, step 70.*: cat_1, dog_2, cow_3\."
    with pytest.raises(FloatingPointError, match=expected):
        guard.on_before_optimizer_step(Trainer(), model, None)


def test_guard_stops_at_a_gradient_that_is_not_finite_before_the_weights_move():
    model, guard = torch.nn.Linear(2, 1), FiniteGuard()
    model.weight.grad = torch.tensor([[1.0, 2.0]])
    for _ in range(2):
        guard.on_train_batch_start(Trainer(), None, BATCH, 0)
        guard.on_before_backward(Trainer(), model, torch.tensor(1.0))
        if model.weight.grad[0, 1] == 2:
            guard.on_before_optimizer_step(Trainer(), model, None)
            model.weight.grad[0, 1] = float("nan")
    with pytest.raises(FloatingPointError, match=r"a gradient is not finite.*: cat_1, dog_2, cow_3"):
        guard.on_before_optimizer_step(Trainer(), model, None)


def test_guard_of_a_process_points_to_the_others_and_a_skipped_step_is_none(monkeypatch):
    monkeypatch.setattr(Trainer, "world_size", 2)
    model, guard = torch.nn.Linear(2, 1), FiniteGuard()
    guard.on_train_batch_start(Trainer(), None, BATCH, 0)
    guard.on_before_optimizer_step(Trainer(), model, None)
    model.weight.grad = torch.full((1, 2), float("nan"))
    guard.on_before_backward(Trainer(), model, torch.tensor(1.0))
    with pytest.raises(
        FloatingPointError, match="gradient is not finite, though each loss of this process is"
    ):
        guard.on_before_optimizer_step(Trainer(), model, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_never_become_the_last_checkpoint(value):
    state = {"good": torch.ones(2), "bad": torch.tensor([1.0, value])}
    with pytest.raises(FloatingPointError, match="the weights bad are not finite after step 70"):
        FiniteGuard().on_save_checkpoint(Trainer(), None, {"state_dict": state})
    FiniteGuard().on_save_checkpoint(Trainer(), None, {"state_dict": {"good": torch.ones(2)}})


def test_a_rate_without_end_leaves_no_checkpoint_of_it(tmp_path, capsys):
    """One step an epoch, after which every weight is nan."""
    rate = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=.inf", "--data.num_train=32"]
    assert main(["fit", *CONFIG, *SMALL, *rate, f"--run_dir={tmp_path / 'run'}"]) == 1
    assert "not finite" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("checkpoints/*.ckpt"))


def test_non_finite_loss_stops_with_ids_and_keeps_the_last_checkpoint(run_dir, tmp_path, capsys):
    """The second epoch starts from a rate that blows the weights up."""
    folder = tmp_path / "run"
    first = [*SMALL, "--model.am_weight=0", "--model.ext_weight=0", f"--run_dir={folder}"]
    assert main(["fit", *CONFIG, *first, "--trainer.max_epochs=1"]) == 0
    good = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    # The schedule makes the rates of a training that goes on from these.
    good["lr_schedulers"][0]["base_lrs"] = [1e30, 1e30]
    torch.save(good, folder / "checkpoints" / "last.ckpt")
    capsys.readouterr()
    again = ["fit", "--config", str(folder / "config.yaml"), "--ckpt_path=last", "--trainer.max_epochs=3"]
    assert main(again) == 1
    error = capsys.readouterr().err
    assert "train_000" in error
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert json.loads((folder / "summary.json").read_text())["state"] == "failed"
    assert "FloatingPointError" in (folder / "error.txt").read_text()


def test_weights_that_are_not_finite_end_no_training(tmp_path, capsys):
    """Where no checkpoint would have noticed."""
    options = ["--trainer.enable_checkpointing=false", "--trainer.max_steps=1", "--trainer.max_epochs=-1"]
    rate = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=.inf"]
    assert fit(tmp_path / "run", *options, *rate) == 1
    assert "are not finite after step 1" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["state"] == "failed"
