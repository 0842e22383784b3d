"""What a data set yields."""

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from gain_lightning.datasets.class_masks import ClassMasks, stack_masks


class Sample(TypedDict):
    """One image; :func:`collate` stacks samples to a batch with a leading axis N.

    Attributes:
        image: RGB picture, ``(3, H, W)`` uint8. The module normalises it on the device.
        label: 1 where the class is present, else 0; or its amount, for a regression; ``(C,)`` float32.
        mask: One for every class that somebody marked: 1 the class, 0 not the class, 255 unknown, ``(M, H, W)`` uint8.
        mask_class: Class of each mask, ``(M,)`` int64.
        id: Name of the image, unique in its data set.
    """

    image: Tensor
    label: Tensor
    mask: Tensor
    mask_class: Tensor
    id: str


def make_sample(image: np.ndarray, label: np.ndarray, masks: ClassMasks | None, sample_id: str) -> Sample:
    """Turn arrays into a sample.

    Args:
        image: ``(H, W, 3)`` uint8.
        label: ``(C,)``.
        masks: At the image's size, or None for an image without pixel labels.
        sample_id: Its name.

    Returns:
        The sample.
    """
    masks = stack_masks({}, image.shape[:2]) if masks is None else masks
    return Sample(
        image=torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1),
        label=torch.from_numpy(label.astype(np.float32)),
        mask=torch.from_numpy(np.ascontiguousarray(masks.mask)),
        mask_class=torch.from_numpy(masks.class_idx),
        id=sample_id,
    )


class Batch(Sample):
    """N samples: ``image`` ``(N, 3, H, W)``, ``label`` ``(N, C)``, ``id`` a list, and all masks ``(M, H, W)``.

    Attributes:
        mask_image: Index of the image that each mask is of, ``(M,)`` int64.
    """

    mask_image: Tensor


def collate(samples: list[Sample]) -> Batch:
    """Stack samples to a batch with a leading axis N, each picture's pixels copied once.

    Returns:
        The batch, its ``image`` in channels_last memory, as it was decoded.

    Raises:
        RuntimeError: If the pictures differ in size.
    """
    channels, height, width = samples[0]["image"].shape
    image = torch.empty(0, dtype=torch.uint8)
    if torch.utils.data.get_worker_info() is not None:
        # filled where the training process will read it, as torch's own collate does
        size = len(samples) * channels * height * width
        image = image.set_(torch.UntypedStorage._new_shared(size))
    image = image.resize_(len(samples), height, width, channels).permute(0, 3, 1, 2)
    for place, sample in zip(image, samples, strict=True):
        if sample["image"].shape != place.shape:
            shapes = tuple(sample["image"].shape), tuple(place.shape)
            raise RuntimeError(f"{sample['id']} has shape {shapes[0]}, but its batch {shapes[1]}")
        place.copy_(sample["image"])
    counts = torch.tensor([len(sample["mask"]) for sample in samples])
    return Batch(
        image=image,
        label=torch.stack([sample["label"] for sample in samples]),
        mask=torch.cat([sample["mask"] for sample in samples]),
        mask_class=torch.cat([sample["mask_class"] for sample in samples]),
        mask_image=torch.arange(len(samples)).repeat_interleave(counts),
        id=[sample["id"] for sample in samples],
    )
