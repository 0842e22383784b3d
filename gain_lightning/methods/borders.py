"""Where pictures lie in the squares of a batch, and the borders beside them, of which nothing is asked.

A picture that keeps its aspect (``data.resize letterbox``) fills a part of its square, and the rest has the mean
colour. All functions here leave a batch of pictures without borders as it is.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gain_lightning.attention import Cells, Pairs, even_cells, inside_windows, place_maps, without_border
from gain_lightning.backbones import Backbone
from gain_lightning.datasets.resize import Frame


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


def on_picture(maps: Tensor, size: tuple[int, ...], frame: Frame, cells: Cells) -> Tensor:
    """Draw maps of a network's square at the size of the picture itself, each cell where it lies in the picture.

    Args:
        maps: Shape ``(P, C, h, w)``.
        size: Height and width of the picture, pixels.
        frame: Where the picture lies in the square.
        cells: Places of the cells in the square.

    Returns:
        Shape ``(P, C, H, W)``; 0 where the square does not show the picture.

    Example:
        >>> from gain_lightning.datasets.resize import frame_of
        >>> frame = frame_of((2, 4), 4, "letterbox")  # the picture lies in rows 1 and 2
        >>> maps = torch.tensor([[[[9.0], [1.0], [2.0], [9.0]]]])
        >>> on_picture(maps, (2, 4), frame, Cells(0, 1.5, 1, 4))[0, 0].tolist()
        [[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]
    """
    pixels = even_cells(size, (frame.height, frame.width), (frame.top, frame.left))
    placed = place_maps(maps, size, cells.relative_to(pixels))
    if frame.is_whole:
        return placed
    rows, columns = (
        torch.arange(count, dtype=torch.float64) * step + first
        for count, step, first in zip(
            size, (pixels.step_y, pixels.step_x), (pixels.top, pixels.left), strict=True
        )
    )
    # a pixel whose centre the square does not reach was not seen
    seen = _within(rows, frame.side)[:, None] & _within(columns, frame.side)
    return placed * seen.to(placed.device)


def _within(places: Tensor, side: int) -> Tensor:
    """Tell which places lie on one of ``side`` pixels, ``(n,)`` bool."""
    return (places >= -0.5) & (places < side - 0.5)
