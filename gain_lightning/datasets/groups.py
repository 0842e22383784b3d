"""Groups of pictures, by their class and by what a table says of them besides.

A classifier that is right on average may be wrong on a small group, such as the waterbirds on land (Sagawa et al.,
ICLR 2020). A column ``group`` names the groups; else ``data.group_by`` names the columns that they are made of.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.columns import column_problems
from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.listing import Attributes, Listing

GROUP_COLUMN = "group"
# A name such as waterbird+water may be a file on every system, and needs no quotes in CSV, YAML or a shell.
_SIGN = "+"


class _Part(NamedTuple):
    """One of the things that make a group: the names of its values, and the number of each picture's value."""

    names: list[str]
    numbers: np.ndarray  # (n,)


def grouped(
    contents: Contents, columns: Sequence[str] | None = None, accuracy_class: str | None = None
) -> Contents:
    """Give every picture its group; the names of groups are the same in every split.

    A group is a class and a value of each column, such as ``waterbird+water``. Where pictures have several classes
    or none, groups of all classes would be too many. There a group is made of the presence of ``accuracy_class``
    (``boat+water``, ``no boat+water``), or of the columns alone where no class is meant.

    Args:
        contents: The pictures of every split.
        columns: The columns of the table; None takes a column ``group`` as it is, if there is one.
        accuracy_class: The class whose presence makes groups where a picture may have several classes.

    Returns:
        The contents with ``group_names``, every group that has a picture, and with ``groups`` in every listing; or
        with the problems of what has no group. Without groups they are what they were.
    """
    listings = list(contents.listings.values())
    tables = [listing.attributes for listing in listings if listing.attributes is not None]
    known = list(tables[0].values) if tables else []
    if columns is None and GROUP_COLUMN not in known:
        return contents
    chosen = [GROUP_COLUMN] if columns is None else list(columns)
    if problems := column_problems(contents, "data.group_by", chosen, "groups are made of it"):
        return contents._replace(problems=[*contents.problems, *problems])
    parts = [_values(tables, column, with_column=columns is not None) for column in chosen]
    if columns is not None:
        parts = _classes(listings, accuracy_class) + parts
    keys, groups = np.unique(np.stack([part.numbers for part in parts], 1), axis=0, return_inverse=True)
    names = [
        _SIGN.join(part.names[value] for part, value in zip(parts, key, strict=True)) for key in keys.tolist()
    ]
    if alike := {name for name in names if names.count(name) > 1}:
        what = f"two groups are called {min(alike)!r}, expected no {_SIGN!r} in {', '.join(chosen)}"
        return contents._replace(problems=[*contents.problems, Problem(contents.splits_from, 0, what)])
    ends = np.cumsum([len(listing) for listing in listings])[:-1]
    of_split = zip(contents.listings.items(), np.split(groups.ravel(), ends), strict=True)
    return contents._replace(
        listings={name: replace(listing, groups=own) for (name, listing), own in of_split},
        group_names=tuple(names),
    )


def _classes(listings: list[Listing], accuracy_class: str | None) -> list[_Part]:
    """Make the part that a label has in a group, if it has one."""
    labels = np.concatenate([listing.labels for listing in listings])
    names = list(listings[0].class_names)
    if (labels.sum(1) == 1).all() and (labels.max(1) == 1).all():
        return [_Part(names, labels.argmax(1))]
    if accuracy_class is None:
        return []
    is_absent = labels[:, names.index(accuracy_class)] == 0
    return [_Part([accuracy_class, f"no {accuracy_class}"], is_absent.astype(int))]


def _values(tables: list[Attributes], column: str, *, with_column: bool) -> _Part:
    """Make the part that a column has in a group; a number says little as a name, so its column stands before it."""
    found = np.concatenate([table.values[column] for table in tables])
    names, numbers = np.unique(found, return_inverse=True)
    if with_column:
        names = np.array([f"{column}={name}" if _is_number(name) else name for name in names.tolist()])
    return _Part(names.tolist(), numbers)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
