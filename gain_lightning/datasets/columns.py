"""Columns of a table that a setting names: they are there, and every picture has a value in them."""

import difflib
from collections.abc import Sequence

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.contents import Contents


def column_problems(contents: Contents, setting: str, columns: Sequence[str], use: str) -> list[Problem]:
    """Name the columns that the table lacks; else the pictures that lack a value of one, by their lines.

    Args:
        contents: The pictures of every split.
        setting: The setting that names the columns, such as ``data.group_by``.
        columns: The columns.
        use: What needs a value, such as ``groups are made of it``.
    """
    tables = [listing.attributes for listing in contents.listings.values()]
    known = next((list(table.values) for table in tables if table is not None), [])
    unknown = [_unknown(contents, setting, column, known) for column in columns if column not in known]
    return unknown or _without_value(contents, columns, use)


def _unknown(contents: Contents, setting: str, column: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(column, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    expected = f"one of {', '.join(known)}" if known else "a column that there is: it has none of attributes"
    what = f"{setting} names {column!r}, expected {expected}{meant}"
    return Problem(contents.splits_from, 1 if known else 0, what)


def _without_value(contents: Contents, columns: Sequence[str], use: str) -> list[Problem]:
    problems = []
    for listing in contents.listings.values():
        if listing.attributes is None:
            continue
        for column in columns:
            for row in np.flatnonzero(listing.attributes.values[column] == "").tolist():
                what = f"{listing.ids[row]} has no {column}, expected a value: {use}"
                problems.append(Problem(contents.splits_from, int(listing.attributes.lines[row]), what))
    return problems
