"""The ``metadata.csv`` of WILDS, such as that of Waterbirds, is read as it is published.

::

    DIR/
      metadata.csv          img_filename,y,split,...    one row a picture; y 0, 1, ... is the class, split 0 is train,
                            1 val and 2 test; every other column is an attribute, such as place
      .../*.jpg             the pictures, as img_filename names them
      classes.txt           optional: class names, one a line; class y is line y + 1
      bounding_boxes.txt    optional: img_id x y width height, as CUB-200-2011 has it; then the table has img_id
      masks/                optional, as in a folder of your own pictures

Without ``classes.txt`` the classes are called by their numbers. A box that reaches beyond its picture is clipped.

Sources: Koh et al., *WILDS*, ICML 2021; Sagawa et al., *Distributionally Robust Neural Networks*, ICLR 2020; Wah et
al., *The Caltech-UCSD Birds-200-2011 Dataset*, 2011.
"""

from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.datasets.check import Problem, check_images
from gain_lightning.datasets.check_boxes import check_boxes
from gain_lightning.datasets.check_masks import check_masks
from gain_lightning.datasets.contents import Contents, by_split
from gain_lightning.datasets.listing import Attributes, Listing, empty_boxes
from gain_lightning.datasets.readers.folder.mask_files import find_masks
from gain_lightning.datasets.readers.folder.tables import (
    check_class_names,
    filename_of,
    is_unfit,
    read_classes,
    read_rows,
)
from gain_lightning.support.files import read_text
from gain_lightning.support.names import composed

TABLE = "metadata.csv"
BOXES = "bounding_boxes.txt"
SPLITS = {"0": "train", "1": "val", "2": "test"}
_COLUMNS = ("img_filename", "y", "split")


class _Row(NamedTuple):
    """A picture with its label; ``cells`` has every column by its name."""

    line: int
    filename: str
    y: int
    cells: dict[str, str]


class _Box(NamedTuple):
    """A box with its line and the number of its picture; ``(xmin, ymin, xmax, ymax)`` in pixels, as written."""

    img_id: str
    line: int
    corners: tuple[float, ...]


def recognises(root: Path) -> bool:
    """Tell whether a folder has a table that names pictures as WILDS' do, and none of our own."""
    if not (root / TABLE).is_file() or (root / "labels.csv").is_file():
        return False
    with (root / TABLE).open("rb") as file:
        return "img_filename" in file.readline().decode("utf-8-sig", errors="replace").strip().split(",")


def read(root: Path) -> Contents:
    """Read a folder laid out as this module says, and look at every picture, mask and box.

    Args:
        root: The folder.

    Returns:
        The pictures of each split; a picture with a broken row is left out.

    Raises:
        ValueError: If the table lacks a column.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    rows = _read_table(root / TABLE, problems)
    numbers, names = _classes(root, rows, problems)
    rows = [row for row in rows if row.y in numbers]
    ids = np.array([row.filename for row in rows], dtype=str)
    labels = np.zeros((len(rows), len(names)), np.uint8)
    labels[np.arange(len(rows)), [numbers[row.y] for row in rows]] = 1
    listing = Listing(
        root=root,
        class_names=names,
        ids=ids,
        labels=labels,
        image_pattern="{id}",
        size=np.zeros((len(rows), 2), np.int32),
        attributes=_attributes(rows),
        **empty_boxes(),
        **find_masks(root / "masks", ids, labels, names, problems, notes),
    )
    listing, unfit = check_images(listing)
    problems += _with_lines(unfit, listing, rows)
    listing, unfit = check_masks(listing, agree=True)
    problems += unfit
    listing, changes = _with_boxes(listing, rows, problems)
    splits = np.array([SPLITS[row.cells["split"]] for row in rows], dtype=str)
    return Contents(by_split(listing, splits), problems, notes, root / TABLE, changes=changes)


def _read_table(path: Path, problems: list[Problem]) -> list[_Row]:
    """Read the rows of ``metadata.csv``; those that say no picture, class or split are left out."""
    rows: dict[str, _Row] = {}
    for line, cells in read_rows(path, _COLUMNS, problems):
        filename = filename_of(cells["img_filename"])
        if is_unfit(cells["img_filename"], path, line, problems):
            continue
        if filename in rows:
            what = f"{filename} is a duplicate of line {rows[filename].line}"
        elif cells["split"] not in SPLITS:
            known = ", ".join(f"{number} ({name})" for number, name in SPLITS.items())
            what = f"split of {filename} is {cells['split']!r}, expected one of {known}"
        elif not (cells["y"].isascii() and cells["y"].isdigit()):
            what = f"y of {filename} is {cells['y']!r}, expected the number of a class from 0 on"
        else:
            rows[filename] = _Row(line, filename, int(cells["y"]), cells)
            continue
        problems.append(Problem(path, line, what))
    if not rows and not problems:
        raise ValueError(f"{path}: names no picture")
    return list(rows.values())


def _classes(root: Path, rows: list[_Row], problems: list[Problem]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return the place of each number y among the classes, and their names."""
    names = read_classes(root / "classes.txt", problems)
    if not names:
        found = sorted({row.y for row in rows})
        return {y: place for place, y in enumerate(found)}, tuple(map(str, found))
    problems += check_class_names(names, root / "classes.txt")
    for row in rows:
        if row.y >= len(names):
            what = f"y of {row.filename} is {row.y}, expected 0..{len(names) - 1}, the lines of classes.txt"
            problems.append(Problem(root / TABLE, row.line, what))
    return {y: y for y in range(len(names))}, tuple(names)


