"""What a data set yields."""

from typing import TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor

from gain_lightning import VOID


class Sample(TypedDict):
    """One image; the default collate function stacks samples to a batch with a leading axis N.

    Attributes:
        image: RGB picture, ``(3, H, W)`` uint8. The module normalises it on the device.
        label: 1 where the class is present, else 0, ``(C,)`` float32.
        mask: 0 background, 1..C class, 255 void, ``(H, W)`` uint8; all void when the image has no mask.
        id: Name of the image, unique in its data set.
    """

    image: Tensor
    label: Tensor
    mask: Tensor
    id: str


def make_sample(image: np.ndarray, label: np.ndarray, mask: np.ndarray | None, sample_id: str) -> Sample:
    """Turn arrays into a sample.

    Args:
        image: ``(H, W, 3)`` uint8.
        label: ``(C,)``.
        mask: ``(H, W)`` uint8, or None for an image without pixel labels.
        sample_id: Its name.

    Returns:
        The sample.
    """
    if mask is None:
        mask = np.full(image.shape[:2], VOID, dtype=np.uint8)
    channels = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(channels))  # several times faster than a transposed copy
    return Sample(
        image=torch.from_numpy(channels),
        label=torch.from_numpy(label.astype(np.float32)),
        mask=torch.from_numpy(np.ascontiguousarray(mask)),
        id=sample_id,
    )


def keep_classes(mask: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """A mask that shows only some classes, as if nobody had drawn the others; these become background.

    Args:
        mask: 0 background, 1..C class, 255 void, ``(H, W)`` uint8.
        kept: Which classes stay, ``(C,)`` bool.

    Returns:
        ``(H, W)`` uint8.

    Example:
        >>> keep_classes(np.array([[0, 1, 2, 255]], np.uint8), np.array([False, True])).tolist()
        [[0, 0, 2, 255]]
    """
    table = np.arange(256, dtype=np.uint8)
    table[1 : len(kept) + 1] *= kept
    return table[mask]
