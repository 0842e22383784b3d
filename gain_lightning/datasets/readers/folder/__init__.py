"""A folder of your own pictures with their labels, and with masks or boxes for some of them.

::

    DIR/
      images/...            the pictures, in folders as you like
      labels.csv            filename,classes[,split]   one row a picture; ; between classes, none is a negative;
                            boat=3 is an amount, for task regression; a column group, or any others, make groups
      classes.txt           optional: class names, one a line; class c of a mask is line c
      masks/...png          optional: class indices, named like the picture (images/a/b.jpg: masks/a/b.png)
      masks/CLASS/...png    or one folder a class (images/a/b.jpg: masks/CLASS/a/b.png), anything but 0 is the class;
      masks/not CLASS/...   and where it is not, anything but 0; then nothing is known elsewhere
      boxes.csv             optional: filename,class,xmin,ymin,xmax,ymax

Without ``labels.csv`` each folder below ``images/`` is a class: ``images/cat/1.jpg``. Without ``classes.txt``
the classes are those that occur, sorted. Paths are relative to ``images/``. Boxes are in pixels from the
upper left corner, (0, 0, width, height) is the whole picture. In masks of indices 0 is background and 255
not labelled. Names match whatever their Unicode form; hidden files are passed over.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.constants import VOID
from gain_lightning.datasets.check import Problem, check_images
from gain_lightning.datasets.check_boxes import check_boxes
from gain_lightning.datasets.check_masks import check_masks
from gain_lightning.datasets.contents import Contents, by_split
from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.listing import Attributes, Listing
from gain_lightning.datasets.readers.folder.box_order import box_notes, check_order
from gain_lightning.datasets.readers.folder.class_folders import read_class_folders
from gain_lightning.datasets.readers.folder.layout import (
    PictureFiles,
    check_layout,
    report_foreign,
    report_unread,
)
from gain_lightning.datasets.readers.folder.mask_files import find_masks
from gain_lightning.datasets.readers.folder.tables import (
    Row,
    check_class_names,
    read_boxes,
    read_classes,
    read_labels,
)
from gain_lightning.support.names import difference, look_of


class FolderContents(NamedTuple):
    """The pictures that :func:`read_folder` found, in the order of the table.

    Attributes:
        listing: The pictures.
        splits: The split of each picture, ``""`` without one.
        problems: All that is wrong; each problem would stop a training.
        notes: All that is no problem, but may not be meant.
    """

    listing: Listing
    splits: np.ndarray
    problems: list[Problem]
    notes: list[str]


def recognises(root: Path) -> bool:
    """Tell whether a folder is laid out as this module says: the pictures lie in ``images/``."""
    return (root / "images").is_dir()


def has_table(root: Path) -> bool:
    """Tell whether a folder has a table of labels."""
    return (root / "labels.csv").is_file()


def read(root: Path) -> Contents:
    """Read a folder, split by split; see :func:`read_folder`."""
    found = read_folder(root)
    return Contents(by_split(found.listing, found.splits), found.problems, found.notes, root / "labels.csv")


def read_folder(root: Path, class_names: Sequence[str] | None = None) -> FolderContents:
    """Read a folder laid out as this module says, and look at every picture, mask and box.

    Args:
        root: The folder.
        class_names: The names of the classes; None takes those of ``classes.txt``, or those that occur.

    Returns:
        Listing, splits, problems and notes; a picture with a broken row is left out of the listing.

    Raises:
        FileNotFoundError: If there is no folder ``images``, or no picture in it.
        ValueError: If a table lacks a column.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    check_layout(root, problems, notes)
    files = PictureFiles.below(root / "images")
    rows = _read_rows(root, files, problems, notes)
    names = tuple(_class_names(root, rows, problems) if class_names is None else class_names)
    problems += check_class_names(names, _class_table(root))
    if rows and not names:
        problems.append(Problem(rows[0].file, 0, "names no class: every picture is a negative"))
    if len(names) >= VOID and ((root / "masks").is_dir() or (root / "boxes.csv").is_file()):
        raise ValueError(f"{root}: {len(names)} classes, but with masks or boxes at most {VOID - 1}")
    listing, box_lines = _list_pictures(root, rows, names, files, problems, notes)
    listing, unfit = check_images(listing)
    problems += _with_lines(unfit, listing, rows, files)
    listing, unfit = check_masks(listing, agree=True)
    problems += unfit

    def place(box: int) -> tuple[Path, int]:
        return root / "boxes.csv", box_lines[box]

    problems += check_order(listing, place) + check_boxes(listing, place)
    notes += box_notes(listing)
    splits = np.array([entry.split for entry in rows], dtype=str)
    return FolderContents(_without_empty_boxes(listing), splits, problems, notes)


