"""What a data set yields, and which of its images carry pixels (the mask budget)."""

import math
from typing import TypedDict

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
    return Sample(
        image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        label=torch.from_numpy(label.astype(np.float32)),
        mask=torch.from_numpy(np.ascontiguousarray(mask)),
        id=sample_id,
    )


def draw_mask_budget(ids: list[str], budget: int | float, seed: int) -> list[str]:
    """Draw which training images carry pixel labels.

    A larger budget with the same seed contains the smaller one, so that budgets can be compared.

    Args:
        ids: The images that have a mask.
        budget: A count (int), or a fraction of ``ids`` (float in [0, 1], rounded up).
        seed: Seed of the draw.

    Returns:
        The drawn ids, sorted.

    Raises:
        ValueError: If the budget is negative, a fraction above 1, or larger than the set.

    Example:
        >>> draw_mask_budget(["a", "b", "c", "d"], 0.5, seed=0)
        ['a', 'c']
    """
    if isinstance(budget, float) and not 0 <= budget <= 1:
        raise ValueError(f"mask_budget is {budget}, expected a count (int) or a fraction between 0 and 1")
    count = math.ceil(round(budget * len(ids), 9)) if isinstance(budget, float) else budget
    if not 0 <= count <= len(ids):
        raise ValueError(f"mask_budget asks for {count} images, but {len(ids)} training images have a mask")
    order = np.random.default_rng(seed).permutation(len(ids))
    return sorted(ids[index] for index in order[:count])
