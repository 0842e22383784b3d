"""The numbers by which a published table knows classes and values get names (``data.value_names``)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.listing import Attributes, Listing

# This key stands for the classes, whatever column of a table has them.
CLASSES = "classes"


def named(contents: Contents, value_names: Mapping[str, Sequence[str]]) -> Contents:
    """Name the numbers of classes and of values.

    Args:
        contents: The pictures of every split.
        value_names: The names of 0, 1, ... in each column, such as ``{classes: [landbird, waterbird], place: [land,
            water]}``.

    Returns:
        The contents with these names; or with the problems of what is no such number.
    """
    problems: list[Problem] = []
    listings = dict(contents.listings)
    for column, names in value_names.items():
        for split, listing in listings.items():
            known = list(listing.attributes.values) if listing.attributes else []
            if column == CLASSES:
                listings[split] = _name_classes(listing, names, contents, problems)
            elif listing.attributes is not None and column in known:
                listings[split] = replace(
                    listing,
                    attributes=_name_values(listing, listing.attributes, column, names, contents, problems),
                )
            else:
                what = f"data.value_names names {column!r}, expected one of {', '.join([CLASSES, *known])}"
                problems.append(Problem(contents.splits_from, 1, what))
    return contents._replace(listings=listings, problems=[*contents.problems, *dict.fromkeys(problems)])


def _name_classes(
    listing: Listing, names: Sequence[str], contents: Contents, problems: list[Problem]
) -> Listing:
    found = [_name_of(number, names) for number in listing.class_names]
    if None in found:
        number = listing.class_names[found.index(None)]
        what = f"class {number!r} has no name in data.value_names, expected a number of 0..{len(names) - 1}"
        problems.append(Problem(contents.splits_from, 0, what))
        return listing
    # folders of masks keep the names that they have on the disk
    return replace(
        listing,
        class_names=tuple(name for name in found if name is not None),
        mask_folders=listing.mask_folders or listing.class_names,
    )


def _name_values(
    listing: Listing,
    table: Attributes,
    column: str,
    names: Sequence[str],
    contents: Contents,
    problems: list[Problem],
) -> Attributes:
    values = table.values[column]
    numbers, place = np.unique(values, return_inverse=True)
    # a picture without a value is left to those who need one
    found = [_name_of(number, names) if number else "" for number in numbers.tolist()]
    for row in np.flatnonzero(np.array([name is None for name in found])[place]).tolist():
        what = f"{column} of {listing.ids[row]} is {str(values[row])!r}, expected 0..{len(names) - 1}"
        problems.append(
            Problem(contents.splits_from, int(table.lines[row]), f"{what}, as data.value_names names")
        )
    return table._replace(values={**table.values, column: np.array([name or "" for name in found])[place]})


def _name_of(number: str, names: Sequence[str]) -> str | None:
    """Return the name of a number; None where it has none.

    Example:
        >>> _name_of("1", ["land", "water"]), _name_of("2", ["land", "water"]), _name_of("sea", ["land", "water"])
        ('water', None, None)
    """
    is_number = number.isascii() and number.isdigit()
    return names[int(number)] if is_number and int(number) < len(names) else None
