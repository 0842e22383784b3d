"""``per_group.csv`` of a run: the accuracy, or the error, on every group of images of the main test set."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gain_lightning.runs.classes import Cell
from gain_lightning.runs.tables import read_number, read_table
from gain_lightning.support.files import csv_text, write_atomically
from gain_lightning.support.messages import printable

PER_GROUP = "per_group.csv"


class GroupTable(NamedTuple):
    """The G groups of a set.

    Attributes:
        names: Their names.
        columns: ``num_images``, ``accuracy`` or ``mae`` (nan without an image), and ``num_train``, G values each.
    """

    names: Sequence[str]
    columns: dict[str, list[float]]

    def of(self, column: str) -> dict[str, float]:
        """Return the values of a column by the names of the groups; none if there is no such column."""
        return dict(zip(self.names, self.columns.get(column, []), strict=False))

    def rows(self) -> tuple[list[str], list[list[Cell]]]:
        """Return the header and a row a group; None where a group has no image.

        Example:
            >>> GroupTable(["boat+water"], {"num_images": [3], "accuracy": [math.nan]}).rows()
            (['group', 'num_images', 'accuracy'], [['boat+water', 3, None]])
        """
        values = (
            [None if math.isnan(value) else value for value in column] for column in self.columns.values()
        )
        return ["group", *self.columns], [list(row) for row in zip(self.names, *values, strict=True)]


def write_groups(run_dir: Path, table: GroupTable | None) -> None:
    """Write ``per_group.csv``; without groups the file of an earlier test goes."""
    if table is None:
        (run_dir / PER_GROUP).unlink(missing_ok=True)
    else:
        write_atomically(run_dir / PER_GROUP, csv_text(*table.rows()))


def read_groups(path: str | Path) -> GroupTable | None:
    """Read ``per_group.csv``; None of a run without groups.

    Args:
        path: Folder of the run.

    Raises:
        RunError: If a cell is no number.
    """
    name = Path(path, PER_GROUP)
    header, rows = read_table(name)
    if not rows:
        return None
    columns = {
        column: [read_number(cells[place], name, number) for number, cells in rows]
        for place, column in enumerate(header[1:], 1)
    }
    return GroupTable([printable(cells[0]) for _, cells in rows], columns)
