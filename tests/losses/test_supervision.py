import itertools
import math

import pytest
import reference
import torch
import torch.nn.functional as F
from label_tables import LABELS

from gain_lightning.attention import Cells, even_cells, label_pairs, scale_maps
from gain_lightning.constants import VOID
from gain_lightning.losses import SUPERVISION_LOSSES, absent_maps_loss, attention_supervision_loss


def random_masks(generator, label, side):
    """A mask for every pair, of yes, no and unknown; the third and the last say only where their class is not."""
    masks = torch.tensor([0, 0, 1, VOID])[
        torch.randint(4, (int(label.sum()), side, side), generator=generator)
    ]
    for pair in {2, len(masks) - 1} & set(range(len(masks))):
        masks[pair][masks[pair] == 1] = VOID
    return masks


def oracle_supervision(maps, masks, label, reduction="mean", loss="l2", cells=None):
    return reference.supervision_loss(
        list(maps[:, 0].numpy()), list(masks.numpy()), label.numpy(), reduction, loss, cells
    )


CELLS = {  # of masks of 6 x 6 pixels: the size of the map, and where its cells lie
    "pixel by pixel": (6, None),
    "two by two": (3, even_cells((3, 3), (6, 6))),
    "no whole number": (4, even_cells((4, 4), (6, 6))),
    "centred on the first pixel": (3, Cells(0, 0, 2, 2)),
    "one without the picture": (4, Cells(-1.25, 1, 2.5, 1.5)),
}


@pytest.mark.parametrize(
    ("geometry", "reduction", "name"), list(itertools.product(CELLS, ["mean", "sum"], SUPERVISION_LOSSES))
)
def test_supervision_loss_equals_the_oracle(generator, label, geometry, reduction, name):
    side, cells = CELLS[geometry]
    masks = random_masks(generator, label, 6)
    maps = torch.rand(int(label.sum()), 1, side, side, generator=generator, dtype=torch.double)
    maps = (maps - 0.2).relu()  # as after Eq. 1's ReLU: some cells are 0
    expected = oracle_supervision(maps, masks, label, reduction, name, cells)
    loss = attention_supervision_loss(
        maps, masks, label_pairs(label), loss=name, reduction=reduction, cells=cells
    )
    assert float(loss) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("geometry", "name"), list(itertools.product(CELLS, SUPERVISION_LOSSES)))
def test_absent_maps_loss_equals_the_oracle(generator, label, geometry, name):
    side, cells = CELLS[geometry]
    pairs, is_present = label_pairs(torch.ones_like(label)), label.flatten() > 0
    masks = torch.tensor([0, 0, 0, 1, VOID])[torch.randint(5, (len(pairs.image), 6, 6), generator=generator)]
    masks[~is_present] = VOID
    maps = torch.randn(len(pairs.image), 1, side, side, generator=generator, dtype=torch.double)
    loss = absent_maps_loss(maps, masks, pairs, is_present, loss=name, cells=cells)
    arrays = (list(maps[:, 0].numpy()), list(masks.numpy()), label.numpy())
    assert float(loss) == pytest.approx(
        reference.absent_maps_loss(*arrays, name, cells), rel=1e-12, abs=1e-15
    )


def test_evidence_against_a_class_costs_as_much_as_evidence_for_it(generator):
    """Outside the mask; inside, ``l2`` and ``l1`` tell them apart."""
    maps = torch.randn(2, 1, 4, 4, generator=generator)
    mask, pairs = torch.zeros(2, 4, 4, dtype=torch.long), label_pairs(torch.ones(2, 1))
    mask[0, :2], mask[1, 1:3] = 1, 1
    outside = torch.where(mask.unsqueeze(1) == 0, -maps, maps)
    for name in ("l2", "l1", "energy", "rrr"):
        of_maps = attention_supervision_loss(maps, mask, pairs, loss=name)
        torch.testing.assert_close(attention_supervision_loss(outside, mask, pairs, loss=name), of_maps)


