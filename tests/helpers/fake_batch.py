"""Make the masks of a batch, as data sets yield them, out of one mask of class indices an image."""

import numpy as np
import reference
import torch
from torch import Tensor

from gain_lightning.datasets.class_masks import ClassMasks


def masks_of(index_masks: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return the three tensors of a batch's masks; a mask that knows nothing is left out.

    Args:
        index_masks: Masks of class indices, shape ``(N, H, W)``: 0 background, 1..C classes, 255 void.
        label: Labels, shape ``(N, C)``, above 0 where a class is present.
    """
    masks = reference.split_index_masks(index_masks.numpy(), label.numpy())
    rows = [
        (mask, *pair)
        for mask, pair in zip(masks, reference.pairs(label.numpy()), strict=True)
        if (mask != reference.VOID).any()
    ]
    shape = (len(rows), *index_masks.shape[1:])
    return {
        "mask": torch.from_numpy(np.array([row[0] for row in rows], np.uint8).reshape(shape)),
        "mask_image": torch.tensor([row[1] for row in rows], dtype=torch.long),
        "mask_class": torch.tensor([row[2] for row in rows], dtype=torch.long),
    }


def oracle_masks(batch: dict[str, Tensor]) -> list[np.ndarray]:
    """Return the mask of every pair of a batch, for the oracles."""
    rows = (batch[key].numpy() for key in ("mask", "mask_image", "mask_class"))
    return reference.pair_masks(*rows, batch["label"].numpy())


def by_class(masks: ClassMasks) -> dict[int, list]:
    """Return masks by their class, each class once."""
    assert masks.mask.dtype == np.uint8
    assert masks.class_idx.dtype == np.int64
    assert len(masks.class_idx) == len(masks.mask) == len(set(masks.class_idx.tolist()))
    return dict(zip(masks.class_idx.tolist(), masks.mask.tolist(), strict=True))
