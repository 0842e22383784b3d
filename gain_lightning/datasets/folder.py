"""The data module of your own pictures; ``readers/folder/`` says how they are laid out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn

from gain_lightning.datasets.check import stop_at
from gain_lightning.datasets.groups import grouped
from gain_lightning.datasets.image_set import ImageSet, training_sets
from gain_lightning.datasets.label_column import labelled_by
from gain_lightning.datasets.listing import Listing, empty_boxes
from gain_lightning.datasets.readers import FOLDER_MODULE, reader_of
from gain_lightning.datasets.readers.annotations import Asked
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.datasets.transforms import Augmentation
from gain_lightning.datasets.val_draw import ValDraw, with_val
from gain_lightning.datasets.value_names import named
from gain_lightning.support.names import written_as


class FolderDataModule(TwoStreamDataModule):
    """Your own pictures with one label, many, or amounts, laid out as data/README.md says.

    The splits ``train``, ``val`` and ``test`` of ``labels.csv`` are what they say; every other split is a further
    test set. Without a split ``test`` the main scores are those of ``val``. Without a column ``split``, ``val`` is
    drawn, always the same pictures (:mod:`~gain_lightning.datasets.val_draw`).

    Args:
        root: The folder; or a file or folder of another tool's annotations
            (:mod:`~gain_lightning.datasets.readers.annotations`).
        image_folder: The folder of the pictures that annotations name; null looks near the annotations.
        unannotated: What a picture without annotation is, where the file does not say: ``negative``, it shows no class;
            or ``leave_out``, nobody looked at it. Null refuses such pictures.
        image_size: Height and width that pictures are resized to, pixels.
        resize: What becomes of the aspect of pictures: ``squash`` gives it up; ``letterbox`` keeps it between borders
            of the mean colour, which no loss on maps and no score sees; ``crop`` keeps it and cuts off both ends.
        augmentation: How training pictures are varied.
        val_fraction: Share drawn for validation, where ``labels.csv`` names no split.
        val_draw: ``stratified`` draws it from every class alike; ``random`` as earlier versions did, for their runs.
        split_by: Column of the table, such as ``patient``, whose values stay together: pictures of one value are in
            one split, and splits that the table names are held to it. Null keeps every picture for itself.
        num_folds: Pictures are dealt into so many folds in place of ``val_fraction``, such as 5; null deals none.
        fold: The fold that is ``val``, from 0 on; the others are ``train``.
        accuracy_class: Class whose presence the accuracies judge; null judges the whole label.
        value_names: Names of the numbers by which a table knows classes and values, such as ``{classes: [landbird,
            waterbird], place: [land, water]}``; null leaves the numbers.
        label_column: Column of the table whose values are the classes in place of those that it names, such as
            ``place``; the latter are then the column ``classes``
            (:func:`~gain_lightning.datasets.label_column.labelled_by`). Null keeps the classes.
        group_by: Columns of the table that make groups, such as ``[place]``
            (:func:`~gain_lightning.datasets.groups.grouped`); null takes a column ``group`` as it is, if there is one.
        streams: See :class:`~gain_lightning.datasets.streams.TwoStreamDataModule`.

    Raises:
        FileNotFoundError, ValueError: If the folder, a table, a picture, a mask or a box is missing or unfit; the
            words are those of ``gain data check``.
    """

    def __init__(
        self,
        *,
        root: str,
        image_folder: str | None = None,
        unannotated: str | None = None,
        image_size: int = 224,
        resize: str = "squash",
        augmentation: Augmentation = Augmentation(),  # noqa: B008, frozen
        val_fraction: float = 0.2,
        val_draw: str = "stratified",
        split_by: str | None = None,
        num_folds: int | None = None,
        fold: int | None = None,
        accuracy_class: str | None = None,
        value_names: dict[str, list[str]] | None = None,
        label_column: str | None = None,
        group_by: list[str] | None = None,
        **streams: Any,
    ) -> None:
        super().__init__(**streams)
        draw = ValDraw(val_fraction, val_draw, split_by, num_folds, fold).check()
        if group_by == []:
            raise ValueError("data.group_by is [], expected columns of the table, or null")
        self.root = Path(root)
        self.image_size = image_size
        self.resize = resize
        self.augmentation = augmentation
        asked = Asked(None if image_folder is None else Path(image_folder), unannotated)
        contents = reader_of(self.root, FOLDER_MODULE, asked).read(self.root)
        contents = named(contents, value_names or {})
        contents = contents if label_column is None else labelled_by(contents, label_column)
        stop_at(contents.problems, self.root)
        for change in contents.changes:
            rank_zero_warn(change)
        self.class_names = next(iter(contents.listings.values())).class_names
        if accuracy_class is not None:
            accuracy_class = written_as(accuracy_class, self.class_names)
        if accuracy_class is not None and accuracy_class not in self.class_names:
            names = ", ".join(self.class_names)
            raise ValueError(f"data.accuracy_class is {accuracy_class!r}, expected one of {names}")
        self.accuracy_class = accuracy_class
        self.contents = with_val(grouped(contents, group_by, accuracy_class), draw)
        stop_at(self.contents.problems, self.root)
        self.group_names = self.contents.group_names

    def image_set(self, split: str | None = None) -> ImageSet:
        """Open the pictures of a split (None: train) with their labels, without masks."""
        return self._open(self.contents.of(split or "train"), supervision="none")

    def setup(self, stage: str) -> None:
        """Open the sets that ``stage`` needs."""
        if stage == "fit":
            self.train_set, self.masked_set, self.select_set = training_sets(
                self, self.contents.of("train"), self.augmentation
            )
        self.val_set = self._judging("val")
        self.test_sets = {} if "test" in self.contents.listings else {"val": self.val_set}
        for name in self.contents.listings:
            if name not in ("train", "val"):
                self.test_sets[name] = self._judging(name)

    def _judging(self, split: str) -> ImageSet:
        """Open a set that judges: boxes that a class lies outside of judge no map of it."""
        listing = self.contents.of(split)
        listing = replace(listing, **empty_boxes()) if self.supervision == "outside_box" else listing
        return self._open(listing)

    def _open(self, listing: Listing, supervision: str = "mask") -> ImageSet:
        return ImageSet(listing, image_size=self.image_size, resize=self.resize, supervision=supervision)
