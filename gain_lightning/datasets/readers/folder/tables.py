"""The tables ``labels.csv``, ``classes.txt`` and ``boxes.csv`` are read, each row with its line.

Every function appends what is wrong to ``problems`` and leaves the row out. Names of classes are read in one Unicode
form (:func:`~gain_lightning.support.names.composed`).
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.listing import stays_inside
from gain_lightning.scores import is_reserved
from gain_lightning.support.files import read_text
from gain_lightning.support.names import as_seen, composed, look_of
from gain_lightning.support.walk import is_left_behind

_LABEL_COLUMNS = ("filename", "classes")
_OWN_COLUMNS = (*_LABEL_COLUMNS, "split")
_BOX_COLUMNS = ("filename", "class", "xmin", "ymin", "xmax", "ymax")


class Row(NamedTuple):
    """A picture with its label.

    Attributes:
        file: The file that says the label.
        line: Its line there; 0 where a folder says the label.
        filename: The name of the picture on the disk, relative to ``images/``.
        classes: The amount of each class, 1 where none is given.
        split: The split; empty without one.
        attributes: What further columns say, by their names.
    """

    file: Path
    line: int
    filename: str
    classes: dict[str, float]
    split: str
    attributes: dict[str, str]


class BoxRow(NamedTuple):
    """A box of a picture and of a class that there are.

    Attributes:
        line: The line of ``boxes.csv``.
        row: The number of the picture.
        class_idx: The number of the class.
        corners: ``(xmin, ymin, xmax, ymax)`` as written, finite.
    """

    line: int
    row: int
    class_idx: int
    corners: tuple[float, ...]


def read_labels(path: Path, name_on_disk: Callable[[str], str], problems: list[Problem]) -> list[Row]:
    """Read the rows of ``labels.csv``.

    Args:
        path: The file.
        name_on_disk: Gives the name on the disk of a picture that a table names.
        problems: What is wrong is added here.

    Raises:
        ValueError: If a column is missing, or there is no row.
    """
    rows: dict[str, Row] = {}
    for line, cells in read_rows(path, _LABEL_COLUMNS, problems):
        filename = name_on_disk(filename_of(cells["filename"]))
        amounts = [_amount(composed(entry)) for entry in cells["classes"].split(";") if entry.strip()]
        classes = dict(amounts)
        if is_unfit(cells["filename"], path, line, problems):
            continue
        if filename in rows:
            what = f"{filename} is a duplicate of line {rows[filename].line}"
            problems.append(Problem(path, line, what))
            continue
        for name, amount in amounts:
            with np.errstate(over="ignore"):
                stored = np.float32(amount)
            if not 0 <= stored < np.inf or (amount and not stored):
                what = f"{filename} has {amount:g} of {name}, expected an amount from 0 on that float32 holds"
                problems.append(Problem(path, line, what))
        if len(classes) < len(amounts):
            problems.append(Problem(path, line, f"{filename} names a class twice, a duplicate"))
        if "split" in cells and not cells["split"]:
            what = f"{filename} has no split, expected train, val or a test set"
            problems.append(Problem(path, line, what))
        split = composed(cells.get("split", ""))
        if is_reserved(split):
            problems.append(Problem(path, line, f"split {split!r} is the name of a score, expected another"))
        meant = look_of(split)
        if meant != split and meant in ("train", "val", "test"):
            problems.append(Problem(path, line, f"split is {split!a}, expected {meant!r}"))
        attributes = {name: composed(cell) for name, cell in cells.items() if name not in _OWN_COLUMNS}
        rows[filename] = Row(path, line, filename, classes, split, attributes)
    if not rows and not problems:
        raise ValueError(f"{path}: names no picture")
    problems += _joined_classes(list(rows.values()))
    return list(rows.values())


def _joined_classes(rows: list[Row]) -> list[Problem]:
    """Find names that are several classes of the same table with another sign between them than ``;``."""
    names = {name for row in rows for name in row.classes}
    joined = {
        name
        for name in names
        for sign in "|,/+&"
        if sign in name and {part.strip() for part in name.split(sign)} <= names - {name}
    }
    return [
        Problem(row.file, row.line, f"class {name!r} of {row.filename}: expected ';' between two classes")
        for row in rows
        for name in row.classes
        if name in joined
    ]


def read_classes(path: Path, problems: list[Problem]) -> list[str]:
    """Read the names of the classes in the order of ``classes.txt``; there are none without the file.

    Raises:
        ValueError: If the file names no class.
    """
    if not path.is_file():
        return []
    names: list[str] = []
    lines = read_text(path).rstrip().splitlines()
    for line, name in enumerate(lines, start=1):
        name = composed(name.strip())
        if not name:
            problems.append(Problem(path, line, "an empty line: class c of a mask is line c"))
        elif name in names:
            what = f"class {name!r} is a duplicate of line {names.index(name) + 1}"
            problems.append(Problem(path, line, what))
        else:
            names.append(name)
    if not names:
        raise ValueError(f"{path}: names no class")
    return names


def check_class_names(names: Sequence[str], where: Path) -> list[Problem]:
    """Find classes that a person sees as one, since their names differ in blanks or invisible letters alone."""
    seen: dict[str, str] = {}
    problems = []
    for name in names:
        other = seen.setdefault(as_seen(name), name)
        if other != name:
            what = f"classes {other!a} and {name!a} look the same, expected one way to write them"
            problems.append(Problem(where, 0, what))
    return problems


def read_boxes(
    path: Path,
    name_on_disk: Callable[[str], str],
    labels: np.ndarray,
    row_of: dict[str, int],
    class_idx: dict[str, int],
    problems: list[Problem],
) -> list[BoxRow]:
    """Read the rows of ``boxes.csv``, their corners as they are written; there are none without the file.

    Args:
        path: The file.
        name_on_disk: Gives the name on the disk of a picture that a table names.
        labels: The labels of all pictures, ``(n, C)``.
        row_of: The number of each picture by its name.
        class_idx: The number of each class by its name.
        problems: What is wrong is added here.

    Returns:
        The boxes by ascending number of their picture.

    Raises:
        ValueError: If a column is missing.
    """
    found: list[BoxRow] = []
    for line, cells in read_rows(path, _BOX_COLUMNS, problems) if path.is_file() else ():
        filename, name = name_on_disk(filename_of(cells["filename"])), composed(cells["class"])
        corners = []
        for key in _BOX_COLUMNS[2:]:
            try:
                corners.append(float(cells[key]))
            except ValueError:
                what = f"box of {filename}: {key} is {cells[key]!r}, expected pixels"
                problems.append(Problem(path, line, what))
                break
        if len(corners) < 4 or is_unfit(cells["filename"], path, line, problems):
            continue
        if filename not in row_of:
            what = f"{filename} is not among the labelled pictures"
        elif name not in class_idx:
            what = f"unknown class {name!r}, expected one of {', '.join(class_idx)}"
        elif not labels[row_of[filename], class_idx[name]]:
            what = f"box of {name}, which the label of {filename} lacks"
        elif not np.isfinite(corners).all():
            what = f"box {tuple(corners)} of {filename} is empty, expected finite corners"
        else:
            found.append(BoxRow(line, row_of[filename], class_idx[name], tuple(corners)))
            continue
        problems.append(Problem(path, line, what))
    return sorted(found, key=lambda box: box.row)


def read_rows(
    path: Path, columns: Sequence[str], problems: list[Problem]
) -> list[tuple[int, dict[str, str]]]:
    """Read the lines of a CSV with a header, each with its number, whatever its byte order mark or line ends."""
    reader = csv.reader(read_text(path).splitlines(), strict=True)
    table, last = [], 0
    try:
        for cells in reader:
            if reader.line_num > last + 1 or any(ord(letter) < 32 for cell in cells for letter in cell):
                problems.append(Problem(path, last + 1, "a quote that is not closed, or a control character"))
            elif cells:
                table.append((reader.line_num, [cell.strip() for cell in cells]))
            last = reader.line_num
    except csv.Error as error:
        problems.append(Problem(path, last + 1, f"unreadable from here on ({error})"))
    header = table[0][1] if table else []
    missing = [name for name in columns if name not in header]
    if missing:
        got = ",".join(header) or "nothing"
        raise ValueError(f"{path}:1: no column {missing[0]!r}; got {got}, expected {','.join(columns)}")
    if len(set(header)) < len(header):
        raise ValueError(f"{path}:1: a column comes twice; got {','.join(header)}")
    rows = []
    for line, cells in table[1:]:
        if len(cells) == len(header):
            rows.append((line, dict(zip(header, cells, strict=True))))
        else:
            what = f"{len(cells)} columns, expected {len(header)} as in the header"
            if "classes" in header:
                what += "; several classes have ';' between them"
            problems.append(Problem(path, line, what))
    return rows


def filename_of(cell: str) -> str:
    r"""Write a path in the one form that is compared: ./a.jpg and a\b.jpg become a.jpg and a/b.jpg."""
    return PurePosixPath(cell.replace("\\", "/")).as_posix()


def is_unfit(cell: str, path: Path, line: int, problems: list[Problem]) -> bool:
    """Tell whether a table names a file that can be no picture of the data set; if so, add a problem."""
    if not stays_inside(cell):
        problems.append(Problem(path, line, f"filename {cell!r} leaves the data folder"))
    elif any(is_left_behind(part) for part in PurePosixPath(filename_of(cell)).parts):
        what = f"filename {cell!r} is that of a hidden file or folder, expected none: they are never read"
        problems.append(Problem(path, line, what))
    else:
        return False
    return True


def _amount(entry: str) -> tuple[str, float]:
    """Read a class and its amount, which is 1 where no number is given.

    Example:
        >>> _amount("boat=2.5"), _amount(" a=b")
        (('boat', 2.5), ('a=b', 1))
    """
    name, separator, amount = entry.strip().rpartition("=")
    try:
        return (name.strip(), float(amount)) if separator else (entry.strip(), 1)
    except ValueError:
        return entry.strip(), 1
