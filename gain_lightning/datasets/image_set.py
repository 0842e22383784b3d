"""The pictures of a listing as a data set, which decodes them, makes their masks and varies them."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from gain_lightning.constants import RESIZES, VOID
from gain_lightning.datasets.boxes import Boxes, box_masks, outside
from gain_lightning.datasets.class_masks import ClassMasks
from gain_lightning.datasets.images import load_picture, read_image
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.mask_noise import Annotator
from gain_lightning.datasets.resize import Frame, frame_of
from gain_lightning.datasets.sample import Draw, Sample, make_sample
from gain_lightning.datasets.streams import MaskedRows, TwoStreamDataModule, run_seed
from gain_lightning.datasets.transforms import Augmentation, TrainTransform


class ImageSet(Dataset):
    """The pictures of a listing.

    Where ``supervision`` is ``mask``, the listing has boxes, and nobody drew a mask in it, samples carry the boxes, by
    which their maps are then judged.

    Args:
        listing: The pictures with their sizes.
        image_size: Height and width that pictures and masks are resized to, pixels.
        resize: What becomes of the aspect of pictures, see :func:`~gain_lightning.datasets.images.load_picture`.
        augmentation: How training pictures are varied; None only resizes.
        supervision: What the masks hold: ``mask``, ``box`` (filled boxes), ``outside_box`` (what lies outside of a
            class's boxes), or ``none`` (all void).
        box_dilation, other_boxes: See :func:`~gain_lightning.datasets.boxes.box_masks`.
        kept: The classes whose masks or boxes each picture shows, ``(n, C)`` bool; None shows all.
        annotator: Who marks the pictures anew; None takes the masks and boxes as they are.

    Raises:
        ValueError: If ``image_size`` is not positive.
        ValueError, FileNotFoundError: If a file of a picture is missing or unfit, when the picture is asked for; the
            error names the file.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        image_size: int,
        resize: str = "squash",
        augmentation: Augmentation | None = None,
        supervision: str = "mask",
        box_dilation: float = 1.0,
        other_boxes: str = "unknown",
        kept: np.ndarray | None = None,
        annotator: Annotator | None = None,
    ) -> None:
        if image_size < 1:
            raise ValueError(f"data.image_size is {image_size}, expected at least 1 pixel")
        if resize not in RESIZES:
            raise ValueError(f"data.resize is {resize!r}, expected one of {', '.join(RESIZES)}")
        # values of attributes are texts, which each worker process would hold too
        self.listing = replace(listing, attributes=None)
        self.ids = listing.ids
        self.labels = listing.labels
        self.class_names = tuple(listing.class_names)
        self.sizes = listing.size  # (n, 2), height and width of the files
        self.groups = listing.groups  # (n,) or None
        self.image_size = image_size
        self.resize = resize
        self.supervision = supervision
        is_boxed = supervision == "mask" and listing.has_boxes_alone
        self.judged_by: Literal["mask", "box"] = "box" if is_boxed else "mask"
        self.box_dilation = box_dilation
        self.other_boxes = other_boxes
        self.kept = kept
        self.annotator = annotator
        self.train_transform = TrainTransform(image_size, augmentation) if augmentation else None
        self.seed = run_seed()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: int | Draw) -> Sample:
        index, visit = draw if isinstance(draw, Draw) else (draw, 0)
        image = self.picture(index, self.image_size)
        frame = self._frame(index)
        label, masks = self.labels[index], self._masks(index, frame)
        window = frame.window if self.resize == "letterbox" else None
        if self.train_transform:
            seed = (self.seed, visit, index)
            image, masks, label, window = self.train_transform(image, masks, label, seed, window)
        group = -1 if self.groups is None else int(self.groups[index])
        boxes = self._boxes(index, frame).framed(frame) if self.judged_by == "box" else None
        return make_sample(image, label, masks, str(self.ids[index]), group, boxes, window)

    def picture(self, row: int, side: int | None = None) -> np.ndarray:
        """Read a picture at the size of its file, or as a network of ``side`` x ``side`` pixels sees it.

        Returns:
            ``(H, W, 3)`` uint8.
        """
        path = self.listing.image_path(row)
        return read_image(path) if side is None else load_picture(path, side, self.resize)

    def truth(self, row: int) -> np.ndarray:
        """Read a picture's mask at the size of its file, whatever ``supervision`` shows of it to a training.

        Returns:
            0 background, 1..C class, 255 unknown, ``(H, W)`` uint8; unknown throughout where nobody drew a mask.
        """
        size = tuple(int(side) for side in self.listing.size[row])
        mask = self.listing.mask(row, size)
        return np.full(size, VOID, np.uint8) if mask is None else mask

    def _frame(self, index: int) -> Frame:
        """Find where a picture lies in the network's square."""
        return frame_of(self.listing.size[index].tolist(), self.image_size, self.resize)

    def _boxes(self, index: int, frame: Frame) -> Boxes:
        """Return the boxes of the whole picture at the size that is used."""
        height, width = self.listing.size[index].tolist()
        return self.listing.boxes(index).scaled(frame.height / height, frame.width / width)

    def _masks(self, index: int, frame: Frame) -> ClassMasks | None:
        if self.supervision == "none":
            return None
        masks: ClassMasks | None
        size, used = tuple(int(side) for side in self.listing.size[index]), (frame.height, frame.width)
        if self.supervision != "mask":
            # boxes are drawn at the size that is used, so that the smallest one has a pixel there
            masks = box_masks(
                self._boxes(index, frame), used, dilation=self.box_dilation, other_boxes=self.other_boxes
            )
        else:
            # masks are resized from the size of the file, as the picture is, so that both stay on each other
            masks = self.listing.class_masks(index, size)
            masks = None if masks is None else masks.resized(used)
        if masks is not None and self.kept is not None:
            masks = masks.only(self.kept[index])
        if masks is not None and self.annotator is not None:
            masks = self.annotator(masks, str(self.ids[index]))
        masks = outside(masks) if masks is not None and self.supervision == "outside_box" else masks
        return None if masks is None else masks.framed(frame)


def training_sets(
    module: TwoStreamDataModule, listing: Listing, augmentation: Augmentation
) -> tuple[ImageSet, ImageSet | None, ImageSet | None]:
    """Open the data sets that training pictures are in; the masked subset is drawn by the module's budget.

    Args:
        module: The data module, whose budget, supervision and sizes count.
        listing: The training pictures.
        augmentation: How they are varied.

    Returns:
        The set of the weak stream, its masks hidden; that of the masked stream, or None if no mask guides; and that
        of the masked pictures that settings are chosen on, not varied, or None.
    """
    known = listing.has_pixels if module.supervision == "mask" else listing.has_box
    guiding, choosing = module.draw_masked(listing.ids, known)
    sized: dict[str, Any] = {"image_size": module.image_size, "resize": module.resize}
    weak = ImageSet(listing, **sized, augmentation=augmentation, supervision="none")

    def masked(
        drawn: MaskedRows, augmentation: Augmentation | None, annotator: Annotator | None
    ) -> ImageSet | None:
        if not len(drawn.rows):
            return None
        return ImageSet(
            listing.take(drawn.rows),
            **sized,
            augmentation=augmentation,
            supervision=module.supervision,
            box_dilation=module.box_dilation,
            other_boxes=module.other_boxes,
            kept=drawn.kept,
            annotator=annotator,
        )

    return weak, masked(guiding, augmentation, module.annotator()), masked(choosing, None, None)
