"""Large pictures in tiles: the network sees each tile alone, and their maps are put together to one of the picture.

A mark of 20 pixels in a picture of 4000 is a tenth of a pixel at 224. Tiles of 224 show a network such pictures at the
size that it was trained for. A picture's logit is the smooth maximum of its tiles' logits, the log of the mean of
their exponentials (Pinheiro and Collobert, *From Image-level to Pixel-level Labeling with Convolutional Networks*, CVPR
2015, with r = 1): one tile that shows a class suffices, and labels of whole pictures train it.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gain_lightning.backbones.batch_norm import batch_norm_layers


class _Tiled(nn.Module):
    """A network that works on tiles. It has the layers of ``whole`` under their own names, so that weights fit both.

    Attributes:
        whole: The network of a single tile.
    """

    whole: nn.Module

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self._modules, self._parameters, self._buffers = whole._modules, whole._parameters, whole._buffers
        object.__setattr__(self, "whole", whole)

    def train(self, mode: bool = True) -> "_Tiled":
        """Set the mode of the layers, and of the network that they are of."""
        super().train(mode)
        self.whole.training = mode
        return self


class TiledFeatures(_Tiled):
    """Maps of large pictures, put together from those of their tiles.

    A picture that is no multiple of a tile's side is continued by the mean colour, to the right and below. One that is
    no larger than a tile is seen as it is.

    Args:
        whole: The features of a single tile.
        side: Height and width of a tile, pixels.
    """

    def __init__(self, whole: nn.Module, side: int) -> None:
        super().__init__(whole)
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps ``(N, K, h, w)`` of normalised images ``(N, 3, H, W)``."""
        return self.run(self.whole, image, one_by_one=not torch.is_grad_enabled())

    def seen(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size at which the network sees pictures of a ``size``: that of a tile where they are larger."""
        return (self.side, self.side) if max(size) > self.side else size

    def run(self, network: Callable[[Tensor], Tensor], image: Tensor, *, one_by_one: bool) -> Tensor:
        """Apply a network to every tile.

        Args:
            network: Takes and returns tensors of N tiles.
            image: Normalised images, ``(N, 3, H, W)``.
            one_by_one: Whether only one tile of each image is computed at a time, which bounds the memory. Where
                BatchNorm takes statistics of a batch, all are computed at once: tiles of one place are no fair sample.
        """
        if max(image.shape[2:]) <= self.side:
            return network(image)
        below, right = (-length % self.side for length in image.shape[2:])
        image = F.pad(image, (0, right, 0, below)) if right or below else image
        tiles = cut_tiles(image, (self.side, self.side))
        # a layer that works in place must not write into a batch that others share
        takes_statistics = any(layer.training for layer in batch_norm_layers(self.whole))
        at_once = len(image) if one_by_one and not takes_statistics else len(tiles)
        maps = torch.cat([network(part) for part in tiles.split(at_once)])
        return join_tiles(maps, image.shape[2] // self.side, image.shape[3] // self.side)


class TiledHead(_Tiled):
    """The logits of large pictures: the smooth maximum of those of their tiles.

    Args:
        whole: The head of a single tile.
        grid: Rows and columns of a tile's map, (h, w).
    """

    def __init__(self, whole: nn.Module, grid: tuple[int, int]) -> None:
        super().__init__(whole)
        self.grid = grid

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits ``(N, C)`` of maps ``(N, K, h, w)``."""
        if features.shape[2] <= self.grid[0] and features.shape[3] <= self.grid[1]:
            whole: Tensor = self.whole(features)
            return whole
        tiles = cut_tiles(features, self.grid)
        logits: Tensor = self.whole(tiles).unflatten(0, (-1, len(features)))  # (tiles of a picture, N, C)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.logsumexp(0) - math.log(len(logits))


def cut_tiles(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut values ``(N, C, H, W)`` into tiles of ``size`` = (h, w): first the first tile of each image, and so on.

    Returns:
        Shape ``(rows * columns * N, C, h, w)``, in the layout of ``values``.

    Example:
        >>> cut_tiles(torch.arange(4.0).view(1, 1, 2, 2), (1, 2)).flatten(1).tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """
    layout = (
        torch.channels_last
        if values.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    (num_images, channels), (height, width) = values.shape[:2], size
    rows, columns = values.shape[2] // height, values.shape[3] // width
    tiles = values.reshape(num_images, channels, rows, height, columns, width).permute(2, 4, 0, 1, 3, 5)
    return tiles.reshape(-1, channels, height, width).contiguous(memory_format=layout)


def join_tiles(tiles: Tensor, rows: int, columns: int) -> Tensor:
    """Put tiles ``(rows * columns * N, C, h, w)`` together again, ``(N, C, rows * h, columns * w)``.

    Example:
        >>> image = torch.rand(2, 3, 4, 6)
        >>> torch.equal(join_tiles(cut_tiles(image, (2, 2)), 2, 3), image)
        True
    """
    channels, height, width = tiles.shape[1:]
    parts = tiles.view(rows, columns, -1, channels, height, width).permute(2, 3, 0, 4, 1, 5)
    return parts.reshape(-1, channels, rows * height, columns * width)
