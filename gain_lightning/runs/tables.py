"""The tables of a run: ``per_image.csv``, ``per_class.csv`` and ``metrics.csv``."""

import contextlib
import csv
import itertools
import math
import os
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.runs.errors import RunError
from gain_lightning.scores import pair_scores
from gain_lightning.support.files import WholeTable
from gain_lightning.support.messages import printable
from gain_lightning.support.sharing import in_turn


def join_parts(parts: list[Path], path: Path) -> None:
    """Make one table of those of several processes, in the order that one process would have written, and remove them.

    Args:
        parts: Table of each process r of R, which has the images r, r + R, r + 2R, ... of every test set.
        path: Of the whole table.

    Raises:
        FileNotFoundError: If a process wrote elsewhere.
    """
    with contextlib.ExitStack() as files, WholeTable(path) as whole:
        tables = []
        for part in parts:
            if not part.is_file():
                raise FileNotFoundError(
                    f"{part}: no such file, expected a run folder that all processes share"
                )
            file = files.enter_context(part.open(encoding="utf-8", errors="surrogateescape", newline=""))
            tables.append(csv.reader(file))
        whole.write([next(table) for table in tables][:1])  # the same header
        for shares in zip(*(itertools.groupby(table, itemgetter(0)) for table in tables), strict=True):
            images = (itertools.groupby(rows, itemgetter(1)) for _, rows in shares)
            for _, rows in in_turn(images):
                whole.write(rows)
    for part in parts:
        part.unlink()


def class_table(
    class_names: list[str], scores: dict[str, list[float]]
) -> tuple[list[str], list[list[str | float | None]]]:
    """Header and a row a class; None where nothing could be judged.

    Example:
        >>> class_table(["boat"], {"num_images": [3], "ap": [0.5], "energy": [math.nan]})
        (['class', 'num_images', 'ap', 'energy'], [['boat', 3, 0.5, None]])
    """
    shown = (
        [None if math.isnan(value) else round(value, 6) for value in values] for values in scores.values()
    )
    return ["class", *scores], [list(row) for row in zip(class_names, *shown, strict=True)]


COLUMNS = ("set", "id", "class", "present", "score")  # that every per_image.csv of a classifier has


class ImageTable(NamedTuple):
    """One test set in ``per_image.csv``: sorted ids ``(N,)``, class names ``(C,)``, and ``(N, C)`` arrays.

    ``of_pairs`` has every score of :func:`gain_lightning.scores.pair_scores` by its key, nan where a class is absent or
    without mask, and everywhere where the run was made before there was the score. ``amount`` is nan where the task is
    no regression. ``logit`` is None of a regression, and of runs that were made before the file had it.
    """

    ids: list[str]
    class_names: list[str]
    present: np.ndarray
    score: np.ndarray
    amount: np.ndarray
    of_pairs: dict[str, np.ndarray]
    logit: np.ndarray | None = None

    @property
    def judged(self) -> np.ndarray:
        """The (image, class) pairs whose map has a score, ``(N, C)`` bool."""
        return np.any([~np.isnan(values) for values in self.of_pairs.values()], axis=0)

    @property
    def rank(self) -> np.ndarray:
        """What orders images for average precision: logits, for probabilities round to 0 and 1; without them scores."""
        return self.score if self.logit is None else self.logit


class PixelTable(NamedTuple):
    """``per_image.csv`` of a run of SEC: sorted ids ``(N,)``, class names with the background ``(1 + C,)``, and counts.

    ``set_name`` is what the data call the set of these images.

    ``pixels`` has, for ``miou`` and where a CRF was judged ``miou_crf``, pixels of the mask, of the segmentation and
    of both, ``(3, N, 1 + C)``.
    """

    ids: list[str]
    class_names: list[str]
    pixels: dict[str, np.ndarray]
    set_name: str = "test"


def read_images(path: str) -> dict[str, ImageTable]:
    """Read ``per_image.csv``.

    Args:
        path: Folder of the run.

    Returns:
        The tables of the test sets by name, in the file's order; none if there is no such file.

    Raises:
        RunError: If a row is malformed or missing.
    """
    name = os.path.join(path, "per_image.csv")
    header, rows = _read_csv(name)
    missing = [column for column in COLUMNS if rows and column not in header]
    if missing:
        raise RunError(f"{name}: has no column {missing[0]!r}, expected {', '.join(COLUMNS)}")
    sets: dict[str, dict[tuple[str, str], list[float]]] = {}
    keys = [score.key for score in pair_scores()]
    columns = (*COLUMNS, "amount", "logit", *keys)
    pick = itemgetter(*(header.index(column) if column in header else -1 for column in columns))
    for number, cells in rows:
        set_name, image_id, class_name, *rest = pick([*cells, ""])
        values = [_number(cell, name, number) for cell in rest]
        if values[0] not in (0, 1) or np.isnan(values[1]):
            raise RunError(
                f"{name}, row {number}: present is {rest[0]!r} and score {rest[1]!r}, "
                "expected 0 or 1 and a number"
            )
        pairs = sets.setdefault(printable(set_name), {})
        if (image_id, class_name) in pairs:
            raise RunError(f"{name}, row {number}: {image_id!r}, {class_name!r} comes twice in {set_name!r}")
        pairs[image_id, class_name] = values
    tables = {}
    for set_name, pairs in sets.items():
        ids = sorted({image_id for image_id, _ in pairs})
        class_names = list(dict.fromkeys(class_name for _, class_name in pairs))
        if len(pairs) != len(ids) * len(class_names):
            raise RunError(
                f"{name}: set {set_name!r} has {len(pairs)} rows, "
                f"expected {len(ids)} images x {len(class_names)} classes"
            )
        values = np.array([[pairs[image_id, class_name] for class_name in class_names] for image_id in ids])
        present, score, amount, logit, *others = np.moveaxis(values, 2, 0)
        of_pairs = dict(zip(keys, others, strict=True))
        logits = None if np.isnan(logit).any() else logit
        tables[set_name] = ImageTable(ids, class_names, present == 1, score, amount, of_pairs, logits)
    return tables


