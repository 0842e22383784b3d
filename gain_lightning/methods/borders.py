"""Borders beside the pictures of a batch: they have the mean colour, and nothing is asked of them.

A picture that keeps its aspect (``data.resize letterbox``) fills a part of its square. All functions here leave a batch
of pictures without borders as it is.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gain_lightning.attention import Cells, Pairs, inside_windows, without_border
from gain_lightning.backbones import Backbone


def inside_of(batch: Mapping[str, Any]) -> Tensor | None:
    """Return 1 where an image shows its picture and 0 in its border, ``(N, 1, H, W)``; None without borders.

    Args:
        batch: A batch with ``image`` and, where pictures have borders, ``window``.
    """
    if "window" not in batch:
        return None
    return inside_windows(batch["window"].to(batch["image"].device), batch["image"].shape[2:])


def normalized(backbone: Backbone, batch: Mapping[str, Any]) -> Tensor:
    """Return a batch's pictures as the network sees them, ``(N, 3, H, W)``: borders are 0, as erased pixels are.

    Args:
        backbone: The network, whose weights have a mean colour.
        batch: A batch with ``image``, uint8.
    """
    image, inside = backbone.normalize(batch["image"]), inside_of(batch)
    return image if inside is None else image * inside


def clear_cells(maps: Tensor, pairs: Pairs, inside: Tensor | None, cells: Cells) -> Tensor:
    """Return maps ``(P, 1, h, w)`` that are 0 in cells which see no picture, so that no border is a map's maximum.

    Args:
        maps: Maps before scaling.
        pairs: The P pairs.
        inside: See :func:`inside_of`.
        cells: Places of the cells in the images.
    """
    return maps if inside is None else without_border(maps, inside[pairs.image], cells)


def clear_pixels(values: Tensor, pairs: Pairs, inside: Tensor | None) -> Tensor:
    """Return values ``(P, 1, H, W)`` that are 0 in the borders of their images."""
    return values if inside is None else values * inside[pairs.image]


def joined(insides: list[Tensor | None]) -> Tensor | None:
    """Join what :func:`inside_of` says of several batches, of which all have borders or none has."""
    found = [inside for inside in insides if inside is not None]
    return torch.cat(found) if found else None
