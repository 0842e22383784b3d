"""Bring pictures and masks to the size of the network, so that they lie on each other."""

from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

Pixels = TypeVar("Pixels", np.ndarray, Tensor)


def resize_pictures(pictures: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize by an antialiased bilinear filter: Pillow's ``BILINEAR``, to within one grey value.

    Where a side shrinks, the filter is wide enough that no detail of the file turns up as a false one; where it
    grows, it interpolates. Pixel i of n covers the part of the picture from i / n to (i + 1) / n.

    Args:
        pictures: One picture ``(H, W, 3)`` uint8, or a tensor of several, ``(N, 3, H, W)`` uint8.
        size: Height and width of the result, pixels.

    Returns:
        Of the same kind, ``(h, w, 3)`` or ``(N, 3, h, w)``.

    Example:
        >>> stripes = np.tile(np.array([0, 255], np.uint8)[:, None], (8, 2, 3)).reshape(8, 4, 3)
        >>> resize_pictures(stripes, (2, 2)).shape
        (2, 2, 3)
    """
    if isinstance(pictures, np.ndarray):
        one = torch.from_numpy(pictures).permute(2, 0, 1)[None]
        return resize_pictures(one, size)[0].permute(1, 2, 0).contiguous().numpy()
    return torch.nn.functional.interpolate(pictures, size, mode="bilinear", antialias=True)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask ``(H, W)`` uint8: each pixel takes the value at its centre, so that none is made up.

    Args:
        mask: Of any values.
        size: Height and width of the result, pixels.

    Returns:
        ``(h, w)`` uint8, at most a quarter of a pixel off where the picture lies.

    Example:
        >>> resize_mask(np.array([[0, 0, 0, 7, 7, 7]], np.uint8), (1, 2)).tolist()
        [[0, 7]]
    """
    # plain NEAREST lies up and left of the picture by up to half a pixel
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
