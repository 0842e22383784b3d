"""``metrics.csv`` of a run: losses and scores by epoch and step, while it trains.

Lightning's own writer adds the rows; what else happens to the file, and its reading, is here.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gain_lightning.runs.tables import read_number, read_table
from gain_lightning.support.files import csv_text, write_atomically
from gain_lightning.support.messages import printable

CURVES = "metrics.csv"


def write_curves(run_dir: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write ``metrics.csv``; a cell whose row lacks the column is empty."""
    write_atomically(
        run_dir / CURVES, csv_text(columns, ([row.get(key, "") for key in columns] for row in rows))
    )


def _rows(run_dir: Path) -> list[dict[str, Any]]:
    """The rows as text, of a run that may just be writing them: half a line has no value of its last columns."""
    with (run_dir / CURVES).open(newline="") as file:
        return list(csv.DictReader(file))


def curve_columns(run_dir: Path) -> list[str]:
    """The columns of ``metrics.csv``; none without the file."""
    path = run_dir / CURVES
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def set_columns(run_dir: Path, columns: Sequence[str]) -> None:
    """Give ``metrics.csv`` other columns; the rows stay."""
    write_curves(run_dir, columns, _rows(run_dir))


def drop_curves(run_dir: Path, step: int | None = None) -> None:
    """Forget the rows of ``step`` and later, and half a line that a kill left; without a step forget the file.

    Raises:
        ValueError: If the file has no steps.
    """
    path, columns = run_dir / CURVES, curve_columns(run_dir)
    if step is None:
        path.unlink(missing_ok=True)
        return
    if columns and "step" not in columns:
        raise ValueError(f"{path}: no column 'step'; got {','.join(columns)}")
    if columns:
        rows = [row for row in _rows(run_dir) if None not in row.values() and int(row["step"]) < step]
        write_curves(run_dir, columns, rows)


def last_epoch(run_dir: Path) -> int:
    """The last epoch that a run, which may go on just now, has a row of.

    Raises:
        OSError: If there is no file yet.
        ValueError, KeyError: If there is no row, or none that is whole.
    """
    return max(int(row["epoch"]) for row in _rows(run_dir) if row["epoch"])


def read_curves(path: str | Path) -> dict[str, np.ndarray]:
    """Read ``metrics.csv``.

    Args:
        path: Folder of the run.

    Returns:
        Rows (epoch, step, value) of every column that has values, ``(rows, 3)``; none without the file.

    Raises:
        RunError: If a cell is no number.
    """
    name = Path(path, CURVES)
    curves: dict[str, list[tuple[float, float, float]]] = {}
    header, rows = read_table(name)
    for number, cells in rows:
        row = {
            column: read_number(cell, name, number)
            for column, cell in zip(header, cells, strict=True)
            if cell
        }
        epoch, step = row.pop("epoch", np.nan), row.pop("step", np.nan)
        for column, value in row.items():
            curves.setdefault(printable(column), []).append((epoch, step, value))
    return {column: np.array(points) for column, points in curves.items()}
