"""Attention maps as pictures: scaled to [0, 1], and placed where their cells were computed.

Axis letters: P (image, class) pairs, C channels, H W image, h w map.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-8  # below this a map counts as all zero


def scale_maps(maps: Tensor, scaling: str = "max") -> Tensor:
    """Bring every map to [0, 1] on its own, never over the batch; an all-zero map stays zero.

    The gradient passes through the extremes, so a loss on scaled maps does not depend on strength.

    Args:
        maps: Non-negative maps, shape ``(P, 1, h, w)``.
        scaling: ``max`` (divide by the maximum), ``minmax`` (subtract the minimum first) or ``none``.

    Returns:
        Scaled maps, same shape.

    Raises:
        ValueError: If ``scaling`` is none of the three.

    Example:
        >>> scale_maps(torch.tensor([[[[1.0, 2.0, 4.0]]]]), "max")
        tensor([[[[0.2500, 0.5000, 1.0000]]]])
    """
    if scaling == "none":
        return maps
    if scaling == "minmax":
        maps = maps - maps.amin((2, 3), keepdim=True)
    elif scaling != "max":
        raise ValueError(f"scaling is {scaling!r}, expected 'max', 'minmax' or 'none'")
    return maps / maps.amax((2, 3), keepdim=True).clamp_min(EPS)


class Cells(NamedTuple):
    """Where the cells of a map lie in a picture: cell (i, j) is centred at ``(top + step_y i, left + step_x j)``.

    In pixels of the picture, whose first pixel is centred at 0. Cells of 2 x 2 pools (VGG) are centred between pixels,
    those of strided 3 x 3 convolutions with symmetric padding (ResNet) on the first pixel.

    Attributes:
        top, left: Centre of the first cell.
        step_y, step_x: Distance of two cells.
    """

    top: float
    left: float
    step_y: float
    step_x: float

    def relative_to(self, grid: "Cells") -> "Cells":
        """The same cells in units of another grid: its cell (0, 0) is then the first pixel.

        Example:
            >>> Cells(7.5, 7.5, 16, 16).relative_to(even_cells((2, 2), (8, 8)))  # cells of 4 pixels, centred at 1.5
            Cells(top=1.5, left=1.5, step_y=4.0, step_x=4.0)
        """
        return Cells(
            (self.top - grid.top) / grid.step_y,
            (self.left - grid.left) / grid.step_x,
            self.step_y / grid.step_y,
            self.step_x / grid.step_x,
        )


def even_cells(grid: tuple[int, ...], size: tuple[int, ...]) -> Cells:
    """The cells of a picture that is cut into ``grid`` = (h, w) equal parts, as pictures are resized.

    Args:
        grid: Rows and columns.
        size: Height and width of the picture, pixels.

    Example:
        >>> even_cells((14, 7), (224, 224))
        Cells(top=7.5, left=15.5, step_y=16.0, step_x=32.0)
    """
    (rows, columns), (height, width) = grid, size
    step_y, step_x = height / rows, width / columns
    return Cells((step_y - 1) / 2, (step_x - 1) / 2, step_y, step_x)


def place_maps(maps: Tensor, size: tuple[int, ...], cells: Cells) -> Tensor:
    """Draw maps of cells at the size of their picture, each cell where it was computed, bilinear between centres.

    Beyond the outermost centres the outermost cells go on.

    Args:
        maps: Shape ``(P, C, h, w)``.
        size: H and W of the picture, pixels.
        cells: Where the cells lie in it, as :meth:`gain_lightning.backbones.Backbone.cells` says.

    Returns:
        Shape ``(P, C, H, W)``.

    Example:
        >>> place_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4), Cells(0, 0, 1, 2))  # cells on pixels 0 and 2
        tensor([[[[0.0000, 0.5000, 1.0000, 1.0000]]]])
        >>> place_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4), even_cells((1, 2), (1, 4)))
        tensor([[[[0.0000, 0.2500, 0.7500, 1.0000]]]])
    """
    rows = _interpolation(maps.shape[2], size[0], cells.top, cells.step_y, maps.dtype, maps.device)
    columns = _interpolation(maps.shape[3], size[1], cells.left, cells.step_x, maps.dtype, maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps @ columns.T


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # what is kept serves training too
def _interpolation(
    num_cells: int, num_pixels: int, start: float, step: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """What each pixel takes of each cell along one axis, ``(num_pixels, num_cells)``."""
    place = ((torch.arange(num_pixels, dtype=torch.float64) - start) / step).clamp(0, num_cells - 1)
    distance = (place.unsqueeze(1) - torch.arange(num_cells, dtype=torch.float64)).abs()
    return (1 - distance).clamp_min(0).to(device, dtype)


def pool_to_cells(values: Tensor, grid: tuple[int, ...], cells: Cells) -> Tensor:
    """Average pixels over cells: what :func:`place_maps` spreads out, each cell from half a step before its centre on.

    Args:
        values: Shape ``(P, C, H, W)``.
        grid: Rows and columns of the cells, (h, w).
        cells: Where they lie. Of a cell that reaches beyond the picture the part inside counts, and of one that lies
            outside the nearest pixel.

    Returns:
        Shape ``(P, C, h, w)``.

    Example:
        >>> pool_to_cells(torch.tensor([[[[0.0, 1.0, 2.0, 4.0]]]]), (1, 2), even_cells((1, 2), (1, 4)))
        tensor([[[[0.5000, 3.0000]]]])
    """
    rows = _coverage(grid[0], values.shape[2], cells.top, cells.step_y, values.dtype, values.device)
    columns = _coverage(grid[1], values.shape[3], cells.left, cells.step_x, values.dtype, values.device)
    with torch.autocast(values.device.type, enabled=False):
        return rows @ values @ columns.T


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # what is kept serves training too
def _coverage(
    num_cells: int, num_pixels: int, start: float, step: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Share of each pixel in each cell along one axis, ``(num_cells, num_pixels)``; rows sum to 1."""
    centre = start + step * torch.arange(num_cells, dtype=torch.float64).unsqueeze(1)
    pixel = torch.arange(num_pixels, dtype=torch.float64)
    half = abs(step) / 2  # of a map that is mirrored
    low = torch.maximum(centre - half, pixel - 0.5)
    inside = (torch.minimum(centre + half, pixel + 0.5) - low).clamp_min(0)
    nearest = (pixel - centre).abs()
    nearest = (nearest == nearest.amin(1, keepdim=True)).double()
    share = torch.where(inside.sum(1, keepdim=True) > 1e-9, inside, nearest)
    return (share / share.sum(1, keepdim=True)).to(device, dtype)


def resize_maps(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize maps that lie pixel for pixel on a picture, as the picture is resized: bilinear, corners not aligned.

    Maps of a network's cells are placed by :func:`place_maps`.

    Args:
        maps: Shape ``(P, 1, h, w)``.
        size: Height and width in pixels.

    Returns:
        Shape ``(P, 1, H, W)``.

    Example:
        >>> resize_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
        tensor([[[[0.0000, 0.2500, 0.7500, 1.0000]]]])
    """
    if len(maps) == 0:
        return maps.new_zeros((0, 1, *size))
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
