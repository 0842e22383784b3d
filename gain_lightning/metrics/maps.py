"""Scores of maps, one value for each (image, class) pair. Void pixels never count."""

import torch
from torch import Tensor

from gain_lightning.constants import VOID, YES


def with_mask(mask: Tensor) -> Tensor:
    """Find the pairs that can be judged: those whose mask shows their class, ``(P,)`` bool.

    Args:
        mask: The mask of every pair, see :func:`gain_lightning.attention.pair_masks`, shape ``(P, H, W)``.
    """
    return (mask == YES).flatten(1).any(1)


def energy_in_mask(maps: Tensor, mask: Tensor) -> Tensor:
    """Return the share of a map's sum that lies on its class: the energy pointing game (Wang et al., Score-CAM, 2020).

    An all-zero map counts 0, as in Rao et al. (ICCV 2023).

    Args:
        maps: Non-negative maps, shape ``(P, 1, H, W)``.
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(P, H, W)``.

    Returns:
        Share in [0, 1], shape ``(P,)``.

    Example:
        >>> energy_in_mask(torch.tensor([[[[3.0, 1.0, 9.0]]]]), torch.tensor([[[1, 0, 255]]]))
        tensor([0.7500])
    """
    maps = maps.squeeze(1) * (mask != VOID)
    inside = (maps * (mask == YES)).flatten(1).sum(1)
    total = maps.flatten(1).sum(1)
    return torch.where(total > 0, inside / total, torch.zeros_like(total))


def pointing_hit(maps: Tensor, mask: Tensor) -> Tensor:
    """Return 1 where a map's maximum lies on its class, else 0: the pointing game.

    It follows Zhang et al. (ECCV 2016), but without their margin of 15 pixels.

    Args:
        maps: Non-negative maps, shape ``(P, 1, H, W)``; an all-zero map misses.
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(P, H, W)``.

    Returns:
        1 for a hit, else 0, shape ``(P,)`` float.

    Example:
        >>> pointing_hit(torch.tensor([[[[0.1, 0.7]]]]), torch.tensor([[[0, 1]]]))
        tensor([1.])
    """
    mask = mask.flatten(1)
    maps = maps.flatten(1).masked_fill(mask == VOID, 0)
    value, place = maps.max(1) if len(maps) else (maps.sum(1), mask.sum(1))
    hit = mask.gather(1, place.unsqueeze(1)).squeeze(1) == YES
    return (hit & (value > 0)).float()


def seed_iou(maps: Tensor, mask: Tensor, *, threshold: float = 0.2) -> Tensor:
    """Compute the IoU of each pair's seeds, the pixels above a threshold, with its class.

    This is the score of one image; :class:`gain_lightning.metrics.SeedIoU` scores a set.

    Args:
        maps: Scaled maps in [0, 1], shape ``(P, 1, H, W)``.
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(P, H, W)``.
        threshold: Threshold of the seeds, in units of the maps.

    Returns:
        IoU in [0, 1], shape ``(P,)``.

    Example:
        >>> seed_iou(torch.tensor([[[[0.1, 0.3, 1.0, 1.0]]]]), torch.tensor([[[1, 1, 0, 255]]]))
        tensor([0.3333])
    """
    seed = (maps.squeeze(1) > threshold) & (mask != VOID)
    truth = mask == YES
    union = (seed | truth).flatten(1).sum(1)
    return (seed & truth).flatten(1).sum(1) / union.clamp_min(1)


def center_gaussian(size: tuple[int, ...]) -> Tensor:
    """Return the map that looks at the centre of any image.

    Most objects are photographed at the centre, so this map scores well without having seen anything (Choe et
    al., *Evaluating Weakly Supervised Object Localization Methods Right*, CVPR 2020).

    Args:
        size: Height and width in pixels.

    Returns:
        A Gaussian with a quarter of each side as its standard deviation, 1 at the centre, ``(1, 1, H, W)``.

    Example:
        >>> center_gaussian((1, 3))
        tensor([[[[0.4111, 1.0000, 0.4111]]]])
    """
    rows, columns = (torch.exp(-8 * ((torch.arange(side) + 0.5) / side - 0.5).square()) for side in size)
    return (rows[:, None] * columns).view(1, 1, *size)
