"""The pictures of a folder, listed once: their names, their labels, and where their masks and boxes are."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.boxes import Boxes
from gain_lightning.datasets.class_masks import (
    ClassMasks,
    join_to_index_mask,
    split_index_mask,
    stack_masks,
)
from gain_lightning.datasets.images import read_mask
from gain_lightning.datasets.marks import Marks


class Attributes(NamedTuple):
    """What a table says of its n pictures beside their label and split.

    Attributes:
        lines: The line of each picture in the table, ``(n,)`` int.
        values: The value of each picture in every further column, ``(n,)`` str; empty where the table has none.
    """

    lines: np.ndarray
    values: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> "Attributes":
        """Return those of some pictures, in the order of ``rows``."""
        return Attributes(self.lines[rows], {column: values[rows] for column, values in self.values.items()})


@dataclass(frozen=True)
class Listing:
    """The n pictures of a folder or of one of its splits.

    It holds arrays, since worker processes would copy Python lists page by page.

    Attributes:
        root: The folder.
        class_names: The names of the C classes.
        ids: The name of each picture, ``(n,)`` str.
        labels: 1 where a class is present, ``(n, C)`` uint8; or its amount, float32.
        image_pattern: The path of a picture below ``root``, with ``{id}``.
        mask_pattern: The path of a mask, with ``{id}`` or ``{stem}`` (the id without its suffix); with
            ``{class_name}`` a mask holds one class alone (0 background, anything else the class).
        has_mask: The classes that have a mask file, ``(n, C)`` bool; a mask of class indices counts for every
            class of the label, and for none without a label.
        is_drawn: Whether a picture has a mask file at all, ``(n,)`` bool.
        box_row, box_class, box_corners: All boxes, by ascending row of their picture: ``(b,)``, ``(b,)``
            and ``(b, 4)`` (see :class:`~gain_lightning.datasets.boxes.Boxes`).
        size: Height and width of each picture, ``(n, 2)``; 0 where not yet known.
        mask_folders: The name on the disk of each class's folder of masks; empty where all are named as the classes.
        has_not: The classes that have a file which says where they are not, ``(n, C)`` bool; None if none has.
        not_folders: The name on the disk of each class's folder of such files.
        attributes: What the table says besides; None where no table lists the pictures.
        groups: The number of each picture's group, ``(n,)`` int; None without groups
            (:mod:`~gain_lightning.datasets.groups`).
        marks: The marks of annotation files, which are drawn when a mask is needed; None where masks are files.
    """

    root: Path
    class_names: tuple[str, ...]
    ids: np.ndarray
    labels: np.ndarray
    image_pattern: str
    mask_pattern: str
    has_mask: np.ndarray
    is_drawn: np.ndarray
    box_row: np.ndarray
    box_class: np.ndarray
    box_corners: np.ndarray
    size: np.ndarray
    mask_folders: tuple[str, ...] = ()
    has_not: np.ndarray | None = None
    not_folders: tuple[str, ...] = ()
    attributes: Attributes | None = None
    groups: np.ndarray | None = None
    marks: Marks | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "Listing":
        """List some pictures, in the order of ``rows``, ``(m,)`` int without repeats."""
        new_row = np.full(len(self), -1)
        new_row[rows] = np.arange(len(rows))
        kept = np.flatnonzero(new_row[self.box_row] >= 0)
        kept = kept[np.argsort(new_row[self.box_row[kept]], kind="stable")]
        per_picture = {
            name: getattr(self, name)[rows] for name in ("ids", "labels", "has_mask", "is_drawn", "size")
        }
        for name in ("has_not", "groups"):
            if getattr(self, name) is not None:
                per_picture[name] = getattr(self, name)[rows]
        for name in ("attributes", "marks"):
            if getattr(self, name) is not None:
                per_picture[name] = getattr(self, name).take(rows)
        boxes = {name: getattr(self, name)[kept] for name in ("box_class", "box_corners")}
        return replace(self, **per_picture, **boxes, box_row=new_row[self.box_row[kept]])

    def image_path(self, row: int) -> Path:
        """Return the path of a picture."""
        return self.root / self.image_pattern.format(id=self.ids[row])

    def mask_path(self, row: int, class_idx: int = 0) -> Path:
        """Return the path of a picture's mask, if it has one; that of one class where masks are of one class."""
        name = str(self.ids[row])
        stem = str(PurePosixPath(name).with_suffix(""))
        return self.root / self.mask_pattern.format(
            id=name, stem=stem, class_name=(self.mask_folders or self.class_names)[class_idx]
        )

    def not_path(self, row: int, class_idx: int) -> Path:
        """Return the path of the file that says where a class is not."""
        stem = str(PurePosixPath(str(self.ids[row])).with_suffix(""))
        return self.root / self.mask_pattern.format(stem=stem, class_name=self.not_folders[class_idx])

    @property
    def has_pixels(self) -> np.ndarray:
        """The classes of which masks say something, ``(n, C)`` bool."""
        return self.has_mask if self.has_not is None else self.has_mask | self.has_not

    def boxes(self, row: int) -> Boxes:
        """Return the boxes of a picture."""
        first, last = np.searchsorted(self.box_row, (row, row + 1))
        return Boxes(self.box_class[first:last], self.box_corners[first:last])

    @property
    def has_box(self) -> np.ndarray:
        """The classes that have a box, ``(n, C)`` bool."""
        has_box = np.zeros(self.labels.shape, bool)
        has_box[self.box_row, self.box_class] = True
        return has_box

    @property
    def has_boxes_alone(self) -> bool:
        """Whether there are boxes and nobody drew a mask: then boxes judge maps, and elsewhere masks do."""
        return len(self.box_row) > 0 and not bool(self.has_pixels.any())

    def class_masks(self, row: int, size: tuple[int, ...]) -> ClassMasks | None:
        """Read what a picture's mask files say of every class that they show.

        Args:
            row: The number of the picture.
            size: Height and width that the masks must have.

        Returns:
            The masks; None where nothing was drawn.

        Raises:
            FileNotFoundError: If a file is gone.
            ValueError: If one is unreadable, of another size, or holds an index that is no class.
        """
        if not self.is_drawn[row]:
            return None
        if self.marks is not None:
            return self.marks.class_masks(row, size)
        if "{class_name}" not in self.mask_pattern:
            return split_index_mask(self.index_mask(row, size), self.labels[row])
        masks = {
            class_idx: (self._read(self.mask_path(row, class_idx), size, highest=VOID) > 0).astype(np.uint8)
            for class_idx in np.flatnonzero(self.has_mask[row]).tolist()
        }
        for class_idx in [] if self.has_not is None else np.flatnonzero(self.has_not[row]).tolist():
            masks[class_idx] = self._with_not(row, class_idx, masks.get(class_idx), size)
        return stack_masks(masks, size)

    def _with_not(
        self, row: int, class_idx: int, mask: np.ndarray | None, size: tuple[int, ...]
    ) -> np.ndarray:
        """Join what two files say of a class: where it is, and where it is not. Elsewhere nothing is known."""
        path = self.not_path(row, class_idx)
        is_not = self._read(path, size, highest=VOID) > 0
        is_class = np.zeros(size, bool) if mask is None else mask == YES
        if not is_not.any():
            raise ValueError(f"{path}: marks no pixel, expected where {self.class_names[class_idx]} is not")
        if (both := is_not & is_class).any():
            raise ValueError(
                f"{path}: marks {both.sum()} pixels that {self.mask_path(row, class_idx)} marks as the class"
            )
        return np.where(is_class, YES, np.where(is_not, NO, VOID)).astype(np.uint8)

    def mask(self, row: int, size: tuple[int, ...]) -> np.ndarray | None:
        """Read a picture's mask of class indices, to look at and to score segmentations by.

        Where nobody drew a class of the label, background is unknown. The arguments are those of :meth:`class_masks`.

        Returns:
            0 background, 1..C class, 255 void, ``(H, W)`` uint8; None where nothing was drawn.
        """
        if not self.is_drawn[row]:
            return None
        if self.marks is not None:
            return self.marks.index_mask(row, size, self.labels[row])
        if "{class_name}" in self.mask_pattern:
            masks = self.class_masks(row, size)
            return None if masks is None else join_to_index_mask(masks, self.labels[row])
        mask = self.index_mask(row, size)
        known = split_index_mask(mask, self.labels[row]).class_idx
        is_known = np.isin(np.flatnonzero(self.labels[row] > 0), known).all()
        return mask if is_known else np.where(mask == 0, VOID, mask).astype(np.uint8)

    def index_mask(self, row: int, size: tuple[int, ...]) -> np.ndarray:
        """Read a picture's file of class indices, ``(H, W)`` uint8, whatever its label says."""
        return self._read(self.mask_path(row), size, highest=len(self.class_names))

    def _read(self, path: Path, size: tuple[int, ...], highest: int) -> np.ndarray:
        mask = read_mask(path)
        if mask.shape != tuple(size):
            size = tuple(int(side) for side in size)
            (height, width), (own_height, own_width) = size, mask.shape
            raise ValueError(
                f"{path}: mask of {own_width} x {own_height} pixels, but its picture has {width} x {height}"
                + frame_hint(mask.shape, size)
            )
        present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:VOID])
        if len(present) and present[-1] > highest:
            order = ", ".join(f"{idx} {name}" for idx, name in enumerate(self.class_names[:highest], start=1))
            raise ValueError(
                f"{path}: class index {present[-1]} is out of range, expected 0..{highest} ({order}) or 255 (void)"
            )
        return mask


def empty_boxes() -> dict[str, Any]:
    """Make the three arrays of a listing without a box."""
    return {
        "box_row": np.zeros(0, np.int64),
        "box_class": np.zeros(0, np.int64),
        "box_corners": np.zeros((0, 4)),
    }


def frame_hint(got: tuple[float, ...], expected: tuple[int, ...]) -> str:
    """Say what may be wrong where a mark's height and width are not its picture's.

    Example:
        >>> frame_hint((64, 48), (48, 64))
        '; turned? Marks are of the picture as EXIF turns it, not as it is stored'
        >>> frame_hint((64, 64), (48, 64))
        ''
    """
    is_turned = tuple(got) == (expected[1], expected[0])
    return "; turned? Marks are of the picture as EXIF turns it, not as it is stored" if is_turned else ""


def stays_inside(name: str) -> bool:
    """Tell whether a path that a file of the data set names stays below the data folder.

    Example:
        >>> stays_inside("a/b.jpg"), stays_inside("../b.jpg"), stays_inside("/b.jpg"), stays_inside("C:/b.jpg")
        (True, False, False, False)
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return (
        bool(path.name)
        and not path.is_absolute()
        and ".." not in path.parts
        and ":" not in name
        and "\0" not in name
    )
