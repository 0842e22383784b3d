import pytest
import torch

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