def _attributes(rows: list[_Row]) -> Attributes:
    """Gather what all columns but a picture's own say of it."""
    columns = [name for name in (rows[0].cells if rows else ()) if name not in (*_COLUMNS, "img_id")]
    values = {name: np.array([composed(row.cells[name]) for row in rows]) for name in columns}
    return Attributes(np.array([row.line for row in rows]), values)


def _with_lines(unfit: list[Problem], listing: Listing, rows: list[_Row]) -> list[Problem]:
    """Give the problem of a missing picture the line of the table that names it."""
    lines = {listing.image_path(number): row.line for number, row in enumerate(rows)}
    return [
        Problem(listing.root / TABLE, lines[problem.file], f"{problem.file} is missing")
        if problem.what == "missing" and problem.file in lines
        else problem
        for problem in unfit
    ]


def _with_boxes(
    listing: Listing, rows: list[_Row], problems: list[Problem]
) -> tuple[Listing, tuple[str, ...]]:
    """Read the boxes, if there are any, and clip them to their pictures; say how many were clipped."""
    path = listing.root / BOXES
    row_of = _rows_by_number(listing.root, rows, problems) if path.is_file() else {}
    boxes = sorted((row_of[box.img_id], box.line, box) for box in _read_boxes(path, problems, row_of))
    lines = [line for _, line, _ in boxes]
    box_row = np.array([row for row, _, _ in boxes], np.int64)
    corners = np.array([box.corners for _, _, box in boxes], np.float64).reshape(-1, 4)
    size = listing.size[box_row][:, ::-1]  # (b, 2), width and height
    inside = np.clip(corners, 0, np.tile(size, 2))
    is_known, has_part = (size > 0).all(1), (inside[:, :2] < inside[:, 2:]).all(1)
    for box in np.flatnonzero(is_known & ~has_part).tolist():
        name, (width, height) = listing.ids[box_row[box]], size[box]
        what = f"box of {name} shows no part of its picture of {width} x {height} pixels"
        problems.append(Problem(path, lines[box], what))
    kept = np.flatnonzero(is_known & has_part)
    listing = replace(
        listing,
        box_row=box_row[kept],
        box_class=listing.labels[box_row[kept]].nonzero()[1],
        box_corners=inside[kept],
    )
    problems += check_boxes(listing, lambda box: (path, lines[kept[box]]))
    clipped = kept[(inside != corners)[kept].any(1)]
    if not len(clipped):
        return listing, ()
    first = f"{path}:{lines[clipped[0]]}"
    count = f"{len(clipped)} of {len(kept)} boxes reach beyond their picture"
    return listing, (f"{count} and are clipped to it, the first at {first}",)


def _rows_by_number(root: Path, rows: list[_Row], problems: list[Problem]) -> dict[str, int]:
    """Return the row of each ``img_id``, by which boxes name pictures."""
    if rows and "img_id" not in rows[0].cells:
        what = f"no column 'img_id', by which {BOXES} names pictures"
        problems.append(Problem(root / TABLE, 1, what))
        return {}
    row_of: dict[str, int] = {}
    for number, row in enumerate(rows):
        other = row_of.setdefault(row.cells["img_id"], number)
        if other != number:
            what = f"img_id {row.cells['img_id']} is a duplicate of line {rows[other].line}"
            problems.append(Problem(root / TABLE, row.line, what))
    return row_of


def _read_boxes(path: Path, problems: list[Problem], known: Container[str]) -> list[_Box]:
    """Read CUB's boxes of the pictures that are known; a file that is not there has none."""
    boxes = []
    for line, text in enumerate(read_text(path).splitlines() if path.is_file() else [], start=1):
        img_id, *cells = text.split() or [""]
        try:
            x, y, width, height = map(float, cells)
        except ValueError:
            problems.append(Problem(path, line, f"got {text!r}, expected img_id x y width height"))
            continue
        if img_id in known:
            boxes.append(_Box(img_id, line, (x, y, x + width, y + height)))
    return boxes
