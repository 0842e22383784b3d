"""Pictures and masks are brought to the size of the network so that they lie on each other."""

from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Pixels = TypeVar("Pixels", np.ndarray, "Tensor")


def resize_image(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize by an antialiased bilinear filter, which is Pillow's ``BILINEAR`` to within one grey value.

    Where a side shrinks, the filter is wide enough that no detail of the file turns up as a false one; where it
    grows, it interpolates. Pixel i of n covers the part of the picture from i / n to (i + 1) / n.

    Args:
        image: One picture ``(H, W, 3)`` uint8, or a tensor of several, ``(N, 3, H, W)`` uint8.
        size: Height and width of the result, pixels.

    Returns:
        The same kind, ``(h, w, 3)`` or ``(N, 3, h, w)``.

    Example:
        >>> stripes = np.tile(np.array([0, 255], np.uint8)[:, None], (8, 2, 3)).reshape(8, 4, 3)
        >>> resize_image(stripes, (2, 2)).shape
        (2, 2, 3)
    """
    # here and not above, for `gain data check` resizes masks without torch
    import torch

    if isinstance(image, np.ndarray):
        one = torch.from_numpy(image).permute(2, 0, 1)[None]
        return cv2.merge([channel.numpy() for channel in resize_image(one, size)[0]])
    return torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask: each pixel takes the value at its centre, so that no value is made up.

    Args:
        mask: Any values, ``(H, W)``.
        size: Height and width of the result, pixels.

    Returns:
        The resized mask, ``(h, w)``, of the mask's type. A border lies at most half a pixel, of the file or of the
        result, beside the picture's border, and not to one side more than to the other.

    Example:
        >>> resize_mask(np.array([[0, 0, 0, 7, 7, 7]], np.uint8), (1, 2)).tolist()
        [[0, 7]]
    """
    rows, columns = (_at_centres(length, count) for length, count in zip(mask.shape, size, strict=True))
    return mask[rows[:, None], columns]


def _at_centres(length: int, count: int) -> np.ndarray:
    """Find in which of ``length`` pixels the centres of ``count`` pixels lie.

    A centre on a border counts to the pixel before and to the pixel behind in turns.

    Example:
        >>> _at_centres(8, 4).tolist(), _at_centres(9, 3).tolist()
        ([0, 3, 4, 7], [1, 4, 7])
    """
    index = np.arange(count)
    pixel, rest = np.divmod((2 * index + 1) * length, 2 * count)
    return pixel - ((rest == 0) & (index % 2 == 0))
