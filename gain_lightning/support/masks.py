"""The two kinds of masks, each made of the other in this one place; without torch.

A mask of class indices shows all classes of an image: 0 is background, c + 1 is class c, 255 is void. A mask of one
class is what belongs to an (image, class) pair: 1 is the class, 0 is not the class, 255 is unknown. Beyond 254
classes the indices of the first kind run out.
"""

import numpy as np

from gain_lightning.constants import VOID, YES


def index_to_class_mask(mask: np.ndarray, class_idx: int | np.ndarray) -> np.ndarray:
    """The mask of one class, out of a mask of class indices.

    Args:
        mask: 0 background, 1..C class, 255 void, ``(..., H, W)`` uint8.
        class_idx: The class, 0..C-1; an array has one for each mask and broadcasts against ``mask``.

    Returns:
        1 the class, 0 not the class, 255 unknown, ``(..., H, W)`` uint8.

    Example:
        >>> index_to_class_mask(np.array([[0, 1, 2, 255]], np.uint8), 1).tolist()
        [[0, 0, 1, 255]]
    """
    return np.where(mask == VOID, VOID, mask == class_idx + 1).astype(np.uint8)


def class_to_index_mask(mask: np.ndarray, class_idx: int) -> np.ndarray:
    """A mask of one class as a mask of class indices, in which every other class is background.

    Args:
        mask: 1 the class, 0 not the class, 255 unknown, ``(..., H, W)`` uint8.
        class_idx: The class, 0..C-1.

    Returns:
        0 background, ``class_idx + 1`` the class, 255 void, ``(..., H, W)`` integers.

    Example:
        >>> class_to_index_mask(np.array([[0, 1, 255]], np.uint8), 6).tolist()
        [[0, 7, 255]]
    """
    return np.where(mask == VOID, VOID, np.where(mask == YES, class_idx + 1, 0))
