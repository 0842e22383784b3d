import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from label_tables import LABELS
from sklearn.utils.class_weight import compute_class_weight

from gain_lightning.losses import balanced_class_weights, classification_loss, classification_losses

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


# Weights of classes ---------------------------------------------------------------------------------------

WEIGHTS = torch.tensor([0.5, 3.0, 1.0, 7.0])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_weighted_losses_equal_torchs(generator, task, reduction):
    """Cross-entropy with ``weight`` summed over images, and binary cross-entropy with ``pos_weight``."""
    logits, label = 3 * torch.randn(3, 4, generator=generator), LABELS["one each"].float()
    if task == "single_label":
        expected = F.cross_entropy(logits, label.argmax(1), weight=WEIGHTS, reduction="sum") / 3
    else:
        summed = F.binary_cross_entropy_with_logits(logits, label, pos_weight=WEIGHTS, reduction="sum")
        expected = summed / (3 if reduction == "sum" else 12)
    loss = classification_loss(logits, label, task=task, reduction=reduction, weights=WEIGHTS)
    torch.testing.assert_close(loss, expected)


def test_weighted_errors_of_amounts_count_where_there_is_an_amount():
    logits, amount = torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    losses = classification_losses(logits, amount, task="regression", weights=torch.tensor([10.0, 100.0]))
    assert losses.tolist() == [4 + 100 * 4, 10 * 1 + 1]


def test_an_image_counts_the_same_beside_any_others(generator):
    """So the mean over batches is the loss of all images, whichever classes come together."""
    logits, label = torch.randn(4, 3, generator=generator), torch.eye(3)[[0, 0, 1, 2]]
    whole = classification_loss(logits, label, task="single_label", weights=WEIGHTS[:3])
    halves = [
        classification_loss(logits[rows], label[rows], task="single_label", weights=WEIGHTS[:3])
        for rows in ([0, 1], [2, 3])
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


@pytest.mark.parametrize("task", [*TASKS, "regression"])
def test_weights_of_one_change_nothing(generator, task):
    logits, label = torch.randn(3, 4, generator=generator), LABELS["one each"].float()
    plain = classification_losses(logits, label, task=task)
    assert torch.equal(classification_losses(logits, label, task=task, weights=torch.ones(4)), plain)


def test_balanced_weights_of_one_label_are_those_of_scikit_learn():
    classes = np.repeat([0, 1, 3], [50, 7, 3])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=classes)
    weights = balanced_class_weights(torch.eye(4)[classes], task="single_label")
    np.testing.assert_allclose(weights[[0, 1, 3]], expected, rtol=1e-6)
    assert weights[2] == 1
    assert weights[classes].mean().item() == pytest.approx(1)


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_balanced_weights_make_presence_count_as_much_as_absence(task):
    label = torch.tensor([[3, 1, 0, 0], [0, 1, 0, 2], [0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 4]])
    weights = balanced_class_weights(label if task == "regression" else label.clamp_max(1), task=task)
    # classes 1 and 2 are in every image and in none
    assert weights.tolist() == pytest.approx([4, 1, 1, 2 / 3])
    for class_idx in (0, 3):
        is_present = label[:, class_idx] > 0
        assert weights[class_idx] * is_present.sum() == pytest.approx(int((~is_present).sum()))
