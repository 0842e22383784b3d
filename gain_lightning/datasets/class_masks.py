"""The masks of an image are one for each class that somebody marked, and say what is known of the pixels.

A single mask of class indices cannot say what Eq. 7 needs: objects and boxes overlap, and what nobody drew is not
background.
"""

from typing import NamedTuple

import numpy as np

from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.resize import Frame, resize_mask
from gain_lightning.support.masks import index_to_class_mask


class ClassMasks(NamedTuple):
    """The masks of one image. Where a class is, remains unknown if it has no mask.

    Attributes:
        class_idx: The class of each mask, each class once, ``(M,)`` int64.
        mask: 1 the class, 0 not the class, 255 unknown, ``(M, H, W)`` uint8.
    """

    class_idx: np.ndarray
    mask: np.ndarray

    def only(self, kept: np.ndarray) -> "ClassMasks":
        """Keep the masks of some classes, ``kept`` ``(C,)`` bool; nothing is known of the others any more."""
        rows = kept[self.class_idx]
        return ClassMasks(self.class_idx[rows], self.mask[rows])

    def resized(self, size: tuple[int, int]) -> "ClassMasks":
        """Bring the masks to another size, (H, W): each pixel takes the value at its centre."""
        return self.changed_to([resize_mask(mask, size) for mask in self.mask], size)

    def framed(self, frame: Frame) -> "ClassMasks":
        """Put the masks of a whole picture into a network's square; nothing is known beside the picture."""
        if frame.is_whole:
            return self
        return self.changed_to([frame.put(mask, VOID) for mask in self.mask], (frame.side, frame.side))

    def changed_to(self, masks: list[np.ndarray], size: tuple[int, ...] = ()) -> "ClassMasks":
        """Return the masks after a change of the picture; nothing is known of a class that is no longer seen.

        Args:
            masks: The changed mask of each class here, ``(H, W)`` uint8.
            size: Height and width, needed where there may be no mask.
        """
        rows = zip(self.class_idx.tolist(), self.mask, masks, strict=True)
        kept = {idx: new for idx, old, new in rows if (new == YES).any() or not (old == YES).any()}
        return stack_masks(kept, masks[0].shape if masks else size)


def stack_masks(masks: dict[int, np.ndarray], size: tuple[int, ...]) -> ClassMasks:
    """Stack masks by class, each ``(H, W)`` uint8; ``size`` is (H, W), needed where there is no mask."""
    stacked = np.stack(list(masks.values())) if masks else np.zeros((0, *size), np.uint8)
    return ClassMasks(np.array(list(masks), np.int64), stacked)


def split_index_mask(mask: np.ndarray, label: np.ndarray) -> ClassMasks:
    """Make the masks of an image's labelled classes out of one mask of class indices.

    A labelled class that the mask does not show was not drawn, so nothing is known of it. But a mask that shows no
    class at all and has void pixels says where the labelled classes are not.

    Args:
        mask: 0 background, 1..C class, 255 void, ``(H, W)`` uint8.
        label: Above 0 where a class is present, ``(C,)``.

    Example:
        >>> masks = split_index_mask(np.array([[0, 1, 2, 255]], np.uint8), np.array([1, 1, 1]))
        >>> masks.class_idx.tolist(), masks.mask.tolist()
        ([0, 1], [[[0, 1, 0, 255]], [[0, 0, 1, 255]]])
        >>> split_index_mask(np.array([[0, 255]], np.uint8), np.array([0, 1])).mask.tolist()
        [[[0, 255]]]
    """
    is_void = mask == VOID
    shows_none = not ((mask != 0) & ~is_void).any() and is_void.any() and not is_void.all()
    masks = {}
    # the 255th class has no index, for 255 is void
    for class_idx in np.flatnonzero(label[: VOID - 1] > 0).tolist():
        own = index_to_class_mask(mask, class_idx)
        if (own == YES).any() or shows_none:
            masks[class_idx] = own
    return stack_masks(masks, mask.shape)


def join_to_index_mask(masks: ClassMasks, label: np.ndarray) -> np.ndarray:
    """Join the masks of an image to one of class indices, to look at or to score a segmentation by.

    Where classes overlap, the smaller lies in front. Background is where every labelled class is known not to be.

    Args:
        masks: The masks of one image.
        label: Above 0 where a class is present, ``(C,)``.

    Returns:
        0 background, 1..C class, 255 unknown, ``(H, W)`` uint8.

    Example:
        >>> masks = ClassMasks(np.array([1]), np.array([[[0, 1, 255]]], np.uint8))
        >>> join_to_index_mask(masks, np.array([0, 1])).tolist()
        [[0, 2, 255]]
        >>> join_to_index_mask(masks, np.array([1, 1])).tolist()  # nobody drew class 0
        [[255, 2, 255]]
    """
    is_known = set(np.flatnonzero(label > 0)) <= set(masks.class_idx.tolist())
    is_background = (masks.mask == NO).all(0) & is_known & (len(masks.class_idx) > 0)
    index = np.where(is_background, 0, VOID).astype(np.uint8)
    bodies = masks.mask == YES
    for row in np.argsort(-bodies.sum((1, 2)), kind="stable"):
        # a class beyond the 254th has no index and stays unknown
        index[bodies[row]] = min(masks.class_idx[row] + 1, VOID)
    return index