def test_an_absent_class_without_evidence_costs_nothing_and_faint_evidence_little():
    """Scaled by its own maximum, a faint map would cost as much as a strong one."""
    mask = torch.tensor([[[1, 0, 0]], [[VOID, VOID, VOID]]])
    pairs, is_present = label_pairs(torch.ones(1, 2)), torch.tensor([True, False])

    def cost(*of_absent):
        maps = torch.tensor([[[[4.0, 0.0, 0.0]]], [[of_absent]]])
        return absent_maps_loss(maps, mask, pairs, is_present, loss="l1").item()

    assert cost(0.0, 0.0, 0.0) == 0
    assert cost(-4.0, 0.0, 0.0) == 0  # on the object
    assert cost(0.0, -0.4, 0.0) == pytest.approx(0.05)
    assert cost(0.0, 8.0, 0.0) == pytest.approx(0.5)


def test_supervision_loss_is_zero_on_the_mask_and_one_on_its_opposite():
    masks = torch.tensor([[[1, 0], [VOID, 0]], [[0, 0], [VOID, 1]]])
    pairs = label_pairs(torch.ones(1, 2))
    right = torch.tensor([[[[1.0, 0.0], [0.3, 0.0]]], [[[0.0, 0.0], [0.7, 1.0]]]])
    assert attention_supervision_loss(right, masks, pairs).item() == 0
    assert attention_supervision_loss(1 - right, masks, pairs).item() == pytest.approx(1)
    assert attention_supervision_loss(1 - right, masks, pairs, reduction="sum").item() == pytest.approx(3)


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


NEGATIVE = torch.tensor([[[0, 0, VOID, VOID], [0, VOID, VOID, VOID]]])  # only where the class is not


@pytest.mark.parametrize(
    ("name", "by_hand"),
    # of a map of 0.5 throughout, 3 of whose 8 pixels are known
    [("l2", 0.25), ("l1", 0.5), ("energy", 3 / 8), ("rrr", 0.25), ("cross_entropy", 0.0)],
)
@pytest.mark.parametrize("side", ["of the mask", "of cells"])
def test_a_mask_that_only_says_where_a_class_is_not_pushes_attention_out(name, by_hand, side):
    """Of cells that lie two by two, three quarters of the first are known, and nothing of the second."""
    size, cells = ((2, 4), None) if side == "of the mask" else ((1, 2), even_cells((1, 2), (2, 4)))
    maps = torch.full((1, 1, *size), 0.5, requires_grad=True)
    pairs = label_pairs(torch.ones(1, 1))
    loss = attention_supervision_loss(maps, NEGATIVE, pairs, loss=name, cells=cells)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand)
    gradient = maps.grad[0, 0]
    not_there = NEGATIVE[0] == 0 if cells is None else torch.tensor([[True, False]])
    if name == "cross_entropy":  # asks for a bright object alone
        assert torch.equal(gradient, torch.zeros_like(gradient))
    else:
        assert (gradient[not_there] > 0).all()
        assert (gradient[~not_there] <= 0).all()
        assert bool((gradient[~not_there] < 0).all()) == (name == "energy")  # a share of the whole map


@pytest.mark.parametrize("name", ["l2", "l1", "energy", "rrr"])
def test_negative_only_masks_train(name):
    """Down the gradient, attention leaves where it must not be: at most a tenth of it stays."""
    place = torch.zeros(1, 1, 2, 4, requires_grad=True)
    pairs = label_pairs(torch.ones(1, 1))
    not_there = (NEGATIVE == 0)[:, None]

    def share():
        maps = scale_maps(place.sigmoid())
        return maps, (maps[not_there].sum() / maps.sum()).item()

    assert share()[1] == pytest.approx(3 / 8)
    optimizer = torch.optim.SGD([place], lr=2.0)
    for _ in range(300):
        optimizer.zero_grad()
        attention_supervision_loss(share()[0], NEGATIVE, pairs, loss=name).backward()
        optimizer.step()
    assert share()[1] < 0.1


def test_supervision_loss_ignores_unknown_pixels(generator):
    """Of each pair those of its own mask; in cells, those that are unknown throughout."""
    label = LABELS["one each"]
    for side, cells in ((6, None), (3, even_cells((3, 3), (6, 6)))):
        masks = random_masks(generator, label, 6)
        masks[:, 2:4, 0:4] = VOID  # a whole cell of the 3 x 3 map, and more
        maps = torch.rand(3, 1, side, side, generator=generator, requires_grad=True)
        loss = attention_supervision_loss(maps, masks, label_pairs(label), cells=cells)
        loss.backward()
        void = F.adaptive_max_pool2d((masks != VOID).float(), side) == 0
        assert void.any()
        assert (maps.grad[:, 0][void] == 0).all()
        changed = torch.where(void.unsqueeze(1), 1 - maps, maps)
        assert attention_supervision_loss(changed, masks, label_pairs(label), cells=cells) == loss


