"""Attention maps as pictures: scaled to [0, 1], and placed where their cells were computed.

Axis letters: P (image, class) pairs, C channels, H W image, h w map.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# A map whose maximum is not above this counts as all zero.
EPS = 1e-8


def scale_maps(maps: Tensor, scaling: str = "max") -> Tensor:
    """Bring every map to [0, 1] on its own, never over the batch; an all-zero map stays zero.

    The gradient passes through the extremes, so a loss on scaled maps does not depend on strength.

    Args:
        maps: Maps, shape ``(P, 1, h, w)``; with ``max`` those with evidence against are brought to [-1, 1].
        scaling: ``max`` (divide by the largest distance from 0), ``minmax`` (subtract the minimum and divide by the
            maximum) or ``none``.

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
    return maps / maps.abs().amax((2, 3), keepdim=True).clamp_min(EPS)


class Cells(NamedTuple):
    """Places of a map's cells in a picture: cell (i, j) is centred at ``(top + step_y i, left + step_x j)``.

    The unit is a pixel of the picture, and the first pixel is centred at 0. The first cell of 2 x 2 pools (VGG)
    is centred between pixels, that of strided 3 x 3 convolutions with symmetric padding (ResNet) on the first
    pixel.

    Attributes:
        top, left: Centre of the first cell.
        step_y, step_x: Distance between neighbouring cells.
    """

    top: float
    left: float
    step_y: float
    step_x: float

    def relative_to(self, grid: "Cells") -> "Cells":
        """Return the same cells in units of another grid, whose cell (0, 0) is then the first pixel.

        Example:
            >>> grid = even_cells((2, 2), (8, 8))  # cells of 4 pixels, the first centred at 1.5
            >>> Cells(7.5, 7.5, 16, 16).relative_to(grid)
            Cells(top=1.5, left=1.5, step_y=4.0, step_x=4.0)
        """
        return Cells(
            (self.top - grid.top) / grid.step_y,
            (self.left - grid.left) / grid.step_x,
            self.step_y / grid.step_y,
            self.step_x / grid.step_x,
        )


def even_cells(grid: tuple[int, ...], size: tuple[int, ...], corner: tuple[float, float] = (0, 0)) -> Cells:
    """Return the cells of a picture that is cut into ``grid`` = (h, w) equal parts, as resizing cuts it.

    Args:
        grid: Numbers of rows and columns.
        size: Height and width of the picture, pixels.
        corner: Top and left of the picture, where it is a part of a larger image, pixels.

    Example:
        >>> even_cells((14, 7), (224, 224))
        Cells(top=7.5, left=15.5, step_y=16.0, step_x=32.0)
    """
    (rows, columns), (height, width) = grid, size
    step_y, step_x = height / rows, width / columns
    return Cells(corner[0] + (step_y - 1) / 2, corner[1] + (step_x - 1) / 2, step_y, step_x)


