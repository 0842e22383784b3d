import itertools

import numpy as np
import pytest
import reference
import torch
from label_tables import LABELS

from gain_lightning.attention import label_pairs
from gain_lightning.losses import (
    area_loss,
    attention_mining_loss,
    classification_loss,
    kept_classes_loss,
    sufficiency_loss,
)

TASKS = ("multi_label", "single_label")
SCORES_AND_TASKS = list(itertools.product(["probability", "logit"], TASKS))


@pytest.mark.parametrize(("score", "task"), SCORES_AND_TASKS)
def test_mining_loss_equals_the_oracle(generator, label, score, task):
    pairs = label_pairs(label)
    logits = 3 * torch.randn(len(pairs.image), 4, generator=generator)
    expected = reference.mining_loss(logits.tolist(), label.numpy(), score, task)
    loss = attention_mining_loss(logits, pairs, score=score, task=task)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_mining_loss_vanishes_when_the_class_is_gone():
    """A second sigmoid would leave 1/2; a maximum over classes would leave 1."""
    label = torch.tensor([[1, 0, 0], [1, 0, 1]])
    logits = torch.full((3, 3), 60.0)
    logits[range(3), label_pairs(label).label] = -60
    assert 0 <= attention_mining_loss(logits, label_pairs(label)).item() < 1e-20


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_mining_loss_ignores_classes_without_a_label(generator, score):
    label = LABELS["none, one and many"]
    pairs = label_pairs(label)
    logits = torch.randn(len(pairs.image), 4, generator=generator, requires_grad=True)
    attention_mining_loss(logits, pairs, score=score).backward()
    own = torch.zeros_like(logits, dtype=torch.bool)
    own[range(len(pairs.label)), pairs.label] = True
    assert (logits.grad[own] > 0).all()
    assert (logits.grad[~own] == 0).all()


def test_mining_loss_of_logits_has_no_lower_bound():
    loss = attention_mining_loss(
        torch.tensor([[-1e4, 0.0]]), label_pairs(torch.tensor([[1, 0]])), score="logit"
    )
    assert loss.item() == -1e4


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_mining_loss_of_a_batch_is_the_mean_over_all_its_images(generator, score):
    label = LABELS["none, one and many"]
    pairs = label_pairs(label)
    logits = torch.randn(len(pairs.image), 4, generator=generator)
    alone = [
        attention_mining_loss(logits[pairs.image == n], label_pairs(label[n : n + 1]), score=score)
        for n in range(len(label))
    ]
    torch.testing.assert_close(attention_mining_loss(logits, pairs, score=score), torch.stack(alone).mean())
    assert alone[0] == alone[4] == 0


def test_mining_loss_without_pairs_is_zero_with_a_graph():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = attention_mining_loss(logits, label_pairs(torch.zeros(2, 4)))
    assert loss.item() == 0
    loss.backward()


def test_mining_loss_refuses_an_unknown_score():
    with pytest.raises(ValueError, match=r"'max'.*'probability' or 'logit'"):
        attention_mining_loss(torch.zeros(1, 2), label_pairs(torch.ones(1, 1)), score="max")


@pytest.mark.parametrize(("score", "task"), SCORES_AND_TASKS)
def test_mining_loss_keeps_double_precision(generator, score, task):
    logits = torch.randn(3, 4, generator=generator, dtype=torch.double)
    label = LABELS["one each"]
    expected = reference.mining_loss(logits.tolist(), label.numpy(), score, task)
    loss = attention_mining_loss(logits, label_pairs(label), score=score, task=task)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_losses_of_half_precision_logits_are_float32(generator):
    logits = torch.randn(3, 4, generator=generator).bfloat16()
    label = LABELS["one each"]
    expected = reference.mining_loss(logits.tolist(), label.numpy(), "probability", "multi_label")
    loss = attention_mining_loss(logits, label_pairs(label))
    assert loss.dtype == classification_loss(logits, label.bfloat16()).dtype == torch.float32
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-6)


def test_mining_loss_of_amounts_is_what_is_still_seen():
    """By hand: of image 0's classes 0.5 and nothing are left, of the one class of image 1 there are 2."""
    erased = torch.tensor([[0.5, 9.0], [9.0, -1.0], [9.0, 2.0]])
    pairs = label_pairs(torch.tensor([[3.0, 1.0], [0.0, 4.0]]))
    assert attention_mining_loss(erased, pairs, task="regression").item() == pytest.approx(
        ((0.5 + 0) / 2 + 2) / 2
    )


# Partners of L_am -----------------------------------------------------------------------------------------


def test_kept_classes_loss_equals_the_oracle(generator, label):
    pairs = label_pairs(label)
    logits = 3 * torch.randn(len(pairs.image), 4, generator=generator)
    expected = reference.kept_classes_loss(logits.tolist(), label.numpy())
    assert kept_classes_loss(logits, label, pairs).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_kept_classes_loss_leaves_the_erased_and_the_absent_classes_alone(generator):
    label = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]])
    pairs = label_pairs(label)
    logits = torch.randn(3, 4, generator=generator, requires_grad=True)
    kept_classes_loss(logits, label, pairs).backward()
    others = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert (logits.grad[others] < 0).all()
    assert (logits.grad[~others] == 0).all()


@pytest.mark.parametrize("task", TASKS)
def test_sufficiency_loss_equals_the_oracle(generator, label, task):
    pairs = label_pairs(label)
    logits = 3 * torch.randn(len(pairs.image), 4, generator=generator)
    expected = reference.sufficiency_loss(logits.tolist(), label.numpy(), task)
    assert sufficiency_loss(logits, pairs, task=task).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_area_is_the_mean_of_the_masks_of_each_image(generator):
    mask = torch.rand(3, 1, 4, 6, generator=generator, dtype=torch.double)
    pairs = label_pairs(torch.tensor([[1, 1], [0, 0], [0, 1]]))
    areas = mask.numpy().mean((1, 2, 3))
    expected = ((areas[0] + areas[1]) / 2 + areas[2]) / 3
    assert area_loss(mask, pairs).item() == pytest.approx(expected)
