"""L_e, Eq. 7 of Li et al., CVPR 2018: maps against masks; and the rivals of Eq. 7."""

import torch
from torch import Tensor

from gain_lightning.attention import EPS, Cells, Pairs, pool_to_cells
from gain_lightning.constants import VOID, YES
from gain_lightning.losses.reduction import mean_per_image

SUPERVISION_LOSSES = ("l2", "l1", "energy", "rrr", "cross_entropy")
DARKEST = (
    1e-4  # a map below this costs cross_entropy no more: a ReLU has no gradient at 0, and log 0 is infinite
)


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

    Unknown pixels are left out. So is a pair of whose mask nothing is known; n counts the pairs that remain. The mean
    runs over all images, and an image of which nothing is known adds 0. A mask may say only where its class is not
    (0 there, 255 elsewhere), as people mark what a network shall not look at.

    Maps of cells are compared at their own size, with the mask averaged over each cell.

    ================= ========================== ==================================================================
    ``loss``          of a map A and its mask H  source
    ================= ========================== ==================================================================
    ``l2``            mean (A - H)^2             Eq. 7 of the paper
    ``l1``            mean abs(A - H)            Gao et al., *RES*, KDD 2022; Rao et al., ICCV 2023
    ``energy``        1 - sum(A H) / sum(A)      Rao et al., *Studying How to Efficiently and Effectively Guide
                                                 Models with Explanations*, ICCV 2023
    ``rrr``           mean (1 - H) A^2           Ross et al., *Right for the Right Reasons*, IJCAI 2017, who punish
                                                 input gradients; of maps, as Rao et al. adapt it
    ``cross_entropy`` -sum(H log A) / sum(H)     the per-pixel cross-entropy of Rao et al.
    ================= ========================== ==================================================================

    ``l2`` and ``l1`` want the whole object bright and the rest dark, ``energy`` and ``rrr`` only the rest dark,
    ``cross_entropy`` only the object bright, so that it learns nothing of a mask that only says where a class is not.
    Of such a mask ``energy`` takes the unknown pixels for the object: no others can be.

    Args:
        maps: Scaled maps in [0, 1], shape ``(P, 1, h, w)``.
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(P, H, W)``.
        pairs: The P pairs.
        loss: Which one.
        reduction: ``mean`` or ``sum`` over a map's pixels; the paper does not say. ``energy`` and
            ``cross_entropy`` bring their own.
        cells: Where the cells of maps that are smaller than the mask lie in the image.

    Returns:
        Scalar, exactly 0 (with a graph) if no image carries a mask.

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
    if loss not in SUPERVISION_LOSSES:
        raise ValueError(f"loss is {loss!r}, expected one of {', '.join(SUPERVISION_LOSSES)}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}, expected 'mean' or 'sum'")
    mask = mask.unsqueeze(1)  # (P, 1, H, W)
    target, valid = (mask == YES).to(maps.dtype), (mask != VOID).to(maps.dtype)
    supervised = valid.flatten(1).any(1)  # (P,)
    if loss == "energy":
        valid = torch.where(target.flatten(1).any(1).view(-1, 1, 1, 1), valid, 1)
        target = torch.where(mask == VOID, 1, target)  # counts where valid says so
    if maps.shape[2:] != mask.shape[2:]:
        if cells is None:
            raise ValueError(
                f"maps are {tuple(maps.shape)} and masks {tuple(mask.shape)}, expected equal sizes or cells"
            )
        valid_share = pool_to_cells(valid, maps.shape[2:], cells)
        target = pool_to_cells(target * valid, maps.shape[2:], cells) / valid_share.clamp_min(1e-6)
        valid = valid_share
    values = _map_losses(loss, maps, target, valid, reduction)
    return mean_per_image(values, pairs, pairs.num_images, supervised)


def _map_losses(loss: str, maps: Tensor, target: Tensor, valid: Tensor, reduction: str) -> Tensor:
    """The loss of every map, ``(P,)``; all else ``(P, 1, h, w)``."""

    def total(values: Tensor) -> Tensor:
        return (valid * values).flatten(1).sum(1)

    if loss == "energy":
        return 1 - total(maps * target) / total(maps).clamp_min(EPS)
    if loss == "cross_entropy":
        return -total(target * maps.clamp_min(DARKEST).log()) / total(target).clamp_min(EPS)
    errors = {
        "l2": (maps - target).square(),
        "l1": (maps - target).abs(),
        "rrr": (1 - target) * maps.square(),
    }
    error = total(errors[loss])
    return error / valid.flatten(1).sum(1).clamp_min(1e-6) if reduction == "mean" else error