@pytest.mark.parametrize("name", SUPERVISION_LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("side", [6, 3])
def test_supervision_loss_is_exactly_zero_with_a_graph_where_nothing_is_known(
    generator, side, reduction, name
):
    label = LABELS["none, one and many"]
    maps = torch.rand(int(label.sum()), 1, side, side, generator=generator, requires_grad=True)
    masks = torch.full((len(maps), 6, 6), VOID)
    loss = attention_supervision_loss(
        maps, masks, label_pairs(label), loss=name, reduction=reduction, cells=Cells(0, 0, 2, 2)
    )
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


@pytest.mark.parametrize("side", [6, 3])
def test_supervision_loss_without_pairs_is_zero(side):
    """A batch of the masked stream whose images carry no label, at either resolution of Eq. 7."""
    masks, pairs = torch.zeros(0, 6, 6, dtype=torch.uint8), label_pairs(torch.zeros(2, 4))
    loss = attention_supervision_loss(torch.zeros(0, 1, side, side), masks, pairs, cells=Cells(0, 0, 2, 2))
    assert loss.item() == 0


def test_supervision_loss_leaves_out_a_pair_of_whose_mask_nothing_is_known(generator):
    """n counts the pairs that remain; an image without any adds 0, and counts as an image."""
    label = torch.tensor([[1, 1, 0], [0, 0, 1]])
    masks = torch.tensor([[[1, 0], [0, 0]], [[VOID] * 2] * 2, [[VOID] * 2] * 2])
    maps = torch.rand(3, 1, 2, 2, generator=generator, requires_grad=True)
    loss = attention_supervision_loss(maps, masks, label_pairs(label))
    alone = attention_supervision_loss(maps[:1], masks[:1], label_pairs(torch.tensor([[1, 0, 0]])))
    assert loss == alone / 2
    loss.backward()
    assert (maps.grad[0] != 0).all()
    assert torch.equal(maps.grad[1:], torch.zeros(2, 1, 2, 2))


@pytest.mark.parametrize("name", SUPERVISION_LOSSES)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (4, 1), (1, 3, 1)])
def test_supervision_loss_of_a_batch_is_the_mean_over_any_split_of_it(generator, sizes, name):
    """Weighed by images, as Eq. 5's: 2, 0, 1, 0 and 3 of the images' labels have a mask."""
    label = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    pairs = label_pairs(label)
    masks = torch.tensor([0, 0, 1, VOID])[torch.randint(4, (len(pairs.image), 8, 8), generator=generator)]
    masks[2], masks[3] = VOID, VOID  # the one pair of image 1, and the first of image 2
    maps = torch.rand(len(pairs.image), 1, 8, 8, generator=generator, dtype=torch.double)
    parts, first = [], 0
    for size in sizes:
        mine = (pairs.image >= first) & (pairs.image < first + size)
        part = attention_supervision_loss(
            maps[mine], masks[mine], label_pairs(label[first : first + size]), loss=name
        )
        parts.append(size / len(label) * part)
        first += size
    whole = attention_supervision_loss(maps, masks, pairs, loss=name)
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-12, atol=0)
    assert len({round(float(part), 6) for part in parts}) > 1


def test_supervision_loss_sum_is_the_mean_times_the_known_pixels():
    masks = torch.tensor([[[1, 0, VOID], [1, 0, 0]]])
    maps = torch.full((1, 1, 2, 3), 0.25)
    pairs = label_pairs(torch.tensor([[1, 0]]))
    mean = attention_supervision_loss(maps, masks, pairs)
    assert mean.item() == pytest.approx((2 * 0.75**2 + 3 * 0.25**2) / 5)
    assert attention_supervision_loss(maps, masks, pairs, reduction="sum").item() == pytest.approx(
        5 * mean.item()
    )


def test_supervision_loss_refuses_maps_of_cells_whose_place_it_is_not_told():
    message = r"maps are \(1, 1, 2, 2\) and masks \(1, 1, 6, 6\), expected equal sizes or cells"
    with pytest.raises(ValueError, match=message):
        attention_supervision_loss(
            torch.zeros(1, 1, 2, 2), torch.zeros(1, 6, 6), label_pairs(torch.ones(1, 1))
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
