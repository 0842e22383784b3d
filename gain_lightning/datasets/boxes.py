"""Bounding boxes as supervision: H^c of Eq. 7 is a filled box where nobody drew a mask."""

from typing import NamedTuple

import numpy as np


class Boxes(NamedTuple):
    """The boxes of one image.

    Attributes:
        class_idx: Class of each box, 0..C-1, ``(B,)`` int.
        corners: ``(xmin, ymin, xmax, ymax)`` of each, ``(B, 4)`` float, in pixels from the picture's upper
            left corner: a box of the one pixel in that corner is (0, 0, 1, 1).
    """

    class_idx: np.ndarray
    corners: np.ndarray


def dilate_boxes(corners: np.ndarray, factor: float) -> np.ndarray:
    """Boxes whose sides are ``factor`` times as long, about the same centres.

    Args:
        corners: ``(B, 4)``.
        factor: 1 leaves them; the paper notes that coarse marks suffice.

    Returns:
        ``(B, 4)``, which may reach beyond the picture.

    Example:
        >>> dilate_boxes(np.array([[10.0, 10.0, 20.0, 30.0]]), 1.5).tolist()
        [[7.5, 5.0, 22.5, 35.0]]
    """
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]) * (factor / 2)
    return np.concatenate([centre - half, centre + half], axis=1)


def paint_boxes(boxes: Boxes, size: tuple[int, int], dilation: float = 1.0) -> np.ndarray:
    """Fill boxes with their class; where two overlap the smaller lies in front (Khoreva et al., CVPR 2017).

    Args:
        boxes: Of one image.
        size: Height and width of the mask, pixels.
        dilation: See :func:`dilate_boxes`.

    Returns:
        Mask: 0 outside every box, else 1..C, ``(H, W)`` uint8. A box covers at least one pixel.

    Example:
        >>> paint_boxes(Boxes(np.array([4]), np.array([[1.0, 0.0, 3.0, 1.0]])), (2, 4)).tolist()
        [[0, 5, 5, 0], [0, 0, 0, 0]]
    """
    mask = np.zeros(size, np.uint8)
    corners = dilate_boxes(boxes.corners, dilation)
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    height, width = size
    for number in np.argsort(-area, kind="stable"):
        xmin, ymin, xmax, ymax = corners[number]
        left, top = min(max(round(xmin), 0), width - 1), min(max(round(ymin), 0), height - 1)
        right, bottom = max(round(xmax), left + 1), max(round(ymax), top + 1)
        mask[top:bottom, left:right] = boxes.class_idx[number] + 1
    return mask


def box_of(body: np.ndarray) -> np.ndarray:
    """The smallest box around the true pixels of ``body`` ``(H, W)`` bool; ``(4,)`` float.

    Example:
        >>> box_of(np.array([[False, True], [False, True]])).tolist()
        [1.0, 0.0, 2.0, 2.0]
    """
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
