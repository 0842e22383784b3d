"""L_e, Eq. 7 of Li et al., CVPR 2018, which compares maps with masks, and the rivals of Eq. 7.

================= ========================== ==================================================================
``loss``          for a map A and its mask H source
================= ========================== ==================================================================
``l2``            mean (A - H)^2             Eq. 7 of the paper
``l1``            mean abs(A - H)            Gao et al., *RES*, KDD 2022; Rao et al., ICCV 2023
``energy``        1 - sum(|A| H) / sum(|A|)  Rao et al., *Studying How to Efficiently and Effectively Guide
                                             Models with Explanations*, ICCV 2023
``rrr``           mean (1 - H) A^2           Ross et al., *Right for the Right Reasons*, IJCAI 2017, who punish
                                             input gradients; Rao et al. adapt it to maps
``cross_entropy`` -sum(H log A) / sum(H)     the per-pixel cross-entropy of Rao et al.
================= ========================== ==================================================================

``l2`` and ``l1`` want the whole object bright and the rest dark, ``energy`` and ``rrr`` only the rest dark, and
``cross_entropy`` only the object bright. So ``cross_entropy`` learns nothing from a mask that only says where a
class is not. ``energy`` takes the unknown pixels of such a mask for the object, since no others can be.

Maps may be signed: below 0 is evidence against the class. It is no more welcome outside the mask than evidence for it,
so outside the mask every loss but ``cross_entropy`` punishes it alike, and inside ``l2`` and ``l1`` ask for evidence
for the class, while ``energy`` bears both.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gain_lightning.attention import EPS, Cells, Pairs, pool_to_cells
from gain_lightning.constants import NO, VOID, YES
from gain_lightning.losses.reduction import mean_per_image

# ``cross_entropy`` takes values below this for this value: a ReLU has no gradient at 0, and log 0 is infinite.
DARKEST = 1e-4


class MapLoss(NamedTuple):
    """One loss between maps and masks.

    Attributes:
        compare: Takes maps, targets and shares of known pixels, each ``(P, 1, h, w)``. It returns the error of
            every pixel, in the same shape, whose mean or sum over the known pixels is the loss; or it returns the
            loss of every map, ``(P,)``.
        unknown_is_object: If true, the unknown pixels of a mask that only says where its class is not count as
            the class.
        of_absent: Takes the map of a class that is absent, and returns the error of every pixel outside all objects.
    """

    compare: Callable[[Tensor, Tensor, Tensor], Tensor]
    unknown_is_object: bool = False
    of_absent: Callable[[Tensor], Tensor] = torch.abs


def _l2(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return (maps - target).square()


def _l1(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return (maps - target).abs()


def _rrr(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return (1 - target) * maps.square()


def _energy(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return 1 - _total(maps.abs() * target, known) / _total(maps.abs(), known).clamp_min(EPS)


def _cross_entropy(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return -_total(target * maps.clamp_min(DARKEST).log(), known) / _total(target, known).clamp_min(EPS)


# Eq. 7 and its rivals. A new one is a function above and a row here.
MAP_LOSSES = {
    "l2": MapLoss(_l2, of_absent=torch.square),
    "l1": MapLoss(_l1),
    "energy": MapLoss(_energy, unknown_is_object=True),
    "rrr": MapLoss(_rrr, of_absent=torch.square),
    "cross_entropy": MapLoss(_cross_entropy),
}
SUPERVISION_LOSSES = tuple(MAP_LOSSES)


def attention_supervision_loss(
    maps: Tensor,
    mask: Tensor,
    pairs: Pairs,
    *,
    loss: str = "l2",
    reduction: str = "mean",
    cells: Cells | None = None,
) -> Tensor:
    """L_e, Eq. 7: squared distance of each attention map A^c from the mask H^c of its class; or a rival.

    Unknown pixels are left out, and so are pairs whose mask is unknown throughout; n counts the pairs that remain.
    The mean runs over all images, and an image without a known pixel adds 0. A mask may say only where its class
    is not (0 there, 255 elsewhere), when people mark what a network shall not look at.

    Maps that are smaller than the mask are compared at their own size, with the mask averaged over each cell.

    The table at the top of this module defines each ``loss``.

    Args:
        maps: Scaled maps in [0, 1], shape ``(P, 1, h, w)``.
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(P, H, W)``.
        pairs: The P pairs.
        loss: A key of ``MAP_LOSSES``.
        reduction: ``mean`` or ``sum`` over a map's pixels; the paper does not say. ``energy`` and
            ``cross_entropy`` have a reduction of their own.
        cells: Places in the image of the cells of maps that are smaller than the mask.

    Returns:
        Scalar; it is exactly 0, and has a graph, if no image carries a mask.

    Raises:
        ValueError: If ``loss`` or ``reduction`` is unknown, or maps are smaller than the mask and have no cells.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> maps, mask = torch.tensor([[[[0.5, 0.0, 1.0]]]]), torch.tensor([[[1, 0, 255]]])
        >>> attention_supervision_loss(maps, mask, label_pairs(torch.ones(1, 1)))
        tensor(0.1250)
        >>> attention_supervision_loss(maps, mask, label_pairs(torch.ones(1, 1)), loss="energy")
        tensor(0.)
    """
    if loss not in MAP_LOSSES:
        raise ValueError(f"loss is {loss!r}, expected one of {', '.join(MAP_LOSSES)}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}, expected 'mean' or 'sum'")
    compare, unknown_is_object, _ = MAP_LOSSES[loss]
    mask = mask.unsqueeze(1)  # (P, 1, H, W)
    is_known = (mask != VOID).flatten(1).any(1)  # (P,)
    target, known = _targets(mask, maps.dtype, unknown_is_object=unknown_is_object)
    if maps.shape[2:] != mask.shape[2:]:
        target, known = _pooled(target, known, maps.shape, cells)
    values = compare(maps, target, known)
    if values.ndim > 1:
        values = _total(values, known)
        values = values / known.flatten(1).sum(1).clamp_min(1e-6) if reduction == "mean" else values
    return mean_per_image(values, pairs, pairs.num_images, is_known)


def absent_maps_loss(
    maps: Tensor,
    mask: Tensor,
    pairs: Pairs,
    is_present: Tensor,
    *,
    loss: str = "l2",
    cells: Cells | None = None,
) -> Tensor:
    """L_e for the classes that an image does not show: outside its objects nothing speaks for or against them.

    The mask of an absent class is empty. Yet an object may speak against the classes that it is not, so its pixels are
    left out, and so are pixels of which a present class's mask knows nothing. A map of an absent class is measured in
    units of the strongest map of a class that the image shows: scaled by its own maximum, a map without evidence would
    be bright. Where it is stronger itself, its own strength is the unit, and has no gradient.

    Args:
        maps: Signed maps before scaling, shape ``(P, 1, h, w)``.
        mask: Masks of the present classes, 1 the class, 0 not the class, 255 unknown, shape ``(P, H, W)``.
        pairs: The P pairs of present and absent classes.
        is_present: The pairs whose class the image shows, ``(P,)`` bool.
        loss: A key of ``MAP_LOSSES``. The error of a pixel is its square for ``l2`` and ``rrr``, else its absolute
            value.
        cells: Places in the image of the cells of maps that are smaller than the mask.

    Returns:
        Scalar: the mean over the pixels outside, over the absent classes of an image, and over all images. An image
        that shows no class adds 0, since nobody marked where it could be.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> maps = torch.tensor([[[[2.0, 0.0]]], [[[0.0, -1.0]]]])  # the second speaks against its class, outside
        >>> mask = torch.tensor([[[1, 0]], [[255, 255]]])
        >>> absent_maps_loss(maps, mask, label_pairs(torch.ones(1, 2)), torch.tensor([True, False]))
        tensor(0.2500)
    """
    image, shape = pairs.image, (pairs.num_images, 1, *mask.shape[1:])
    strength = maps.abs().amax((1, 2, 3))  # (P,)
    of_image = strength.new_zeros(pairs.num_images)
    unit = of_image.scatter_reduce(0, image, torch.where(is_present, strength, 0), "amax")[image]
    unit = torch.maximum(unit, strength.detach()).clamp_min(EPS).view(-1, 1, 1, 1)
    # Pixels that all present classes' masks say they are not at.
    holds = ((mask != NO) & is_present.view(-1, 1, 1)).to(maps.dtype).unsqueeze(1)
    outside = (maps.new_zeros(shape).index_add(0, image, holds) == 0).to(maps.dtype)[image]  # (P, 1, H, W)
    has_objects = maps.new_zeros(pairs.num_images).index_add(0, image, is_present.to(maps.dtype))[image] > 0
    if maps.shape[2:] != mask.shape[1:]:
        if cells is None:
            raise ValueError(f"maps are {tuple(maps.shape)} and masks {shape}, expected equal sizes or cells")
        outside = pool_to_cells(outside, maps.shape[2:], cells)
    errors = _total(MAP_LOSSES[loss].of_absent(maps / unit), outside)
    errors = errors / outside.flatten(1).sum(1).clamp_min(1e-6)
    return mean_per_image(errors, pairs, pairs.num_images, ~is_present & has_objects)


def _targets(mask: Tensor, dtype: torch.dtype, *, unknown_is_object: bool) -> tuple[Tensor, Tensor]:
    """Return the targets of the maps, and 1 where a target is known, both ``(P, 1, H, W)``."""
    target, known = (mask == YES).to(dtype), (mask != VOID).to(dtype)
    if unknown_is_object:
        shows_class = target.flatten(1).any(1).view(-1, 1, 1, 1)
        known = torch.where(shows_class, known, 1)
        # A 1 at an unknown pixel counts only where the line above calls that pixel known.
        target = torch.where(mask == VOID, 1, target)
    return target, known


def _pooled(target: Tensor, known: Tensor, shape: torch.Size, cells: Cells | None) -> tuple[Tensor, Tensor]:
    """Pool targets to the cells of maps of a ``shape``.

    Returns:
        The mean target over the known part of each cell, and that part's share, both ``(P, 1, h, w)``.
    """
    if cells is None:
        raise ValueError(
            f"maps are {tuple(shape)} and masks {tuple(target.shape)}, expected equal sizes or cells"
        )
    size = shape[2:]
    share = pool_to_cells(known, size, cells)
    return pool_to_cells(target * known, size, cells) / share.clamp_min(1e-6), share


def _total(values: Tensor, known: Tensor) -> Tensor:
    """Return the sum over the known pixels of each map, ``(P,)``."""
    return (known * values).flatten(1).sum(1)
