"""How far a run's decisions depend on the ground: ``background.json``, and every object in ``background.csv``."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.tables import read_table
from gain_lightning.support.files import csv_text, read_json, write_atomically, write_json

BACKGROUND = "background.json"
PER_OBJECT = "background.csv"
# How an object is shown, and the words for it; the columns of the table.
VERSIONS = {
    "as_is": "as it is",
    "alone": "alone",
    "own_ground": "on a ground of its class",
    "other_ground": "on a ground of another class",
    "removed": "removed",
    "control": "pasted back",
}
_NAMES = ("id", "class", "own", "other")


class Objects(NamedTuple):
    """P objects, each shown in V versions.

    Attributes:
        names: Of each object its picture, its class, and the pictures that its own and its other ground come from.
        recognised: Whether the object's class was recognised, ``(P, V)`` bool, in the order of :data:`VERSIONS`.
    """

    names: list[tuple[str, ...]]
    recognised: np.ndarray

    @property
    def class_names(self) -> list[str]:
        """The class of each object."""
        return [class_name for _, class_name, *_ in self.names]

    def of(self, version: str) -> np.ndarray:
        """Return whether each object was recognised in a version, ``(P,)`` bool."""
        values: np.ndarray = self.recognised[:, list(VERSIONS).index(version)]
        return values

    @property
    def image(self) -> np.ndarray:
        """The index of each object's picture among the pictures, sorted by name, ``(P,)`` int."""
        index: np.ndarray = np.unique([name[0] for name in self.names], return_inverse=True)[1]
        return index


class Background(NamedTuple):
    """Both files of a run: ``background.json`` as it is, and the objects."""

    result: dict[str, Any]
    objects: Objects


def write_background(run_dir: Path, result: dict[str, Any], objects: Objects) -> None:
    """Write ``background.csv``, one row an object, and then ``background.json``."""
    seen = objects.recognised.astype(int).tolist()
    rows = [[*names, *values] for names, values in zip(objects.names, seen, strict=True)]
    write_atomically(run_dir / PER_OBJECT, csv_text([*_NAMES, *VERSIONS], rows))
    write_json(run_dir / BACKGROUND, result)


def read_background(path: str | Path) -> Background | None:
    """Read both files.

    Args:
        path: Folder of the run.

    Returns:
        What they say; None where ``gain background`` has not looked at the run.

    Raises:
        RunError: If a file is missing or malformed.
    """
    try:
        result = read_json(Path(path, BACKGROUND))
    except (OSError, ValueError) as error:
        raise RunError(str(error)) from error
    if not result:
        return None
    return Background(result, _read_objects(Path(path, PER_OBJECT)))


def background_scores(path: str | Path) -> dict[str, float]:
    """Return the scores of ``background.csv`` by metric, as a comparison shows them; none without the file.

    Raises:
        RunError: If a file is missing or malformed.
    """
    found = read_background(path)
    if found is None:
        return {}
    every = np.ones((1, len(found.objects.names)))
    return {metric: float(values[0]) for metric, values in weighted_scores(found.objects, every).items()}


def weighted_scores(objects: Objects, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of objects of which each counts several times or not at all.

    Args:
        objects: P objects.
        weight: How often each object counts, in R resamples, ``(R, P)``.

    Returns:
        ``test/swapped_grounds``, the share that is recognised on grounds of other classes, and
        ``test/background_gap``, by how much that share is larger on grounds of their own classes; each ``(R,)``, nan
        where no object counts.

    Example:
        >>> seen = np.array([[1, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 1]], bool)
        >>> weighted_scores(Objects([("a", "cat", "c", "d"), ("b", "cat", "a", "d")], seen), np.ones((1, 2)))
        {'test/swapped_grounds': array([0.5]), 'test/background_gap': array([0.5])}
    """
    with np.errstate(invalid="ignore"):
        own, other = (weight @ objects.of(key) / weight.sum(1) for key in ("own_ground", "other_ground"))
    return {"test/swapped_grounds": other, "test/background_gap": own - other}


def _read_objects(path: Path) -> Objects:
    if not path.is_file():
        raise RunError(f"{path}: no such file, expected it beside {BACKGROUND}")
    header, rows = read_table(path)
    if header != [*_NAMES, *VERSIONS] or not rows:
        raise RunError(f"{path}: not a table of objects, expected rows of {', '.join((*_NAMES, *VERSIONS))}")
    for number, cells in rows:
        unfit = [cell for cell in cells[len(_NAMES) :] if cell not in ("0", "1")]
        if unfit:
            raise RunError(f"{path}, row {number}: {unfit[0]!r}, expected 0 or 1")
    names = [tuple(cells[: len(_NAMES)]) for _, cells in rows]
    return Objects(names, np.array([cells[len(_NAMES) :] for _, cells in rows]) == "1")