def _read_rows(root: Path, files: PictureFiles, problems: list[Problem], notes: list[str]) -> list[Row]:
    """Read the pictures with their labels, from ``labels.csv`` or from folders of classes."""
    is_listed = has_table(root)
    report_foreign(root, files, problems, notes)
    report_unread(files.unread, f"pictures are {', '.join(PICTURE_SUFFIXES)}", not is_listed, problems, notes)
    if not is_listed:
        return read_class_folders(root / "images", files.pictures, problems, notes)
    rows = read_labels(root / "labels.csv", files.name_on_disk, problems)
    unlisted = sorted(set(files.pictures) - {entry.filename for entry in rows})
    if unlisted:
        first = root / "images" / unlisted[0]
        notes.append(f"not in labels.csv and not used: {len(unlisted)} of images/, the first {first}")
    return rows


def _class_names(root: Path, rows: list[Row], problems: list[Problem]) -> list[str]:
    """Read the names that ``classes.txt`` lists, else take those that occur, sorted."""
    found = {name for row in rows for name in row.classes}
    names = read_classes(root / "classes.txt", problems) or sorted(found)
    if not has_table(root) and len(found) == 1 and not problems:
        what = (
            "is the only class, so every picture has the same label: expected a folder for every class right below "
            "images/"
        )
        problems.append(Problem(root / "images" / rows[0].filename.split("/")[0], 0, what))
    return names


def _class_table(root: Path) -> Path:
    """Return the file or folder that the names of the classes come from."""
    return next(
        (root / name for name in ("classes.txt", "labels.csv") if (root / name).is_file()), root / "images"
    )


def _list_pictures(
    root: Path,
    rows: list[Row],
    class_names: tuple[str, ...],
    files: PictureFiles,
    problems: list[Problem],
    notes: list[str],
) -> tuple[Listing, list[int]]:
    """List the pictures, whose sizes are not yet known; also return the line of each box in ``boxes.csv``."""
    class_idx = {name: idx for idx, name in enumerate(class_names)}
    labels = _labels(rows, class_idx, problems)
    ids = np.array([entry.filename for entry in rows], dtype=str)
    row_of = {entry.filename: row for row, entry in enumerate(rows)}
    boxes = read_boxes(root / "boxes.csv", files.name_on_disk, labels, row_of, class_idx, problems)
    listing = Listing(
        root=root,
        class_names=class_names,
        ids=ids,
        labels=labels,
        image_pattern="images/{id}",
        size=np.zeros((len(ids), 2), np.int32),
        attributes=_attributes(rows),
        box_row=np.array([box.row for box in boxes], np.int64),
        box_class=np.array([box.class_idx for box in boxes], np.int64),
        box_corners=np.array([box.corners for box in boxes], np.float64).reshape(-1, 4),
        **find_masks(root / "masks", ids, labels, class_names, problems, notes),
    )
    return listing, [box.line for box in boxes]


def _attributes(rows: list[Row]) -> Attributes | None:
    """Gather what the further columns of the table say; None without a table."""
    if not rows or not rows[0].line:
        return None
    columns = {name: np.array([entry.attributes[name] for entry in rows]) for name in rows[0].attributes}
    return Attributes(np.array([entry.line for entry in rows]), columns)


def _without_empty_boxes(listing: Listing) -> Listing:
    has_area = (listing.box_corners[:, :2] < listing.box_corners[:, 2:]).all(1)
    return replace(
        listing,
        box_row=listing.box_row[has_area],
        box_class=listing.box_class[has_area],
        box_corners=listing.box_corners[has_area],
    )


def _labels(rows: list[Row], class_idx: dict[str, int], problems: list[Problem]) -> np.ndarray:
    """Make the labels of all pictures, ``(n, C)``: 1 where a class is present, uint8; or its amount, float32."""
    is_amount = any(amount != 1 for entry in rows for amount in entry.classes.values())
    labels = np.zeros((len(rows), len(class_idx)), np.float32 if is_amount else np.uint8)
    for row, entry in enumerate(rows):
        for name, amount in entry.classes.items():
            if name in class_idx:
                labels[row, class_idx[name]] = amount
            else:
                what = f"unknown class {name!r} of {entry.filename}, expected one of {', '.join(class_idx)}"
                problems.append(Problem(entry.file, entry.line, what))
    return labels


def _with_lines(
    unfit: list[Problem], listing: Listing, rows: list[Row], files: PictureFiles
) -> list[Problem]:
    """Give the problem of a missing picture the line of the table that names it."""
    entry_of = {str(listing.image_path(row)): entry for row, entry in enumerate(rows)}
    alike = {look_of(name): name for name in files.pictures} if unfit else {}
    problems = []
    for problem in unfit:
        entry = entry_of.get(str(problem.file))
        if problem.what == "missing" and entry is not None and entry.line:
            other = alike.get(look_of(entry.filename), entry.filename)
            is_other = other != entry.filename
            but = (
                f", but there is {other}: the table's is {difference(entry.filename, other)}"
                if is_other
                else ""
            )
            problem = Problem(entry.file, entry.line, f"{problem.file} is missing{but}")
        problems.append(problem)
    return problems
