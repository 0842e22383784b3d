"""``per_class.csv`` of a run: the scores of every class."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from gain_lightning.runs.tables import read_number, read_table
from gain_lightning.support.files import csv_text, write_atomically
from gain_lightning.support.messages import printable

PER_CLASS = "per_class.csv"
# A name, a count or score, or None where nothing of the class could be judged.
Cell = str | float | None


def class_table(
    class_names: Sequence[str], scores: Mapping[str, Sequence[float]]
) -> tuple[list[str], list[list[Cell]]]:
    """Return the header and a row a class; None where nothing could be judged.

    Example:
        >>> class_table(["boat"], {"num_images": [3], "ap": [0.5], "energy": [math.nan]})
        (['class', 'num_images', 'ap', 'energy'], [['boat', 3, 0.5, None]])
    """
    shown = (
        [None if math.isnan(value) else round(value, 6) for value in values] for values in scores.values()
    )
    return ["class", *scores], [list(row) for row in zip(class_names, *shown, strict=True)]


def write_classes(run_dir: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Write ``per_class.csv``: the table of :func:`class_table`."""
    write_atomically(run_dir / PER_CLASS, csv_text(header, rows))


def read_classes(path: str | Path) -> dict[str, dict[str, float]]:
    """Read ``per_class.csv``: the scores that there are, by their column and by class.

    Args:
        path: Folder of the run.

    Raises:
        RunError: If a cell is no number.
    """
    name = Path(path, PER_CLASS)
    header, rows = read_table(name)
    scores: dict[str, dict[str, float]] = {}
    for number, cells in rows:
        for column, cell in zip(header[1:], cells[1:], strict=True):
            if cell:
                scores.setdefault(column, {})[printable(cells[0])] = read_number(cell, name, number)
    return scores
