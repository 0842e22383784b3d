"""Image and mask together: resize and flip, by albumentations (2.0.8, the last under MIT)."""

import albumentations
import cv2
import numpy as np


def train_transform(size: int) -> albumentations.Compose:
    """Resize to ``size`` x ``size`` and flip left-right half of the time. No crop: it could lose an object."""
    return albumentations.Compose([_resize(size), albumentations.HorizontalFlip(p=0.5)])


def eval_transform(size: int) -> albumentations.Compose:
    """Resize to ``size`` x ``size``."""
    return albumentations.Compose([_resize(size)])


def _resize(size: int) -> albumentations.Resize:
    return albumentations.Resize(
        size, size, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST
    )


def apply(
    transform: albumentations.Compose, image: np.ndarray, mask: np.ndarray | None, seed: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Transform one image and its mask; the outcome depends on ``seed`` alone, not on who calls when.

    Args:
        transform: Of this module.
        image: ``(H, W, 3)`` uint8.
        mask: ``(H, W)`` uint8, or None.
        seed: E.g. (run seed, visit, index).

    Returns:
        Image and mask.
    """
    transform.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    if mask is None:
        return transform(image=image)["image"], None
    result = transform(image=image, mask=mask)
    return result["image"], result["mask"]
