"""PASCAL VOC 2012 as a data module."""

from pathlib import Path
from typing import Any

from gain_lightning.datasets.check import stop_at
from gain_lightning.datasets.check_masks import check_masks
from gain_lightning.datasets.image_set import ImageSet, training_sets
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.readers.voc import CLASSES, find_root, missing_masks, read_voc
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.datasets.transforms import Augmentation
from gain_lightning.scores import is_reserved


class VOC12DataModule(TwoStreamDataModule):
    """PASCAL VOC 2012 in its own layout. The test set is ``val``, for VOC publishes no labels for its own test set.

    ``predict_dataloader`` yields the images of ``test.txt``, without labels.

    Args:
        root: The folder ``VOC2012``, or ``VOCdevkit``, or what holds it.
        train_split: ``train`` or ``train_aug`` (with the masks of SBD).
        mask_folder: Where the training masks come from.
        image_size: Height and width that images are resized to, pixels.
        resize: What becomes of the aspect of pictures: ``squash`` gives it up; ``letterbox`` keeps it between borders
            of the mean colour, which no loss on maps and no score sees; ``crop`` keeps it and cuts off both ends.
        augmentation: How training images are varied.
        test_folders: Further test sets, name to folder, each laid out as
            :class:`~gain_lightning.datasets.folder.FolderDataModule` says, with VOC's class names.
        accuracy_class: Class whose presence the accuracies judge; null judges the whole label.
        streams: See :class:`~gain_lightning.datasets.streams.TwoStreamDataModule`.

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
        resize: str = "squash",
        augmentation: Augmentation = Augmentation(),  # noqa: B008, frozen
        test_folders: dict[str, str] | None = None,
        accuracy_class: str | None = None,
        **streams: Any,
    ) -> None:
        super().__init__(**streams)
        self.root = find_root(root)
        self.train_split = train_split
        self.mask_folder = mask_folder
        self.image_size = image_size
        self.resize = resize
        self.augmentation = augmentation
        self.test_folders = test_folders or {}
        hidden = [name for name in self.test_folders if is_reserved(name) or name == "val"]
        if hidden:
            raise ValueError(f"data.test_folders: {hidden[0]!r} is the name of a score, expected another")
        if accuracy_class is not None and accuracy_class not in CLASSES:
            raise ValueError(
                f"data.accuracy_class is {accuracy_class!r}, expected one of {', '.join(CLASSES)}"
            )
        self.accuracy_class = accuracy_class
        self.test_sets = {}

    def image_set(self, split: str | None = None) -> ImageSet:
        """Open the images of a list (None: ``train_split``) with their labels, without masks.

        Raises:
            ValueError: If the list is ``test``, whose labels nobody has.
        """
        if split == "test":
            raise ValueError("split is 'test', expected a list whose images have labels")
        listing, problems = read_voc(self.root, split or self.train_split, self.mask_folder)
        stop_at(problems, self.root)
        return self._open(listing, supervision="none")

    def _open(self, listing: Listing, supervision: str = "mask") -> ImageSet:
        return ImageSet(listing, image_size=self.image_size, resize=self.resize, supervision=supervision)

    def setup(self, stage: str) -> None:
        """Read the lists and labels that ``stage`` needs."""
        if stage == "predict":
            listing, problems = read_voc(self.root, "test", "SegmentationClass")
            stop_at(problems, self.root)
            self.predict_set = self._open(listing, supervision="none")
            return
        if stage == "fit":
            listing, problems = read_voc(self.root, self.train_split, self.mask_folder)
            stop_at(problems, self.root)
            if self.mask_budget and self.supervision == "mask" and not listing.is_drawn.any():
                raise FileNotFoundError(
                    f"data.mask_folder: {self.root / self.mask_folder} has no mask of any image in "
                    f"{self.train_split}.txt"
                )
            self.train_set, *masked = training_sets(self, listing, self.augmentation)
            self.masked_set, self.select_set = masked
            drawn = [images for images in masked if images is not None and self.supervision == "mask"]
            problems = missing_masks(listing, self.mask_folder) if drawn else []
            for images in drawn:
                problems += check_masks(images.listing, agree=False)[1]
            stop_at(problems, self.root)
        if not self.test_sets:
            listing, problems = read_voc(self.root, "val", "SegmentationClass")
            problems += missing_masks(listing, "SegmentationClass")
            stop_at(problems + check_masks(listing, agree=False)[1], self.root)
            self.val_set = self._open(listing)
            self.test_sets = {"val": self.val_set}
            for name, folder in self.test_folders.items():
                contents = read_folder(Path(folder), class_names=CLASSES)
                stop_at(contents.problems, Path(folder))
                self.test_sets[name] = self._open(contents.listing)
