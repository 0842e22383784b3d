"""``per_image.csv`` of a classifier: what it says of every image and class, and the scores of their map."""

import contextlib
import csv
import itertools
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.tables import read_number, read_table
from gain_lightning.scores import pair_scores
from gain_lightning.support.files import WholeTable
from gain_lightning.support.messages import printable
from gain_lightning.support.sharing import in_turn

PER_IMAGE = "per_image.csv"
# The columns that every such table has.
COLUMNS = ("set", "id", "class", "present", "score")
# The column of the image's group, where the data have groups.
GROUP = "group"
# One of these stands beside the score: the label of an amount, or the logit of a probability.
BESIDE = ("amount", "logit")


class ImageRows(NamedTuple):
    """What a batch adds to ``per_image.csv``: of N images and C classes, and of the P pairs that have a map.

    Attributes:
        set_name: What the data call the test set.
        ids: Of the images, N.
        present: Whether the label names the class, ``(N, C)`` bool; a class without a place has no pair.
        score: A probability or an amount, ``(N, C)``.
        beside: The column beside it, one of :data:`BESIDE`, and its values, ``(N, C)``.
        pair_image: Index of each pair's image, ``(P,)``.
        pair_class: Index of each pair's class, ``(P,)``.
        judged: The pairs whose image has a mask or a box of the class, ``(P,)`` bool.
        pair_scores: Scores of the pairs by the name of their column, each ``(P,)``; None where the set has none.
        groups: The name of each image's group, N; empty where the data have no groups, and then without a column.
    """

    set_name: str
    ids: Sequence[str]
    present: np.ndarray
    score: np.ndarray
    beside: tuple[str, np.ndarray]
    pair_image: np.ndarray
    pair_class: np.ndarray
    judged: np.ndarray
    pair_scores: Mapping[str, np.ndarray | None]
    groups: Sequence[str] = ()

    def rows(self, class_names: Sequence[str]) -> list[dict[str, str | int | float]]:
        """One row a (image, class), by column.

        Scores have all digits of float32. A logit ranks images where probabilities round to 0 or 1.

        Example:
            >>> logit = "logit", np.array([[2.0, -1.0]])
            >>> pairs = np.array([0]), np.array([0]), np.array([True]), {"energy": np.array([0.25])}
            >>> present, score = np.array([[True, False]]), np.array([[0.9, 0.2]])
            >>> for row in ImageRows("test", ["a"], present, score, logit, *pairs).rows(["boat", "car"]):
            ...     print(*row.values(), sep=",")
            test,a,boat,1,0.9,2,0.25
            test,a,car,0,0.2,-1,
        """
        pair_of = {
            pair: p
            for p, pair in enumerate(zip(self.pair_image.tolist(), self.pair_class.tolist(), strict=True))
        }
        values = {
            key: None if of_pairs is None else [round(value, 6) for value in of_pairs.tolist()]
            for key, of_pairs in self.pair_scores.items()
        }
        column, beside = self.beside
        rows: list[dict[str, str | int | float]] = []
        for (n, image_id), (c, class_name) in itertools.product(enumerate(self.ids), enumerate(class_names)):
            p = pair_of.get((n, c))
            cells = (self.set_name, image_id, class_name, int(self.present[n, c]), f"{self.score[n, c]:.9g}")
            row: dict[str, str | int | float] = dict(zip(COLUMNS, cells, strict=True))
            row[column] = f"{beside[n, c]:.9g}"
            for key, of_pairs in values.items():
                row[key] = "" if p is None or of_pairs is None or not self.judged[p] else of_pairs[p]
            if self.groups:
                row[GROUP] = self.groups[n]
            rows.append(row)
        return rows


class ImageFile(WholeTable):
    """``per_image.csv`` while a test writes it, batch by batch; the header is that of the first batch."""

    is_empty = True

    def add(self, batch: ImageRows, class_names: Sequence[str]) -> None:
        """Write the rows of a batch."""
        rows = batch.rows(class_names)
        if self.is_empty:
            self.write([rows[0]])
            self.is_empty = False
        self.write(row.values() for row in rows)


