"""PASCAL VOC 2012 from its own folder layout: labels from ``Annotations``, never from masks."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from gain_lightning import VOID
from gain_lightning.datasets import transforms
from gain_lightning.datasets.images import image_size, read_image, read_mask
from gain_lightning.datasets.sample import Sample, make_sample
from gain_lightning.datasets.streams import Draw, TwoStreamDataModule, run_seed

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VOC12(Dataset):
    """Images of a VOC 2012 folder.

    Args:
        root: The folder ``VOC2012`` (or ``VOCdevkit``, or what holds it).
        ids: Names of the images.
        image_size: Height and width that images and masks are resized to, pixels.
        augment: Flip at random.
        mask_folder: ``SegmentationClass`` or ``SegmentationClassAug``; None yields void masks.

    Raises:
        ValueError, FileNotFoundError: When an image is asked for whose files are missing or unfit.
    """

    def __init__(
        self, root: Path, ids: Sequence[str], *, image_size: int, augment: bool, mask_folder: str | None
    ) -> None:
        self.root = root
        self.ids = list(ids)
        self.mask_folder = mask_folder
        self.transform = (transforms.train_transform if augment else transforms.eval_transform)(image_size)
        self.labels = np.stack([read_label(root, image_id) for image_id in self.ids])
        self.seed = run_seed()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: int | Draw) -> Sample:
        index, visit = draw if isinstance(draw, Draw) else (draw, 0)
        image_id = self.ids[index]
        image = read_image(self.root / "JPEGImages" / f"{image_id}.jpg")
        mask = None if self.mask_folder is None else self._read_mask(image_id, image.shape[:2])
        image, mask = transforms.apply(self.transform, image, mask, (self.seed, visit, index))
        return make_sample(image, self.labels[index], mask, image_id)

    def check_masks(self) -> None:
        """Read every mask once, so that a bad one is an error before training and not in the middle of it.

        Raises:
            FileNotFoundError, ValueError: It names the first mask that is missing or does not fit.
        """
        for image_id in self.ids:
            self._read_mask(image_id, image_size(self.root / "JPEGImages" / f"{image_id}.jpg"))

    def _read_mask(self, image_id: str, size: tuple[int, int]) -> np.ndarray:
        path = self.root / self.mask_folder / f"{image_id}.png"
        mask = read_mask(path)
        if mask.shape != size:
            raise ValueError(f"{path}: mask of {mask.shape} pixels, but its image has {size} (height, width)")
        outside = mask[(mask > len(CLASSES)) & (mask != VOID)]
        if len(outside):
            raise ValueError(
                f"{path}: class index {outside[0]} is out of range, expected 0..20 or 255 (void)"
            )
        return mask


def read_label(root: Path, image_id: str) -> np.ndarray:
    """The classes that ``Annotations/<image_id>.xml`` lists, difficult ones too; ``(20,)`` uint8.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no annotation, or names a class that VOC does not have.
    """
    path = root / "Annotations" / f"{image_id}.xml"
    text = path.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError(f"{path}: declares entities, which no VOC annotation does")
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not an XML annotation ({error})") from error
    label = np.zeros(len(CLASSES), np.uint8)
    for name in (element.findtext("name", "") for element in tree.iter("object")):
        if name not in CLASSES:
            raise ValueError(f"{path}: unknown class {name!r}, expected one of VOC's {len(CLASSES)}")
        label[CLASSES.index(name)] = 1
    return label


def find_root(root: str) -> Path:
    """The folder ``VOC2012`` at or below ``root``.

    Raises:
        FileNotFoundError: If none of the usual places has one.
    """
    for folder in (Path(root), Path(root) / "VOC2012", Path(root) / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise FileNotFoundError(
        f"data.root {root!r}: no VOC 2012 here, expected a folder with JPEGImages/, Annotations/ and ImageSets/ "
        "(or VOCdevkit/VOC2012 with them)"
    )


def read_ids(root: Path, split: str) -> list[str]:
    """The image names of ``ImageSets/Segmentation/<split>.txt``.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If it is empty, or names an image that is not there.
    """
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    ids = path.read_text().split()
    if not ids:
        raise ValueError(f"{path}: names no image")
    existing = {file.stem for file in (root / "JPEGImages").glob("*.jpg")}
    missing = [image_id for image_id in ids if image_id not in existing]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(ids)} images are missing, the first {missing[0]}.jpg"
        )
    return ids


class VOC12DataModule(TwoStreamDataModule):
    """PASCAL VOC 2012 in its own layout. The test set is ``val``: VOC publishes no labels for its own.

    Args:
        root: The folder ``VOC2012``, or ``VOCdevkit``, or what holds it.
        train_split: ``train`` or ``train_aug`` (with the masks of SBD).
        mask_folder: Where the training masks come from.
        image_size: Height and width that images are resized to, pixels.
        batch_size: Images of the weak stream a step and rank.
        masked_batch_size: Images of the masked stream a step and rank.
        mask_budget: Training images that carry masks: a count (int) or a fraction (float).
        mask_seed: Seed of that draw; null takes the run's seed.
        num_workers: Loader processes.

    Raises:
        FileNotFoundError, ValueError: If the folder, a list or an annotation is missing or unfit.
    """

    class_names = CLASSES

    def __init__(
        self,
        *,
        root: str,
        train_split: str = "train_aug",
        mask_folder: str = "SegmentationClassAug",
        image_size: int = 224,
        batch_size: int = 16,
        masked_batch_size: int = 4,
        mask_budget: int | float = 0,
        mask_seed: int | None = None,
        num_workers: int = 2,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            masked_batch_size=masked_batch_size,
            mask_budget=mask_budget,
            mask_seed=mask_seed,
            num_workers=num_workers,
        )
        self.root = find_root(root)
        self.train_split = train_split
        self.mask_folder = mask_folder
        self.image_size = image_size
        self.val_set: VOC12 | None = None

    def setup(self, stage: str) -> None:
        """Read the lists and labels that ``stage`` needs."""
        if stage == "fit":
            ids = read_ids(self.root, self.train_split)
            self.train_set = self._open(ids, augment=True, mask_folder=None)
            folder = self.root / self.mask_folder
            with_mask = [image_id for image_id in ids if (folder / f"{image_id}.png").is_file()]
            if self.mask_budget and not with_mask:
                raise FileNotFoundError(
                    f"data.mask_folder: {folder} has no mask of any image in {self.train_split}.txt"
                )
            masked_ids = self.draw_masked_ids(with_mask)
            if masked_ids:
                self.masked_set = self._open(masked_ids, augment=True, mask_folder=self.mask_folder)
                self.masked_set.check_masks()
        if self.val_set is None:
            self.val_set = self._open(
                read_ids(self.root, "val"), augment=False, mask_folder="SegmentationClass"
            )
            self.val_set.check_masks()
            self.test_sets = {"val": self.val_set}

    def _open(self, ids: list[str], *, augment: bool, mask_folder: str | None) -> VOC12:
        return VOC12(self.root, ids, image_size=self.image_size, augment=augment, mask_folder=mask_folder)
