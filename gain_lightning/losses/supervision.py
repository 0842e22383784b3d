"""L_e, Eq. 7 of Li et al., CVPR 2018, which compares maps with masks, and the rivals of Eq. 7.

================= ========================== ==================================================================
``loss``          for a map A and its mask H source
================= ========================== ==================================================================
``l2``            mean (A - H)^2             Eq. 7 of the paper
``l1``            mean abs(A - H)            Gao et al., *RES*, KDD 2022; Rao et al., ICCV 2023
``energy``        1 - sum(A H) / sum(A)      Rao et al., *Studying How to Efficiently and Effectively Guide
                                             Models with Explanations*, ICCV 2023
``rrr``           mean (1 - H) A^2           Ross et al., *Right for the Right Reasons*, IJCAI 2017, who punish
                                             input gradients; Rao et al. adapt it to maps
``cross_entropy`` -sum(H log A) / sum(H)     the per-pixel cross-entropy of Rao et al.
================= ========================== ==================================================================

``l2`` and ``l1`` want the whole object bright and the rest dark, ``energy`` and ``rrr`` only the rest dark, and
``cross_entropy`` only the object bright. So ``cross_entropy`` learns nothing from a mask that only says where a
class is not. ``energy`` takes the unknown pixels of such a mask for the object, since no others can be.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gain_lightning.attention import EPS, Cells, Pairs, pool_to_cells
from gain_lightning.constants import VOID, YES
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
    """

    compare: Callable[[Tensor, Tensor, Tensor], Tensor]
    unknown_is_object: bool = False


def _l2(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return (maps - target).square()


def _l1(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return (maps - target).abs()


def _rrr(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return (1 - target) * maps.square()


def _energy(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return 1 - _total(maps * target, known) / _total(maps, known).clamp_min(EPS)


def _cross_entropy(maps: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return -_total(target * maps.clamp_min(DARKEST).log(), known) / _total(target, known).clamp_min(EPS)


# Eq. 7 and its rivals. A new one is a function above and a row here.
MAP_LOSSES = {
    "l2": MapLoss(_l2),
    "l1": MapLoss(_l1),
    "energy": MapLoss(_energy, unknown_is_object=True),
    "rrr": MapLoss(_rrr),
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
    compare, unknown_is_object = MAP_LOSSES[loss]
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