def place_maps(maps: Tensor, size: tuple[int, ...], cells: Cells) -> Tensor:
    """Draw maps at the size of their picture, each cell where it was computed, bilinear between centres.

    Pixels beyond the outermost centres take the value of the outermost cell.

    Args:
        maps: Shape ``(P, C, h, w)``.
        size: H and W of the picture, pixels.
        cells: Places of the cells in the picture, see :meth:`gain_lightning.backbones.Backbone.cells`.

    Returns:
        Shape ``(P, C, H, W)``.

    Example:
        >>> on_pixels_0_and_2 = Cells(0, 0, 1, 2)
        >>> place_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4), on_pixels_0_and_2)
        tensor([[[[0.0000, 0.5000, 1.0000, 1.0000]]]])
        >>> place_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4), even_cells((1, 2), (1, 4)))
        tensor([[[[0.0000, 0.2500, 0.7500, 1.0000]]]])
    """
    rows = _interpolation(maps.shape[2], size[0], cells.top, cells.step_y, maps.dtype, maps.device)
    columns = _interpolation(maps.shape[3], size[1], cells.left, cells.step_x, maps.dtype, maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps @ columns.T


# A cached tensor serves training too, so it is never made in inference mode.
@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)
def _interpolation(
    num_cells: int, num_pixels: int, start: float, step: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the weight of each cell in each pixel along one axis, ``(num_pixels, num_cells)``; rows sum to 1."""
    place = ((torch.arange(num_pixels, dtype=torch.float64) - start) / step).clamp(0, num_cells - 1)
    distance = (place.unsqueeze(1) - torch.arange(num_cells, dtype=torch.float64)).abs()
    return (1 - distance).clamp_min(0).to(device, dtype)


def pool_to_cells(values: Tensor, grid: tuple[int, ...], cells: Cells) -> Tensor:
    """Average pixels over cells; :func:`place_maps` goes the other way.

    A cell reaches half a step to each side of its centre. Where it reaches beyond the picture, only the part
    inside counts; a cell that lies outside takes the nearest pixel.

    Args:
        values: Shape ``(P, C, H, W)``.
        grid: Rows and columns of the cells, (h, w).
        cells: Places of the cells in the picture.

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


# A cached tensor serves training too, so it is never made in inference mode.
@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)
def _coverage(
    num_cells: int, num_pixels: int, start: float, step: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the share of each pixel in each cell along one axis, ``(num_cells, num_pixels)``; rows sum to 1."""
    centre = start + step * torch.arange(num_cells, dtype=torch.float64).unsqueeze(1)
    pixel = torch.arange(num_pixels, dtype=torch.float64)
    # The step of a mirrored map is negative.
    half = abs(step) / 2
    low = torch.maximum(centre - half, pixel - 0.5)
    inside = (torch.minimum(centre + half, pixel + 0.5) - low).clamp_min(0)
    nearest = (pixel - centre).abs()
    nearest = (nearest == nearest.amin(1, keepdim=True)).double()
    share = torch.where(inside.sum(1, keepdim=True) > 1e-9, inside, nearest)
    return (share / share.sum(1, keepdim=True)).to(device, dtype)


def inside_windows(window: Tensor, size: tuple[int, ...]) -> Tensor:
    """Draw the windows in which images show their pictures; beside them is a border, of which nothing is asked.

    Args:
        window: ``(xmin, ymin, xmax, ymax)`` of each, ``(N, 4)``.
        size: Height and width of the images, pixels.

    Returns:
        1 in the window and 0 in the border, ``(N, 1, H, W)`` float32.

    Example:
        >>> inside_windows(torch.tensor([[0, 1, 2, 2]]), (3, 2))[0, 0].tolist()
        [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """
    y, x = (torch.arange(side, device=window.device) for side in size)
    xmin, ymin, xmax, ymax = window.T.unsqueeze(2)  # (N, 1) each
    rows, columns = (y >= ymin) & (y < ymax), (x >= xmin) & (x < xmax)
    inside: Tensor = rows.unsqueeze(2) & columns.unsqueeze(1)
    return inside.unsqueeze(1).float()


def without_border(maps: Tensor, inside: Tensor, cells: Cells) -> Tensor:
    """Return maps that are 0 in the cells that lie in a border throughout.

    A cell that touches the picture stays, for it explains what it sees of the picture.

    Args:
        maps: Shape ``(P, 1, h, w)``.
        inside: The windows of their images, see :func:`inside_windows`, ``(P, 1, H, W)``.
        cells: Places of the cells in the images.

    Example:
        >>> inside = torch.tensor([[[[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]]])
        >>> without_border(torch.ones(1, 1, 1, 3), inside, even_cells((1, 3), (1, 6)))
        tensor([[[[0., 1., 1.]]]])
    """
    seen = pool_to_cells(inside, maps.shape[2:], cells).gt(0).to(maps.dtype)
    return maps * seen


def resize_maps(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize maps that lie pixel for pixel on a picture as the picture is resized: bilinear, corners not aligned.

    For maps of a network's cells, use :func:`place_maps`.

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


def resize_antialiased(values: Tensor, size: tuple[int, ...] | list[int]) -> Tensor:
    """Resize normalised images or maps as pictures are resized: bilinear, with a filter where a side shrinks.

    Args:
        values: Shape ``(N, C, H, W)``.
        size: Height and width of the result, pixels.

    Returns:
        Shape ``(N, C, h, w)``, in the type of ``values``.

    Example:
        >>> resize_antialiased(torch.tensor([[[[0.0, 8.0, 0.0, 8.0]]]]), (1, 1))
        tensor([[[[4.]]]])
    """
    # The filter is not made for lower precisions.
    precise = values.to(torch.promote_types(values.dtype, torch.float32))
    smooth = F.interpolate(precise, size=tuple(size), mode="bilinear", antialias=True)
    return smooth.to(values.dtype)
