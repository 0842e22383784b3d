"""Pictures and masks are brought to the size of the network so that they lie on each other.

A network takes squares. ``squash`` fills the square with the picture and gives up its aspect; ``letterbox`` keeps the
aspect, and plain borders fill the square; ``crop`` keeps it too, and what reaches beyond the square is cut off.
"""

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import cv2
import numpy as np

from gain_lightning.constants import RESIZES

if TYPE_CHECKING:
    from torch import Tensor

Pixels = TypeVar("Pixels", np.ndarray, "Tensor")
# The part of an image that shows the picture, ``(xmin, ymin, xmax, ymax)``; None where that is all of it.
Window = tuple[int, int, int, int] | None


class Frame(NamedTuple):
    """Where a whole picture lies in the square that a network sees, in pixels of the square.

    Attributes:
        left, top: Its upper left corner, below 0 where the picture reaches beyond the square.
        width, height: Its size there.
        side: The side of the square.
    """

    left: int
    top: int
    width: int
    height: int
    side: int

    @property
    def window(self) -> tuple[int, int, int, int]:
        """The part of the square that shows the picture, ``(xmin, ymin, xmax, ymax)``."""
        right, bottom = self.left + self.width, self.top + self.height
        return max(self.left, 0), max(self.top, 0), min(right, self.side), min(bottom, self.side)

    @property
    def is_whole(self) -> bool:
        """Whether the square shows the whole picture and nothing else."""
        return self == Frame(0, 0, self.side, self.side, self.side)

    def put(self, pixels: np.ndarray, fill: int | tuple[int, ...]) -> np.ndarray:
        """Put the picture, ``(height, width, ...)``, into the square, which has the value ``fill`` beside it.

        Returns:
            ``(side, side, ...)``.

        Example:
            >>> frame_of((2, 4), 4, "letterbox").put(np.ones((2, 4), np.uint8), 7).tolist()
            [[7, 7, 7, 7], [1, 1, 1, 1], [1, 1, 1, 1], [7, 7, 7, 7]]
        """
        if self.is_whole:
            return pixels
        square = np.full((self.side, self.side, *pixels.shape[2:]), fill, pixels.dtype)
        square[slices_of(self.window)] = pixels[self._in_picture]
        return square

    def cut(self, square: np.ndarray, fill: int | tuple[int, ...]) -> np.ndarray:
        """Cut the picture out of the square; what the square does not show of it has the value ``fill``.

        Returns:
            ``(height, width, ...)``; :meth:`put` goes the other way.

        Example:
            >>> frame_of((1, 2), 2, "crop").cut(np.ones((2, 2), np.uint8), 0).tolist()
            [[0, 1, 1, 0], [0, 1, 1, 0]]
        """
        picture = np.full((self.height, self.width, *square.shape[2:]), fill, square.dtype)
        picture[self._in_picture] = square[slices_of(self.window)]
        return picture

    @property
    def _in_picture(self) -> tuple[slice, slice]:
        xmin, ymin, xmax, ymax = self.window
        return slice(ymin - self.top, ymax - self.top), slice(xmin - self.left, xmax - self.left)


def slices_of(window: Window) -> tuple[slice, slice]:
    """Return the rows and the columns of a window."""
    if window is None:
        return slice(None), slice(None)
    xmin, ymin, xmax, ymax = window
    return slice(ymin, ymax), slice(xmin, xmax)


def frame_of(size: tuple[int, ...], side: int, resize: str = "squash") -> Frame:
    """Find where a picture lies in a network's square.

    It lies in the middle, with borders (or cuts) of equal width on both sides, so that a mirrored picture has the same
    frame. Its aspect is kept to within a pixel of the square.

    Args:
        size: Height and width of the picture, pixels.
        side: Side of the square, pixels.
        resize: One of :data:`~gain_lightning.constants.RESIZES`.

    Example:
        >>> frame_of((3000, 4000), 224, "letterbox")
        Frame(left=0, top=28, width=224, height=168, side=224)
        >>> frame_of((3000, 4000), 224, "crop")
        Frame(left=-37, top=0, width=298, height=224, side=224)
    """
    if resize not in RESIZES:
        raise ValueError(f"resize is {resize!r}, expected one of {', '.join(RESIZES)}")
    if resize == "squash":
        return Frame(0, 0, side, side, side)
    height, width = size
    fitted = max(size) if resize == "letterbox" else min(size)
    left, top = (round(side * (1 - length / fitted) / 2) for length in (width, height))
    # of a picture that is all length a row is left
    left, top = min(left, (side - 1) // 2), min(top, (side - 1) // 2)
    return Frame(left, top, side - 2 * left, side - 2 * top, side)


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
