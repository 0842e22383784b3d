"""The types of a sample, of a batch of samples, and of a data set that yields samples."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention.pairs import Pairs
from gain_lightning.datasets.boxes import Boxes
from gain_lightning.datasets.class_masks import ClassMasks, stack_masks
from gain_lightning.datasets.resize import Window


class Draw(NamedTuple):
    """What a training sampler asks a data set for: image ``row``; ``visit`` tells its draws apart."""

    row: int
    visit: int


class _Optional(TypedDict, total=False):
    window: Tensor
    box: Tensor
    box_class: Tensor


class Sample(_Optional):
    """One image, its label, and the masks of the classes that somebody marked on it.

    Attributes:
        image: The RGB picture, ``(3, H, W)`` uint8; the method normalises it on the device.
        label: 1 where the class is present, else 0; or its amount, for a regression; ``(C,)`` float32.
        mask: 1 the class, 0 not the class, 255 unknown, for each of M marked classes, ``(M, H, W)`` uint8.
        mask_class: The class of each mask, ``(M,)`` int64.
        id: The name of the image, unique in its data set.
        group: The number of its group, by the data module's ``group_names``; -1 where it is unknown or there are none.
        window: In a set whose pictures have borders, the part of ``image`` that shows the picture, ``(xmin, ymin, xmax,
            ymax)``, ``(4,)`` int64.
        box: In a set that is judged by boxes, ``(xmin, ymin, xmax, ymax)`` of each of B boxes in pixels of ``image``,
            ``(B, 4)`` float32.
        box_class: The class of each box, ``(B,)`` int64.
    """

    image: Tensor
    label: Tensor
    mask: Tensor
    mask_class: Tensor
    id: str
    group: int


class _Collated(TypedDict):
    image: Tensor
    label: Tensor
    mask: Tensor
    mask_image: Tensor
    mask_class: Tensor
    id: list[str]
    group: Tensor


class Batch(_Collated, total=False):
    """N samples, stacked by :func:`collate`.

    The masks of all images stand in one tensor, since images have different numbers of masks.

    Attributes:
        image: ``(N, 3, H, W)`` uint8.
        label: ``(N, C)`` float32.
        mask: The M masks of all images, 1 the class, 0 not the class, 255 unknown, ``(M, H, W)`` uint8.
        mask_image: The index of the image that each mask belongs to, ``(M,)`` int64.
        mask_class: The class of each mask, ``(M,)`` int64.
        id: The names of the images.
        group: The number of each image's group; -1 where it is unknown or there are none, ``(N,)`` int64.
        window: In a set whose pictures have borders, the part of each image that shows the picture, ``(N, 4)``.
        box, box_image, box_class: In a set that is judged by boxes, the boxes of all images ``(B, 4)``, and the image
            and the class of each, ``(B,)``.
        pairs: The (image, class) pairs of the labels, once a method has listed them.
    """

    window: Tensor
    box: Tensor
    box_image: Tensor
    box_class: Tensor
    pairs: Pairs


class _Weak(TypedDict):
    weak: Batch


class Streams(_Weak, total=False):
    """A training batch.

    Attributes:
        weak: Of every training image with its labels.
        masked: Of the images that also carry masks, where there are any.
    """

    masked: Batch


class PictureSet(Protocol):
    """A data set of pictures, wherever they come from.

    Attributes:
        ids: The names of the n pictures, ``(n,)``.
        labels: Their labels, ``(n, C)``.
        class_names: The names of the C classes.
        sizes: Height and width of each picture as it is stored, ``(n, 2)``.
        groups: The number of each picture's group, by the data module's ``group_names``, ``(n,)``; -1 where it is
            unknown, and None where there are no groups.
    """

    @property
    def ids(self) -> Sequence[str] | np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def sizes(self) -> np.ndarray: ...

    @property
    def groups(self) -> np.ndarray | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, draw: int | Draw, /) -> Sample: ...

    def picture(self, row: int, side: int | None = None) -> np.ndarray:
        """Return a picture as it is stored, or as a network of ``side`` x ``side`` pixels sees it.

        Returns:
            ``(H, W, 3)`` uint8.
        """
        ...

    def truth(self, row: int) -> np.ndarray:
        """Return a picture's stored mask of class indices, ``(H, W)`` uint8; void where nothing is known."""
        ...


