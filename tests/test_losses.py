import itertools
import math

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F

from gain_lightning import VOID
from gain_lightning.attention import label_pairs, scale_maps
from gain_lightning.losses import (
    SUPERVISION_LOSSES,
    attention_mining_loss,
    attention_supervision_loss,
    classification_loss,
    mean_per_image,
)

TASKS = ("multi_label", "single_label")
SCORES_AND_TASKS = list(itertools.product(["probability", "logit"], TASKS))
LABELS = {
    "none, one and many": torch.tensor(
        [[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    ),
    "one each": torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]),
    "nothing": torch.zeros(3, 4, dtype=torch.long),
}


@pytest.fixture(params=LABELS)
def label(request):
    return LABELS[request.param]


def random_mask(generator, label, side):
    """Masks with void pixels that show the classes of the label, and one class that it lacks."""
    mask = torch.zeros(len(label), side, side, dtype=torch.long)
    for n, row in enumerate(label):
        names = torch.tensor([0, 0, VOID, 3, *(row.nonzero().flatten() + 1).tolist()])
        mask[n] = names[torch.randint(len(names), (side, side), generator=generator)]
    return mask


def oracle_supervision(maps, mask, label, reduction="mean", loss="l2"):
    return reference.supervision_loss(list(maps[:, 0].numpy()), mask.numpy(), label.numpy(), reduction, loss)


# L_cl -----------------------------------------------------------------------------------------------------


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


# The mean of Eq. 5 and 7 ----------------------------------------------------------------------------------


def test_mean_per_image_averages_classes_then_images(generator, label):
    pairs = label_pairs(label)
    values = torch.randn(len(pairs.image), generator=generator, dtype=torch.double)
    of_image = [values[pairs.image == n] for n in range(len(label))]
    expected = sum(part.sum() / len(part) for part in of_image if len(part)) / 7
    assert float(mean_per_image(values, pairs, 7)) == pytest.approx(float(expected), rel=1e-12)


def test_mean_per_image_of_no_image_is_zero_with_a_graph():
    values = torch.zeros(0, requires_grad=True)
    mean = mean_per_image(values * 2, label_pairs(torch.zeros(2, 3)), 0)
    assert mean.item() == 0
    mean.backward()


# L_am -----------------------------------------------------------------------------------------------------


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


# L_e ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "reduction", "name"), list(itertools.product([6, 3, 4], ["mean", "sum"], SUPERVISION_LOSSES))
)
def test_supervision_loss_equals_the_oracle(generator, label, side, reduction, name):
    """At the mask's size (6), at a size that divides it (3) and at one that does not (4)."""
    mask = random_mask(generator, label, 6)
    maps = torch.rand(int(label.sum()), 1, side, side, generator=generator, dtype=torch.double)
    maps = (maps - 0.2).relu()  # as after Eq. 1's ReLU: some cells are 0
    expected = oracle_supervision(maps, mask, label, reduction, name)
    loss = attention_supervision_loss(maps, mask, label_pairs(label), loss=name, reduction=reduction)
    assert float(loss) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_supervision_loss_is_zero_on_the_mask_and_one_on_its_opposite():
    mask = torch.tensor([[[1, 0], [VOID, 2]]])
    pairs = label_pairs(torch.ones(1, 2))
    right = torch.tensor([[[[1.0, 0.0], [0.3, 0.0]]], [[[0.0, 0.0], [0.7, 1.0]]]])
    assert attention_supervision_loss(right, mask, pairs).item() == 0
    assert attention_supervision_loss(1 - right, mask, pairs).item() == pytest.approx(1)
    assert attention_supervision_loss(1 - right, mask, pairs, reduction="sum").item() == pytest.approx(3)


@pytest.mark.parametrize(
    ("name", "perfect", "object_half_dark", "all_bright", "all_zero"),
    [
        # of a map of 4 cells, 2 of them the object's
        ("l2", 0.0, 1 / 16, 0.5, 0.5),
        ("l1", 0.0, 1 / 8, 0.5, 0.5),
        ("energy", 0.0, 0.0, 0.5, 1.0),
        ("rrr", 0.0, 0.0, 0.5, 0.0),
        ("cross_entropy", 0.0, math.log(2) / 2, 0.0, math.log(1e4)),
    ],
)
def test_supervision_losses_by_hand(name, perfect, object_half_dark, all_bright, all_zero):
    mask = torch.tensor([[[1, 1], [0, 0]]])
    cases = [
        (perfect, [[1.0, 1.0], [0.0, 0.0]]),
        (object_half_dark, [[1.0, 0.5], [0.0, 0.0]]),
        (all_bright, [[1.0, 1.0], [1.0, 1.0]]),
        (all_zero, [[0.0, 0.0], [0.0, 0.0]]),
    ]
    pairs = label_pairs(torch.ones(1, 1))
    for expected, values in cases:
        loss = attention_supervision_loss(torch.tensor([[values]]), mask, pairs, loss=name)
        assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", SUPERVISION_LOSSES)
