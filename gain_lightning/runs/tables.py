"""The reading of a run's tables: cells of a CSV, with an error that names the file and the row."""

import csv
from pathlib import Path

import numpy as np

from gain_lightning.runs.errors import RunError


def read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the header and the rows of a table, which are as long as it.

    Returns:
        The header, and the rows with their numbers from 1; nothing if there is no file.

    Raises:
        RunError: If it is no CSV in UTF-8, or a row has more or fewer cells than the header.
    """
    if not path.exists():
        return [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = [cells for cells in csv.reader(file) if cells] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: unreadable ({error})") from error
    for number, cells in enumerate(rows, 1):
        if len(cells) != len(header):
            raise RunError(f"{path}, row {number}: {len(cells)} cells, expected {len(header)}")
    return header, list(enumerate(rows, 1))


def read_number(cell: str, path: Path, number: int) -> float:
    """Read a cell of row ``number``; nan if it is empty.

    Raises:
        RunError: If it is no number.
    """
    try:
        return float(cell) if cell else np.nan
    except ValueError as error:
        raise RunError(f"{path}, row {number}: {cell!r} is no number") from error