def judged_by(pictures: object) -> Literal["mask", "box"]:
    """Return what the maps of a set of pictures are judged by; a set that does not say it has masks."""
    return getattr(pictures, "judged_by", "mask")


def window_of(sample: Sample) -> Window:
    """Return the part of a sample's image that shows the picture; None where that is all of it."""
    if "window" not in sample:
        return None
    xmin, ymin, xmax, ymax = sample["window"].tolist()
    return xmin, ymin, xmax, ymax


def make_sample(
    image: np.ndarray,
    label: np.ndarray,
    masks: ClassMasks | None,
    sample_id: str,
    group: int = -1,
    boxes: Boxes | None = None,
    window: Window = None,
) -> Sample:
    """Turn arrays into a sample.

    Args:
        image: The picture, ``(H, W, 3)`` uint8.
        label: Its label, ``(C,)``.
        masks: Its masks at the same size, or None for an image without pixel labels.
        sample_id: Its name.
        group: The number of its group; -1 where it is unknown or there are none.
        boxes: Its boxes in the same pixels, where they judge its maps.
        window: The part of ``image`` that shows the picture, ``(xmin, ymin, xmax, ymax)``, where it has borders.

    Returns:
        The sample.
    """
    masks = stack_masks({}, image.shape[:2]) if masks is None else masks
    sample = Sample(
        image=torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1),
        label=torch.from_numpy(label.astype(np.float32)),
        mask=torch.from_numpy(np.ascontiguousarray(masks.mask)),
        mask_class=torch.from_numpy(masks.class_idx),
        id=sample_id,
        group=group,
    )
    if window is not None:
        sample["window"] = torch.tensor(window)
    if boxes is not None:
        sample["box"] = torch.from_numpy(boxes.corners.astype(np.float32))
        sample["box_class"] = torch.from_numpy(boxes.class_idx.astype(np.int64))
    return sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples to a batch with a leading axis N; each picture's pixels are copied once.

    Returns:
        The batch; its ``image`` is in channels_last memory, as pictures are decoded.

    Raises:
        RuntimeError: If the pictures differ in size.
    """
    channels, height, width = samples[0]["image"].shape
    image = torch.empty(0, dtype=torch.uint8)
    if torch.utils.data.get_worker_info() is not None:
        # the batch is filled where the training process will read it, as torch's own collate does
        size = len(samples) * channels * height * width
        image = image.set_(torch.UntypedStorage._new_shared(size))
    image = image.resize_(len(samples), height, width, channels).permute(0, 3, 1, 2)
    for place, sample in zip(image, samples, strict=True):
        if sample["image"].shape != place.shape:
            shapes = tuple(sample["image"].shape), tuple(place.shape)
            raise RuntimeError(f"{sample['id']} has shape {shapes[0]}, but its batch {shapes[1]}")
        place.copy_(sample["image"])
    counts = torch.tensor([len(sample["mask"]) for sample in samples])
    batch = Batch(
        image=image,
        label=torch.stack([sample["label"] for sample in samples]),
        mask=torch.cat([sample["mask"] for sample in samples]),
        mask_class=torch.cat([sample["mask_class"] for sample in samples]),
        mask_image=torch.arange(len(samples)).repeat_interleave(counts),
        id=[sample["id"] for sample in samples],
        group=torch.tensor([sample["group"] for sample in samples]),
    )
    if "window" in samples[0]:
        batch["window"] = torch.stack([sample["window"] for sample in samples])
    if "box" in samples[0]:
        counts = torch.tensor([len(sample["box"]) for sample in samples])
        batch["box"] = torch.cat([sample["box"] for sample in samples])
        batch["box_image"] = torch.arange(len(samples)).repeat_interleave(counts)
        batch["box_class"] = torch.cat([sample["box_class"] for sample in samples])
    return batch
