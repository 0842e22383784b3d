"""Your own pictures as a data module; ``readers/folder.py`` says how they are laid out."""

from pathlib import Path
from typing import Any

import numpy as np

from gain_lightning.datasets.check import stop_at
from gain_lightning.datasets.image_set import ImageSet, training_sets
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.readers.folder import draw_val, read_folder
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.datasets.transforms import Augmentation
from gain_lightning.support.names import written_as


class FolderDataModule(TwoStreamDataModule):
    """Your own pictures with one label, many, or amounts, laid out as data/README.md says.

    The splits ``train``, ``val`` and ``test`` of ``labels.csv`` are what they say, every other one is a further
    test set. Without a split ``test`` the main scores are those of ``val``. Without a column ``split``,
    ``val_fraction`` of the pictures are drawn for ``val``.

    Args:
        root: The folder.
        image_size: Height and width that pictures are resized to, pixels.
        augmentation: How training pictures are varied.
        val_fraction: Share drawn for validation, always the same, where ``labels.csv`` names no split.
        accuracy_class: Class whose presence the accuracies judge; null judges the whole label.
        streams: See :class:`~gain_lightning.datasets.streams.TwoStreamDataModule`.

    Raises:
        FileNotFoundError, ValueError: If the folder, a table, a picture, a mask or a box is missing or unfit; the
            words are those of ``gain data check``.
    """

    def __init__(
        self,
        *,
        root: str,
        image_size: int = 224,
        augmentation: Augmentation = Augmentation(),  # noqa: B008, frozen
        val_fraction: float = 0.2,
        accuracy_class: str | None = None,
        **streams: Any,
    ) -> None:
        super().__init__(**streams)
        if not 0 < val_fraction < 1:
            raise ValueError(f"data.val_fraction is {val_fraction}, expected a share between 0 and 1")
        self.root = Path(root)
        self.image_size = image_size
        self.augmentation = augmentation
        self.contents = read_folder(self.root)
        stop_at(self.contents.problems, self.root)
        self.splits = draw_val(self.contents.splits, val_fraction)
        self.class_names = self.contents.listing.class_names
        if accuracy_class is not None:
            accuracy_class = written_as(accuracy_class, self.class_names)
        if accuracy_class is not None and accuracy_class not in self.class_names:
            names = ", ".join(self.class_names)
            raise ValueError(f"data.accuracy_class is {accuracy_class!r}, expected one of {names}")
        self.accuracy_class = accuracy_class

    def _listing(self, split: str) -> Listing:
        rows = np.flatnonzero(self.splits == split)
        if not len(rows):
            names = ", ".join(sorted(set(self.splits.tolist())))
            raise ValueError(f"{self.root / 'labels.csv'}: no picture of split {split!r}, only of {names}")
        return self.contents.listing.take(rows)

    def image_set(self, split: str | None = None) -> ImageSet:
        """Pictures of a split (None: train) with their labels, without masks."""
        return ImageSet(self._listing(split or "train"), image_size=self.image_size, supervision="none")

    def setup(self, stage: str) -> None:
        """Open the sets that ``stage`` needs."""
        if stage == "fit":
            self.train_set, self.masked_set = training_sets(self, self._listing("train"), self.augmentation)
        self.val_set = ImageSet(self._listing("val"), image_size=self.image_size)
        names = set(self.splits.tolist())
        self.test_sets = {} if "test" in names else {"val": self.val_set}
        for name in sorted(names - {"train", "val"}, key=lambda name: (name != "test", name)):
            self.test_sets[name] = ImageSet(self._listing(name), image_size=self.image_size)
