"""The grid that localisation cues lie on: SEC's, whose outermost cells are centred on the picture's outermost pixels.

SEC's network has a map of 41 x 41 cells for 321 x 321 pixels, cell i centred on pixel 8 i. Every other picture is taken
to be resized to that size.
"""

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Cells, place_maps, pool_to_cells

PIXELS = Cells(0, 0, 1, 1)  # a picture's own grid


def cue_cells(grid: tuple[int, int], size: tuple[int, int]) -> Cells:
    """Where the cells of a grid of cues lie in a picture.

    Args:
        grid: Rows and columns.
        size: Height and width of the picture, pixels.

    Example:
        >>> cue_cells((41, 41), (321, 321))
        Cells(top=0.0, left=0.0, step_y=8.0, step_x=8.0)
        >>> cue_cells((1, 1), (5, 5))
        Cells(top=2.0, left=2.0, step_y=5.0, step_x=5.0)
    """
    (top, step_y), (left, step_x) = (
        (0.0, (side - 1) / (count - 1)) if count > 1 and side > 1 else ((side - 1) / 2, side / count)
        for count, side in zip(grid, size, strict=True)
    )
    return Cells(top, left, step_y, step_x)


def at_cues(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps of pixels ``(P, C, H, W)`` at the centres of cues, ``(P, C, h, w)``."""
    return place_maps(maps, grid, PIXELS.relative_to(cue_cells(grid, tuple(maps.shape[2:]))))


def pictures_at_cues(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pictures ``(N, 3, H, W)`` uint8, averaged over the cells of cues, ``(N, h, w, 3)`` uint8."""
    small = pool_to_cells(image.float(), grid, cue_cells(grid, tuple(image.shape[2:])))
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def from_cues(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values on a grid of cues ``(h, w)``, drawn at the size of a picture, ``(H, W)`` float32, bilinear."""
    cells = cue_cells(values.shape, size)
    return place_maps(torch.from_numpy(values.astype(np.float32))[None, None], size, cells)[0, 0].numpy()


def nearest_cues(grid: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The row of cues nearest to each row of pixels ``(H,)``, and the column nearest to each column ``(W,)``.

    Example:
        >>> nearest_cues((2, 2), (4, 4))[0].tolist()
        [0, 0, 1, 1]
    """
    cells = cue_cells(grid, size)
    axes = zip(grid, size, cells[:2], cells[2:], strict=True)
    rows, columns = (
        np.clip(np.rint((np.arange(side) - start) / step), 0, count - 1).astype(int)
        for count, side, start, step in axes
    )
    return rows, columns


def cue_pixels(grid: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The pixel row under each row of cues ``(h,)``, and the pixel column under each column ``(w,)``.

    Example:
        >>> cue_pixels((3, 3), (9, 9))[0].tolist()
        [0, 4, 8]
    """
    cells = cue_cells(grid, size)
    axes = zip(grid, size, cells[:2], cells[2:], strict=True)
    rows, columns = (
        np.clip(np.rint(start + step * np.arange(count)), 0, side - 1).astype(int)
        for count, side, start, step in axes
    )
    return rows, columns
