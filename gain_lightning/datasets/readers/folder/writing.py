"""Any data set is written as a folder of our own form, or what is marked in it is merged into such a folder.

Pictures are linked or copied, each once: one that is there already stays. A class that is marked anew on a picture
takes the place of what the folder has of it; all else that the folder says stays.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.check import stop_at
from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.drawing.encoding import save_indexed
from gain_lightning.support.files import csv_text, write_atomically, written_whole

# A box that is narrower may be taken for one in shares of the picture.
_NARROWEST = 2


class Written(NamedTuple):
    """What was written.

    Attributes:
        pictures: The number of pictures that the folder has now.
        new_pictures: The number of those that came in.
        masked: The number of pictures whose masks were written.
        boxed: The number of pictures whose boxes were written.
        changes: What is written otherwise than it was read.
    """

    pictures: int
    new_pictures: int
    masked: int
    boxed: int
    changes: tuple[str, ...]


class _Folder:
    """The folder that is written: what it has, and what comes in.

    Attributes:
        names: The names of its classes, which keep their order; new ones follow.
        rows: The cells of each picture's row, by its name.
        boxes: The rows of ``boxes.csv`` by picture and class.
        by_index: Whether its masks are of class indices.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.names: list[str] = []
        self.rows: dict[str, dict[str, str]] = {}
        self.boxes: dict[tuple[str, str], list[np.ndarray]] = {}
        self.by_index = False
        self.columns = ["filename", "classes"]
        self.changes: dict[str, int] = {}
        if (out / "images").is_dir():
            self._read()
        self.known = set(self.rows)

    def _read(self) -> None:
        """Read what the folder has."""
        found = read_folder(self.out)
        stop_at(found.problems, self.out)
        listing = found.listing
        self.names = list(listing.class_names)
        self.by_index = bool(listing.is_drawn.any()) and "{class_name}" not in listing.mask_pattern
        attributes = listing.attributes.values if listing.attributes else {}
        if found.splits.any():
            self.columns.append("split")
        self.columns += attributes
        for row, name in enumerate(listing.ids.tolist()):
            cells = {column: str(values[row]) for column, values in attributes.items()}
            self.rows[name] = {
                "filename": name,
                "classes": _classes(listing, row),
                "split": found.splits[row],
                **cells,
            }
            self._add_boxes(listing, row, name)

    def _add_boxes(self, listing: Listing, row: int, name: str, narrowest: float = 0) -> None:
        boxes = listing.boxes(row)
        for class_idx, corners in zip(boxes.class_idx.tolist(), boxes.corners, strict=True):
            if (corners[2:] - corners[:2]).min() < narrowest:
                self._count(f"boxes are less than {narrowest} pixels wide or high and are left out")
            else:
                self.boxes.setdefault((name, listing.class_names[class_idx]), []).append(corners)

    def _count(self, what: str) -> None:
        self.changes[what] = self.changes.get(what, 0) + 1

    def add(self, listing: Listing, row: int, split: str) -> tuple[bool, bool]:
        """Add a picture with all that is said of it; return whether masks and boxes were written."""
        name = _picture_name(listing, row)
        new = {"filename": name, "classes": _classes(listing, row), "split": split}
        if listing.attributes is not None:
            new |= {column: str(values[row]) for column, values in listing.attributes.values.items()}
        old = self.rows.get(name)
        if old is not None:
            classes = dict.fromkeys([*_parts(old["classes"]), *_parts(new["classes"])])
            new = {**new, **old, "classes": ";".join(classes)}
        self.rows[name] = new
        masked = self._write_masks(listing, row, name)
        for class_idx in np.unique(listing.boxes(row).class_idx).tolist():
            self.boxes.pop((name, listing.class_names[class_idx]), None)
        self._add_boxes(listing, row, name, narrowest=_NARROWEST)
        return masked, len(listing.boxes(row).class_idx) > 0

    def _write_masks(self, listing: Listing, row: int, name: str) -> bool:
        size = tuple(int(side) for side in listing.size[row])
        masks = listing.class_masks(row, size)
        if masks is None or not len(masks.class_idx):
            return False
        stem = PurePosixPath(name).with_suffix("")
        if self.by_index:
            mask = listing.mask(row, size)
            assert mask is not None
            # both orders of classes begin with background and end with void
            index = np.full(256, VOID, np.uint8)
            index[0] = 0
            for place, class_name in enumerate(listing.class_names[: VOID - 1], start=1):
                index[place] = min(self.names.index(class_name) + 1, VOID)
            save_indexed(self.out / "masks" / f"{stem}.png", index[mask])
            return True
        written = [
            self._write_class_mask(stem, listing.class_names[class_idx], mask)
            for class_idx, mask in zip(masks.class_idx.tolist(), masks.mask, strict=True)
        ]
        return any(written)

    def _write_class_mask(self, stem: PurePosixPath, class_name: str, mask: np.ndarray) -> bool:
        """Write a file of where a class is, and one of where it is not if nothing is known of some pixels."""
        is_void, is_class, is_not = (mask == VOID).any(), mask == YES, mask == NO
        if is_void and not is_not.any():
            self._count("masks say nowhere where their class is not and are left out")
            return False
        for folder, pixels, is_wanted in (
            (class_name, is_class, is_class.any()),
            (f"not {class_name}", is_not, is_void),
        ):
            path = self.out / "masks" / folder / f"{stem}.png"
            if is_wanted:
                with written_whole(path) as part:
                    Image.fromarray(pixels).save(part, format="PNG")
            else:
                path.unlink(missing_ok=True)
        return True

    def write_tables(self) -> None:
        """Write the tables, each whole."""
        is_split = any(row["split"] for row in self.rows.values())
        columns = [*self.columns, *(["split"] if is_split and "split" not in self.columns else [])]
        for row in self.rows.values():
            columns += [column for column in row if column not in (*columns, "split")]
        rows = [[row.get(column, "") for column in columns] for row in self.rows.values()]
        boxes = [
            [name, class_name, *(f"{side:.10g}" for side in corners)]
            for (name, class_name), found in self.boxes.items()
            for corners in found
        ]
        write_atomically(self.out / "classes.txt", "".join(f"{name}\n" for name in self.names))
        if boxes:
            header = ("filename", "class", "xmin", "ymin", "xmax", "ymax")
            write_atomically(self.out / "boxes.csv", csv_text(header, boxes))
        write_atomically(self.out / "labels.csv", csv_text(columns, rows))


