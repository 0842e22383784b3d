"""The data of SEC: images with localisation cues for training, and with whole masks for scoring."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gain_lightning.constants import VOID
from gain_lightning.datasets.sample import Batch, Draw, PictureSet, Sample, collate
from gain_lightning.datasets.streams import (
    Loader,
    StreamLoader,
    StreamSampler,
    TwoStreamDataModule,
    begin_worker,
    draws_per_epoch,
    run_seed,
    share_out,
)
from gain_lightning.segmentation.cue_files import file_name, read_cues
from gain_lightning.segmentation.provenance import read_provenance


class CueDataModule(pl.LightningDataModule):
    """Localisation cues beside the images and labels of another data module.

    A training batch has ``image``, ``label``, ``cues`` ``(N, h, w)`` int64 and ``id``. A batch of validation or test is
    one image at the network's size, with ``picture`` ``(H, W, 3)`` uint8 and ``mask`` ``(H, W)`` uint8 at the size of
    its file, because segmentations are judged at that size.

    Args:
        cues: ``cues.npz`` of ``gain seeds``, or its folder, or cues of others, see
            :func:`gain_lightning.segmentation.cue_files.read_cues`.
        images: The data module that the images come from; its ``image_size`` is that of the network.
        split: The list of images that the cues are of; null takes the training images.
        batch_size: Images a step and device; 15 in SEC.
        num_workers: Loader processes.

    Attributes:
        cue_method: Method of the run that the cues come from; ``cues`` if it is not known.

    Raises:
        FileNotFoundError: If a training's file of cues does not exist.
        ValueError: If the cues have other classes than the images, if an image has no cues or a cue of a class that
            its label lacks, or if a training would go on with other cues than it began with.
    """

    accuracy_class = None

    def __init__(
        self,
        *,
        cues: str,
        images: TwoStreamDataModule,
        split: str | None = None,
        batch_size: int = 15,
        num_workers: int = 2,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"data.batch_size is {batch_size}, expected at least 1")
        if images.resize != "squash":
            raise ValueError(
                f"data.images.resize is {images.resize}, expected squash: cues are of whole pictures in squares"
            )
        path = Path(cues)
        self.cues = path / "cues.npz" if path.is_dir() else path
        self.provenance = read_provenance(self.cues.parent)
        self.cue_method = str(self.provenance.get("method") or "cues")
        self.cues_sha256: str | None = None
        self.images = images
        self.class_names = images.class_names
        self.image_size = images.image_size
        self.no_object_classes = images.no_object_classes
        self.split = split
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.masked_ids: list[str] = []
        self.select_ids: list[str] = []
        self.test_sets: dict[str, FullSize] = {}

    def setup(self, stage: str) -> None:
        """Read the cues, and open the sets that ``stage`` needs."""
        if stage == "fit":
            self.train_set = self._training_set()
        if stage in ("fit", "validate"):
            self.images.setup("validate")
            self.val_set = FullSize(self.images.val_set)
        if stage == "test":
            self.images.setup("test")
            name, first = next(iter(self.images.test_sets.items()))
            self.test_sets = {name: FullSize(first)}

    def _training_set(self) -> "WithCues":
        theirs, ours = self.provenance.get("class_names"), list(self.class_names)
        if theirs is not None and theirs != ours:
            raise ValueError(
                f"data.cues {self.cues}: of the classes {', '.join(theirs)}, expected those of the images, "
                f"{', '.join(ours)}"
            )
        self.cues_sha256 = self._hash()
        return WithCues(self.images.image_set(self.split), read_cues(self.cues, len(ours)))

    def _hash(self) -> str:
        if not self.cues.is_file() and self.provenance.get("state") == "running":
            raise ValueError(
                f"data.cues {self.cues.parent}: its seeds are not finished: the same gain seeds goes on"
            )
        if not self.cues.is_file():
            raise FileNotFoundError(f"data.cues {self.cues}: no such file, expected cues.npz of gain seeds")
        return hashlib.sha256(self.cues.read_bytes()).hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps: the hash of the cues that it was trained on."""
        return {"cues_sha256": self.cues_sha256}

    def refuse_other_cues(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse to go on with other cues than a checkpoint was trained on.

        Raises:
            FileNotFoundError: If there is no such file of cues.
            ValueError: If the content of the file differs.
        """
        before, now = checkpoint.get(type(self).__qualname__, {}).get("cues_sha256"), self._hash()
        if before not in (None, now):
            raise ValueError(
                f"data.cues {self.cues}: other cues than the checkpoint was trained on (sha256 {now[:12]}, not "
                f"{before[:12]}), expected the same, or another --run_dir"
            )

    def train_dataloader(self) -> DataLoader:
        """Return the training images in shuffled order, each once an epoch, or as often as the images ask."""
        size = len(self.train_set)
        ranks: dict[str, Any] = (
            {"rank": self.trainer.global_rank, "num_ranks": self.trainer.world_size} if self.trainer else {}
        )
        per_epoch = draws_per_epoch(
            size, self.batch_size, ranks.get("num_ranks", 1), self.images.min_steps_per_epoch
        )
        sampler = StreamSampler(size, per_epoch=per_epoch, seed=run_seed(), **ranks)
        return StreamLoader(
            self.train_set,
            self.batch_size,
            trainer=self.trainer,
            sampler=sampler,
            collate_fn=collate_cues,
            num_workers=self.num_workers,
            worker_init_fn=begin_worker,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        """Return one image a batch, in order; each image goes to one process."""
        return self._one_by_one("val", self.val_set)

    def test_dataloader(self) -> list[DataLoader]:
        """Return one image a batch of the first test set, in order; each image goes to one process."""
        return [self._one_by_one(name, dataset) for name, dataset in self.test_sets.items()]

    def _one_by_one(self, name: str, dataset: "FullSize") -> DataLoader:
        options: dict[str, Any] = {"num_workers": self.num_workers, "worker_init_fn": begin_worker}
        return Loader(dataset, batch_size=None, sampler=share_out(name, dataset, self.trainer), **options)


class CueSample(Sample):
    """An image with its cues: 0 background, c + 1 class c, 255 no cue, ``(h, w)`` uint8."""

    cues: Tensor


class CueBatch(Batch):
    """N images with their cues, ``(N, h, w)`` int64."""

    cues: Tensor


class FullSizeBatch(TypedDict):
    """One image at the network's size, and beside it as it is stored.

    Attributes:
        image: ``(1, 3, H, W)`` uint8, at the network's size.
        label: ``(1, C)`` float32.
        picture: The stored picture, ``(H, W, 3)`` uint8.
        mask: Its mask of class indices, ``(H, W)`` uint8.
        id: The name of the image.
    """

    image: Tensor
    label: Tensor
    picture: Tensor
    mask: Tensor
    id: list[str]


class WithCues(Dataset):
    """Samples of a data set, each with its cues.

    Args:
        images: The data set.
        cues: Cues by image name, see :func:`gain_lightning.segmentation.cue_files.file_name`.

    Raises:
        ValueError: If an image has no cues, or cues of a class that its label lacks.
    """

    def __init__(self, images: PictureSet, cues: Mapping[str, np.ndarray]) -> None:
        names = [file_name(str(image_id)) for image_id in images.ids]
        missing = [name for name in names if name not in cues]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(names)} training images have no cues, the first {missing[0]}: expected cues "
                "of these images, or data.split to name the list that they are of"
            )
        for name, label in zip(names, images.labels, strict=True):
            classes = np.unique(cues[name])
            wrong = [int(c) for c in classes if c not in (0, VOID) and not label[c - 1]]
            if wrong:
                has = ", ".join(str(c + 1) for c in np.flatnonzero(label)) or "none"
                raise ValueError(
                    f"image {name} has a cue of class {wrong[0]}, expected classes of its label ({has}) or the "
                    "background, 0: are the cues of these images, and of a class list in the same order?"
                )
        self.images = images
        self.cues = [cues[name] for name in names]
        self.labels = images.labels
        self.ids = images.ids

    def __len__(self) -> int:
        return len(self.cues)

    def __getitem__(self, draw: int | Draw) -> CueSample:
        index = draw.row if isinstance(draw, Draw) else draw
        return {**self.images[draw], "cues": torch.from_numpy(self.cues[index])}


def collate_cues(samples: list[CueSample]) -> CueBatch:
    """Stack samples with cues."""
    return {**collate(samples), "cues": torch.stack([sample["cues"] for sample in samples]).long()}


class FullSize(Dataset):
    """One image a batch, with its picture and mask at the size of their files.

    Args:
        images: The data set.
    """

    def __init__(self, images: PictureSet) -> None:
        self.images = images
        self.ids = images.ids
        self.labels = images.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> FullSizeBatch:
        sample = self.images[index]
        return {
            "image": sample["image"][None],
            "label": sample["label"][None],
            "picture": torch.from_numpy(np.ascontiguousarray(self.images.picture(index))),
            "mask": torch.from_numpy(np.ascontiguousarray(self.images.truth(index))),
            "id": [sample["id"]],
        }
