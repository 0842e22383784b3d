"""Bounding boxes take the place of masks: H^c of Eq. 7 is then a filled box."""

from typing import NamedTuple

import numpy as np

from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.class_masks import ClassMasks, stack_masks
from gain_lightning.datasets.resize import Frame


class Boxes(NamedTuple):
    """The boxes of one image.

    Attributes:
        class_idx: Class of each box, 0..C-1, ``(B,)`` int.
        corners: ``(xmin, ymin, xmax, ymax)`` of each, ``(B, 4)`` float, in pixels from the picture's upper
            left corner: a box of the one pixel in that corner is (0, 0, 1, 1).
    """

    class_idx: np.ndarray
    corners: np.ndarray

    def scaled(self, along_y: float, along_x: float) -> "Boxes":
        """Return the boxes of the picture after it is resized by these factors."""
        return Boxes(self.class_idx, self.corners * (along_x, along_y, along_x, along_y))

    def framed(self, frame: Frame) -> "Boxes":
        """Return the boxes of a whole picture in a network's square, without those that it does not show.

        Example:
            >>> boxes = Boxes(np.array([0, 1]), np.array([[0.0, 0.0, 2.0, 2.0], [6.0, 0.0, 8.0, 2.0]]))
            >>> boxes.framed(Frame(left=-2, top=0, width=10, height=4, side=4)).corners.tolist()
            []
            >>> boxes.framed(Frame(left=-1, top=0, width=8, height=4, side=4)).corners.tolist()
            [[0.0, 0.0, 1.0, 2.0]]
        """
        if frame.is_whole:
            return self
        xmin, ymin, xmax, ymax = frame.window
        corners = self.corners + np.array([frame.left, frame.top] * 2)
        corners = corners.clip((xmin, ymin, xmin, ymin), (xmax, ymax, xmax, ymax))
        seen = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        return Boxes(self.class_idx[seen], corners[seen])


def dilate_boxes(corners: np.ndarray, factor: float) -> np.ndarray:
    """Make the sides of boxes ``factor`` times as long, about the same centres.

    Args:
        corners: The boxes, ``(B, 4)``.
        factor: How many times as long; the paper notes that coarse marks suffice.

    Returns:
        The larger or smaller boxes, ``(B, 4)``, which may reach beyond the picture.

    Example:
        >>> dilate_boxes(np.array([[10.0, 10.0, 20.0, 30.0]]), 1.5).tolist()
        [[7.5, 5.0, 22.5, 35.0]]
    """
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]) * (factor / 2)
    return np.concatenate([centre - half, centre + half], axis=1)


def box_masks(
    boxes: Boxes, size: tuple[int, int], *, dilation: float = 1.0, other_boxes: str = "unknown"
) -> ClassMasks:
    """Make a mask of every class that has a box: it is the class inside its boxes, and not the class outside.

    Args:
        boxes: The boxes of one image.
        size: Height and width of the masks, pixels.
        dilation: See :func:`dilate_boxes`.
        other_boxes: What a box of another class says of this class, outside of its own boxes: nothing (``unknown``),
            for a box holds more than its object; or that the class is not there (``no``).

    Returns:
        The masks; a box covers at least one pixel.

    Example:
        >>> boxes = Boxes(np.array([4, 0]), np.array([[1.0, 0.0, 3.0, 1.0], [2.0, 0.0, 4.0, 1.0]]))
        >>> masks = box_masks(boxes, (1, 5))
        >>> masks.class_idx.tolist(), masks.mask.tolist()
        ([0, 4], [[[0, 255, 1, 1, 0]], [[0, 1, 1, 255, 0]]])
    """
    height, width = size
    inside: dict[int, np.ndarray] = {
        int(class_idx): np.zeros(size, bool) for class_idx in np.unique(boxes.class_idx)
    }
    for class_idx, (xmin, ymin, xmax, ymax) in zip(
        boxes.class_idx.tolist(), dilate_boxes(boxes.corners, dilation), strict=True
    ):
        left, top = min(max(round(xmin), 0), width - 1), min(max(round(ymin), 0), height - 1)
        right, bottom = max(round(xmax), left + 1), max(round(ymax), top + 1)
        inside[class_idx][top:bottom, left:right] = True
    anywhere = np.any(list(inside.values()), axis=0) if inside and other_boxes == "unknown" else False
    masks = {
        class_idx: np.where(own, YES, np.where(anywhere, VOID, NO)).astype(np.uint8)
        for class_idx, own in inside.items()
    }
    return stack_masks(masks, size)


def outside(masks: ClassMasks) -> ClassMasks:
    """Turn masks inside out: each class is where its mask says that it is not; what is unknown stays so.

    Boxes of a bird say so where the ground is. Nothing is known of a class whose mask leaves no pixel outside.

    Example:
        >>> masks = ClassMasks(np.array([0, 1]), np.array([[[0, 1, 255]], [[1, 1, 255]]], np.uint8))
        >>> turned = outside(masks)
        >>> turned.class_idx.tolist(), turned.mask.tolist()
        ([0], [[[1, 0, 255]]])
    """
    turned = np.choose(masks.mask.clip(0, 2), (YES, NO, VOID)).astype(np.uint8)
    seen = (turned == YES).any((1, 2))
    return ClassMasks(masks.class_idx[seen], turned[seen])


def box_of(body: np.ndarray) -> np.ndarray:
    """Find the smallest box around a body.

    Args:
        body: The pixels of the body, ``(H, W)`` bool, at least one of them true.

    Returns:
        ``(xmin, ymin, xmax, ymax)``, ``(4,)`` float.

    Example:
        >>> box_of(np.array([[False, True], [False, True]])).tolist()
        [1.0, 0.0, 2.0, 2.0]
    """
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