def read_pixels(path: str) -> PixelTable | None:
    """Read ``per_image.csv`` of a run of SEC; None if there is no such file.

    Args:
        path: Folder of the run.

    Raises:
        RunError: If a row is malformed, missing or twice there.
    """
    name = os.path.join(path, "per_image.csv")
    header, rows = _read_csv(name)
    if not rows:
        return None
    kinds = ["", "_crf"] if "found_crf" in header else [""]
    columns = ["true", *(f"{what}{kind}" for kind in kinds for what in ("found", "right"))]
    missing = [column for column in ("id", "class", *columns) if column not in header]
    if missing:
        raise RunError(f"{name}: has no column {missing[0]!r}, expected id, class, {', '.join(columns)}")
    counts: dict[tuple[str, str], list[float]] = {}
    for number, cells in rows:
        row = dict(zip(header, cells, strict=True))
        if (row["id"], row["class"]) in counts:
            raise RunError(f"{name}, row {number}: {row['id']!r}, {row['class']!r} comes twice")
        values = counts[row["id"], row["class"]] = [_number(row[column], name, number) for column in columns]
        if not all(value >= 0 for value in values):
            raise RunError(f"{name}, row {number}: {values} pixels, expected numbers of at least 0")
    ids = sorted({image_id for image_id, _ in counts})
    class_names = list(dict.fromkeys(class_name for _, class_name in counts))
    if len(counts) != len(ids) * len(class_names):
        raise RunError(
            f"{name}: has {len(counts)} rows, expected {len(ids)} images x {len(class_names)} classes"
        )
    values = np.array([[counts[image_id, class_name] for class_name in class_names] for image_id in ids])
    true, *others = np.moveaxis(values, 2, 0)
    pixels = {f"miou{kind}": np.stack([true, *others[2 * i : 2 * i + 2]]) for i, kind in enumerate(kinds)}
    # Older runs do not say it.
    set_name = printable(rows[0][1][header.index("set")]) if "set" in header else "test"
    return PixelTable(ids, class_names, pixels, set_name)


def read_classes(path: str) -> dict[str, dict[str, float]]:
    """Read ``per_class.csv``: scores by class, those that there are, and by their name.

    Args:
        path: Folder of the run.

    Raises:
        RunError: If a cell is no number.
    """
    name = os.path.join(path, "per_class.csv")
    header, rows = _read_csv(name)
    scores: dict[str, dict[str, float]] = {}
    for number, cells in rows:
        for column, cell in zip(header[1:], cells[1:], strict=True):
            if cell:
                scores.setdefault(column, {})[printable(cells[0])] = _number(cell, name, number)
    return scores


def read_curves(path: str) -> dict[str, np.ndarray]:
    """Read ``metrics.csv``.

    Args:
        path: Folder of the run.

    Returns:
        Rows (epoch, step, value) of every column that has values, ``(rows, 3)``; none without the file.

    Raises:
        RunError: If a cell is no number.
    """
    name = os.path.join(path, "metrics.csv")
    curves: dict[str, list[tuple[float, float, float]]] = {}
    header, rows = _read_csv(name)
    for number, cells in rows:
        row = {
            column: _number(cell, name, number) for column, cell in zip(header, cells, strict=True) if cell
        }
        epoch, step = row.pop("epoch", np.nan), row.pop("step", np.nan)
        for column, value in row.items():
            curves.setdefault(printable(column), []).append((epoch, step, value))
    return {column: np.array(points) for column, points in curves.items()}


def _read_csv(name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and numbered rows of equal length; nothing if there is no file."""
    if not os.path.exists(name):
        return [], []
    try:
        with open(name, newline="", encoding="utf-8") as file:
            header, *rows = [cells for cells in csv.reader(file) if cells] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{name}: unreadable ({error})") from error
    for number, cells in enumerate(rows, 1):
        if len(cells) != len(header):
            raise RunError(f"{name}, row {number}: {len(cells)} cells, expected {len(header)}")
    return header, list(enumerate(rows, 1))


def _number(cell: str, name: str, number: int) -> float:
    try:
        return float(cell) if cell else np.nan
    except ValueError as error:
        raise RunError(f"{name}, row {number}: {cell!r} is no number") from error
