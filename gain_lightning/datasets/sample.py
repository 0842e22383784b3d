"""What a data set yields."""

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from gain_lightning import VOID

_VOID_PIXEL = torch.tensor(VOID, dtype=torch.uint8)


class Sample(TypedDict):
    """One image; :func:`collate` stacks samples to a batch with a leading axis N.

    Attributes:
        image: RGB picture, ``(3, H, W)`` uint8. The module normalises it on the device.
        label: 1 where the class is present, else 0; or its amount, for a regression; ``(C,)`` float32.
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
    return Sample(
        image=torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1),
        label=torch.from_numpy(label.astype(np.float32)),
        mask=_VOID_PIXEL.expand(image.shape[:2])
        if mask is None
        else torch.from_numpy(np.ascontiguousarray(mask)),
        id=sample_id,
    )


def collate(samples: list[Sample]) -> Sample:
    """Stack samples to a batch with a leading axis N, each picture's pixels copied once.

    Returns:
        ``image`` ``(N, 3, H, W)`` in channels_last memory, as it was decoded, ``label`` ``(N, C)``,
        ``mask`` ``(N, H, W)``, ``id`` a list.

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
    masks = [sample["mask"] for sample in samples]
    is_void = all(mask.stride() == (0, 0) for mask in masks)  # one pixel, expanded by make_sample
    return Sample(
        image=image,
        label=torch.stack([sample["label"] for sample in samples]),
        mask=masks[0].expand(len(masks), -1, -1) if is_void else torch.stack(masks),
        id=[sample["id"] for sample in samples],
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