def test_supervision_losses_fall_when_attention_moves_onto_the_object(generator, name):
    """Down the gradient, in a few steps of positive maps."""
    mask = torch.zeros(2, 8, 8, dtype=torch.long)
    mask[:, 2:6, 2:6] = 1
    strength = torch.rand(2, 1, 8, 8, generator=generator, requires_grad=True)
    pairs, losses = label_pairs(torch.ones(2, 1)), []
    for _ in range(20):
        loss = attention_supervision_loss(scale_maps(strength.relu()), mask, pairs, loss=name)
        (gradient,) = torch.autograd.grad(loss, strength)
        assert gradient.isfinite().all()
        losses.append(loss.item())
        strength = (
            (strength - 2 * gradient / gradient.norm().clamp_min(1e-9) * 0.05).detach().requires_grad_()
        )
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("side", [6, 3])
def test_supervision_loss_ignores_void_pixels(generator, side):
    label = LABELS["one each"]
    mask = random_mask(generator, label, 6)
    mask[:, 2:4, 0:4] = VOID  # a whole cell of the 3 x 3 map, and more
    maps = torch.rand(3, 1, side, side, generator=generator, requires_grad=True)
    loss = attention_supervision_loss(maps, mask, label_pairs(label))
    loss.backward()
    void = torch.nn.functional.adaptive_max_pool2d((mask != VOID).float(), side) == 0
    assert void.any()
    assert (maps.grad[:, 0][void] == 0).all()
    changed = torch.where(void.unsqueeze(1), 1 - maps, maps)
    assert attention_supervision_loss(changed, mask, label_pairs(label)) == loss


@pytest.mark.parametrize("side", [6, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_supervision_loss_is_exactly_zero_with_a_graph_when_no_image_has_a_mask(generator, side, reduction):
    label = LABELS["none, one and many"]
    maps = torch.rand(int(label.sum()), 1, side, side, generator=generator, requires_grad=True)
    mask = torch.full((len(label), 6, 6), VOID)
    loss = attention_supervision_loss(maps, mask, label_pairs(label), reduction=reduction)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


@pytest.mark.parametrize("side", [6, 3])
def test_supervision_loss_without_pairs_is_zero(side):
    """A batch of the masked stream whose images carry no label, at either resolution of Eq. 7."""
    mask = torch.zeros(2, 6, 6, dtype=torch.long)
    loss = attention_supervision_loss(torch.zeros(0, 1, side, side), mask, label_pairs(torch.zeros(2, 4)))
    assert loss.item() == 0


def test_supervision_loss_leaves_out_a_pair_whose_mask_lacks_its_class(generator):
    """n counts the pairs that remain, and an image without any is no image."""
    label = torch.tensor([[1, 1, 0], [0, 0, 1]])
    mask = torch.tensor([[[1, 0], [0, 0]], [[1, 1], [0, VOID]]])
    maps = torch.rand(3, 1, 2, 2, generator=generator, requires_grad=True)
    loss = attention_supervision_loss(maps, mask, label_pairs(label))
    alone = attention_supervision_loss(maps[:1], mask[:1], label_pairs(torch.tensor([[1, 0, 0]])))
    assert loss == alone
    loss.backward()
    assert (maps.grad[0] != 0).all()
    assert torch.equal(maps.grad[1:], torch.zeros(2, 1, 2, 2))


def test_supervision_loss_of_a_batch_is_the_mean_over_its_images_with_a_mask(generator):
    label = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]])
    mask = random_mask(generator, label, 8)
    mask[1] = VOID  # labelled, but without a mask
    pairs = label_pairs(label)
    maps = torch.rand(len(pairs.image), 1, 8, 8, generator=generator, dtype=torch.double)
    alone = [
        attention_supervision_loss(maps[pairs.image == n], mask[n : n + 1], label_pairs(label[n : n + 1]))
        for n in (0, 2, 4)
    ]
    torch.testing.assert_close(attention_supervision_loss(maps, mask, pairs), torch.stack(alone).mean())
    assert len({round(float(loss), 6) for loss in alone}) == 3


def test_supervision_loss_sum_is_the_mean_times_the_valid_pixels():
    mask = torch.tensor([[[1, 0, VOID], [1, 0, 2]]])
    maps = torch.full((1, 1, 2, 3), 0.25)
    pairs = label_pairs(torch.tensor([[1, 0]]))
    mean = attention_supervision_loss(maps, mask, pairs)
    assert mean.item() == pytest.approx((2 * 0.75**2 + 3 * 0.25**2) / 5)
    assert attention_supervision_loss(maps, mask, pairs, reduction="sum").item() == pytest.approx(
        5 * mean.item()
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.long])
def test_supervision_loss_takes_masks_of_any_integer_type(dtype):
    """The data sets yield uint8, in which 255 + 1 would be 0."""
    mask = torch.tensor([[[1, 0, VOID]]], dtype=dtype)
    loss = attention_supervision_loss(
        torch.tensor([[[[0.5, 0.0, 1.0]]]]), mask, label_pairs(torch.ones(1, 1))
    )
    assert loss.item() == 0.125


def test_supervision_loss_refuses_an_unknown_loss():
    with pytest.raises(ValueError, match="loss is 'dice', expected one of l2, l1"):
        attention_supervision_loss(
            torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1), label_pairs(torch.ones(1, 1)), loss="dice"
        )


def test_supervision_loss_refuses_an_unknown_reduction():
    with pytest.raises(ValueError, match=r"'max'.*'mean' or 'sum'"):
        attention_supervision_loss(
            torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1), label_pairs(torch.ones(1, 1)), reduction="max"
        )


# Precision ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_classification_loss_keeps_double_precision(generator, task):
    """Float32 at least, as Grad-CAM: a finite-difference check in float64 must not be rounded."""
    logits = torch.randn(3, 4, generator=generator, dtype=torch.double)
    label = LABELS["one each"]
    expected = reference.classification_loss(logits.tolist(), label.tolist(), task)
    assert float(classification_loss(logits, label.double(), task=task)) == pytest.approx(expected, rel=1e-12)


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