def write_folder(contents: Contents, out: Path, *, copy: bool = False) -> Written:
    """Write what a reader found as a folder of our own form, or merge it into one.

    Args:
        contents: What a reader found, without problems.
        out: The folder, which need not be there.
        copy: Whether pictures are copied; else they are linked.

    Raises:
        ValueError: If ``out`` is such a folder and has a problem, if splits are known of a part of the pictures
            alone, or if two pictures would have one mask.
        OSError: If a file cannot be written.
    """
    listings, changes = _renamed(contents)
    folder = _Folder(out)
    _check_splits(folder, listings)
    for listing in listings.values():
        folder.names += [name for name in listing.class_names if name not in folder.names]
    if len(folder.names) >= VOID:
        raise ValueError(
            f"{len(folder.names)} classes, expected at most {VOID - 1} in a folder with masks or boxes"
        )
    _check_stems(folder, listings.values())
    masked = boxed = 0
    for split, listing in listings.items():
        for row in range(len(listing)):
            _bring(listing.image_path(row), out / "images" / _picture_name(listing, row), copy=copy)
            has_mask, has_box = folder.add(listing, row, split)
            masked += has_mask
            boxed += has_box
    folder.write_tables()
    changes += [f"{count} {what}" for what, count in folder.changes.items()]
    return Written(len(folder.rows), len(set(folder.rows) - folder.known), masked, boxed, tuple(changes))


def _renamed(contents: Contents) -> tuple[dict[str, Listing], list[str]]:
    """Give classes names that tables and folders can hold."""
    changes: list[str] = []
    listings = {}
    for split, listing in contents.listings.items():
        names = tuple(_plain(name) for name in listing.class_names)
        if len(set(names)) < len(names):
            raise ValueError(f"two classes would be called alike: {', '.join(sorted(names))}")
        changes += [
            f"class {old!r} is written as {new!r}"
            for old, new in zip(listing.class_names, names, strict=True)
            if old != new and f"class {old!r} is written as {new!r}" not in changes
        ]
        # folders of masks keep the names that they have on the disk
        folders = listing.mask_folders or listing.class_names
        listings[split] = replace(listing, class_names=names, mask_folders=folders)
    return listings, changes


def _plain(name: str) -> str:
    r"""Return a class's name without signs that a table or a folder's name cannot hold.

    Example:
        >>> _plain("a/b;c"), _plain(".hidden"), _plain("x=3"), _plain("\u0431\u043e\u0442")
        ('a_b_c', '_hidden', 'x_3', '\u0431\u043e\u0442')
    """
    plain = re.sub(r"[;/\\\x00-\x1f]|=(?=[^=]*$)", "_", name).strip()
    return re.sub(r"^\.|\.$", "_", plain)


def _check_splits(folder: _Folder, listings: dict[str, Listing]) -> None:
    """Refuse pictures without split beside those with one."""
    new = {
        split
        for split, listing in listings.items()
        for row in range(len(listing))
        if _picture_name(listing, row) not in folder.rows
    }
    if folder.rows and new and ("" in new) == ("split" in folder.columns):
        state = (
            "no split, but the pictures of the folder have"
            if "" in new
            else "splits, but those of the folder none"
        )
        raise ValueError(
            f"{folder.out}: the pictures that come in have {state}; expected splits for all or for none"
        )


def _check_stems(folder: _Folder, listings: Iterable[Listing]) -> None:
    """Refuse two pictures whose masks would be one file."""
    stems: dict[str, str] = {}
    names = [*folder.rows, *(_picture_name(one, row) for one in listings for row in range(len(one)))]
    for name in dict.fromkeys(names):
        other = stems.setdefault(str(PurePosixPath(name).with_suffix("")), name)
        if other != name:
            raise ValueError(
                f"{folder.out}: {other} and {name} would have one mask, expected stems that differ"
            )


def _picture_name(listing: Listing, row: int) -> str:
    name = str(listing.ids[row])
    is_whole = PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES
    return name if is_whole else name + listing.image_path(row).suffix


def _classes(listing: Listing, row: int) -> str:
    """Write the label of a picture as ``labels.csv`` has it."""
    label = listing.labels[row]
    return ";".join(
        listing.class_names[idx] + ("" if label[idx] == 1 else f"={label[idx]:g}")
        for idx in np.flatnonzero(label)
    )


def _parts(classes: str) -> list[str]:
    return [name for name in classes.split(";") if name]


def _bring(source: Path, target: Path, *, copy: bool) -> None:
    """Link or copy a picture, unless it is there."""
    if os.path.lexists(target):
        if not (os.path.samefile(source, target) or filecmp.cmp(source, target, shallow=False)):
            raise ValueError(f"{target}: there is another picture of this name than {source}")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        with written_whole(target) as part:
            shutil.copyfile(source, part)
    else:
        target.symlink_to(source.resolve())