def parts_of(run_dir: Path, num_processes: int) -> list[Path]:
    """Where each process writes its rows: one process the table itself, each of several a part beside it."""
    path = run_dir / PER_IMAGE
    if num_processes == 1:
        return [path]
    return [path.with_name(f"{path.name}.rank{rank}.part") for rank in range(num_processes)]


def join_parts(parts: list[Path], path: Path) -> None:
    """Make one table of those of several processes, in the order that one process would have written, and remove them.

    Args:
        parts: The table of each process r of R, which has the images r, r + R, r + 2R, ... of every test set.
        path: The whole table.

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


class ImageTable(NamedTuple):
    """One test set in ``per_image.csv``: sorted ids ``(N,)``, class names ``(C,)``, and ``(N, C)`` arrays.

    ``of_pairs`` has every score of :func:`gain_lightning.scores.pair_scores` by its key, nan where a class is absent
    or without mask or box, and everywhere where the set is judged by the other, or the run is older than the score.
    ``amount`` is nan where the task is no regression. ``logit`` is None of a regression, and of runs that were made
    before the file had it. ``groups`` has the name of each image's group, ``(N,)``, "" where it is
    unknown; it is None of data without groups.
    """

    ids: list[str]
    class_names: list[str]
    present: np.ndarray
    score: np.ndarray
    amount: np.ndarray
    of_pairs: dict[str, np.ndarray]
    logit: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def judged(self) -> np.ndarray:
        """The (image, class) pairs whose map has a score, ``(N, C)`` bool."""
        judged: np.ndarray = np.any([~np.isnan(values) for values in self.of_pairs.values()], axis=0)
        return judged

    @property
    def truth(self) -> Literal["mask", "box"]:
        """What judges the maps: boxes where scores of boxes are all that there are."""
        judged = {
            score.truth
            for score in pair_scores()
            if score.key in self.of_pairs and not np.isnan(self.of_pairs[score.key]).all()
        }
        return "box" if judged == {"box"} else "mask"

    @property
    def rank(self) -> np.ndarray:
        """What orders images for average precision: logits, for probabilities round to 0 and 1; without them scores."""
        return self.score if self.logit is None else self.logit


def read_images(path: str | Path) -> dict[str, ImageTable]:
    """Read ``per_image.csv``.

    Args:
        path: Folder of the run.

    Returns:
        The tables of the test sets by name, in the file's order; none if there is no such file.

    Raises:
        RunError: If a row is malformed or missing.
    """
    name = Path(path, PER_IMAGE)
    header, rows = read_table(name)
    missing = [column for column in COLUMNS if rows and column not in header]
    if missing:
        raise RunError(f"{name}: has no column {missing[0]!r}, expected {', '.join(COLUMNS)}")
    sets: dict[str, dict[tuple[str, str], list[float]]] = {}
    keys = [score.key for score in pair_scores()]
    columns = (*COLUMNS, GROUP, *BESIDE, *keys)
    groups: dict[tuple[str, str], str] = {}
    pick = itemgetter(*(header.index(column) if column in header else -1 for column in columns))
    for number, cells in rows:
        set_name, image_id, class_name, *rest = pick([*cells, ""])
        groups[printable(set_name), image_id] = printable(rest.pop(len(COLUMNS) - 3))
        values = [read_number(cell, name, number) for cell in rest]
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
        table = np.array([[pairs[image_id, class_name] for class_name in class_names] for image_id in ids])
        present, score, amount, logit, *others = np.moveaxis(table, 2, 0)
        of_pairs = dict(zip(keys, others, strict=True))
        logits = None if np.isnan(logit).any() else logit
        names = np.array([groups[set_name, image_id] for image_id in ids]) if GROUP in header else None
        tables[set_name] = ImageTable(ids, class_names, present == 1, score, amount, of_pairs, logits, names)
    return tables
