import pytest
import reference
import torch
import torch.nn.functional as F
from label_tables import LABELS

from gain_lightning.losses import classification_loss

TASKS = ("multi_label", "single_label")


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("task", TASKS)
def test_classification_loss_equals_the_oracle(generator, task, reduction):
    logits = 3 * torch.randn(3, 4, generator=generator)
    label = LABELS["one each" if task == "single_label" else "none, one and many"][:3].float()
    expected = reference.classification_loss(logits.tolist(), label.tolist(), task, reduction)
    loss = classification_loss(logits, label, task=task, reduction=reduction)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_classification_loss_is_the_sum_over_classes_unless_a_mean_is_asked_for(generator):
    """Against torch: the sum is binary cross-entropy summed up, the mean its own soft margin loss to the bit."""
    logits, label = torch.randn(2, 3, generator=generator), torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    summed = F.binary_cross_entropy_with_logits(logits, label, reduction="sum") / 2
    assert classification_loss(logits, label).item() == pytest.approx(summed.item(), rel=1e-6)
    mean = classification_loss(logits, label, reduction="mean")
    assert torch.equal(mean, F.multilabel_soft_margin_loss(logits, label))


def test_classes_that_are_never_there_do_not_change_what_a_class_adds_to_the_loss():
    """So the weights of the other two terms need not follow the number of classes."""
    logits, label = torch.tensor([[0.5, -40.0]]), torch.tensor([[1.0, 0.0]])
    alone = classification_loss(logits[:, :1], label[:, :1])
    assert classification_loss(logits, label).item() == pytest.approx(alone.item(), rel=1e-6)


def test_classification_loss_refuses_an_unknown_reduction():
    with pytest.raises(ValueError, match=r"'none'.*'sum' or 'mean'"):
        classification_loss(torch.zeros(1, 2), torch.zeros(1, 2), reduction="none")


@pytest.mark.parametrize("task", TASKS)
def test_classification_loss_is_finite_for_a_sure_and_wrong_logit(task):
    logits = torch.tensor([[-300.0, 300.0]], requires_grad=True)
    loss = classification_loss(logits, torch.tensor([[1.0, 0.0]]), task=task)
    loss.backward()
    assert loss.item() == pytest.approx(600)
    assert logits.grad.isfinite().all()


def test_classification_loss_refuses_an_unknown_task():
    with pytest.raises(ValueError, match=r"'ranking'.*multi_label, single_label, regression"):
        classification_loss(torch.zeros(1, 2), torch.zeros(1, 2), task="ranking")


@pytest.mark.parametrize("task", TASKS)
def test_classification_loss_keeps_double_precision(generator, task):
    """Float32 at least, as Grad-CAM: a finite-difference check in float64 must not be rounded."""
    logits = torch.randn(3, 4, generator=generator, dtype=torch.double)
    label = LABELS["one each"]
    expected = reference.classification_loss(logits.tolist(), label.tolist(), task)
    assert float(classification_loss(logits, label.double(), task=task)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_loss_of_amounts_is_the_squared_error(generator, reduction):
    value, amount = torch.randn(2, 5, 3, generator=generator)
    loss = classification_loss(value, amount, task="regression", reduction=reduction)
    squares = [
        [(v - a) ** 2 for v, a in zip(*rows, strict=True)]
        for rows in zip(value.tolist(), amount.tolist(), strict=True)
    ]
    per_image = [sum(row) / (3 if reduction == "mean" else 1) for row in squares]
    assert loss.item() == pytest.approx(sum(per_image) / 5, rel=1e-5)
