"""The two kinds of masks, and how each is made of the other, in this one place and without torch.

A mask of class indices shows all classes of an image: 0 is background, c + 1 is class c, 255 is void. A mask of one
class belongs to an (image, class) pair: 1 is the class, 0 is not the class, 255 is unknown. Beyond 254 classes the
indices of the first kind run out.
"""

import numpy as np

from gain_lightning.constants import VOID, YES


def index_to_class_mask(mask: np.ndarray, class_idx: int | np.ndarray) -> np.ndarray:
    """Return the mask of one class, out of a mask of class indices.

    Args:
        mask: Mask of class indices, ``(..., H, W)`` uint8: 0 background, 1..C classes, 255 void.
        class_idx: The class, 0..C-1; an array has one for each mask and broadcasts against ``mask``.

    Returns:
        Mask of the class, ``(..., H, W)`` uint8: 1 the class, 0 not the class, 255 unknown.

    Example:
        >>> index_to_class_mask(np.array([[0, 1, 2, 255]], np.uint8), 1).tolist()
        [[0, 0, 1, 255]]
    """
    return np.where(mask == VOID, VOID, mask == class_idx + 1).astype(np.uint8)


def class_to_index_mask(mask: np.ndarray, class_idx: int) -> np.ndarray:
    """Return a mask of one class as a mask of class indices, in which every other class is background.

    Args:
        mask: Mask of the class, ``(..., H, W)`` uint8: 1 the class, 0 not the class, 255 unknown.
        class_idx: The class, 0..C-1.

    Returns:
        Mask of class indices, ``(..., H, W)`` integers: 0 background, ``class_idx + 1`` the class, 255 void.

    Example:
        >>> class_to_index_mask(np.array([[0, 1, 255]], np.uint8), 6).tolist()
        [[0, 7, 255]]
    """
    return np.where(mask == VOID, VOID, np.where(mask == YES, class_idx + 1, 0))
