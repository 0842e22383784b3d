"""The contents of a folder, as a reader finds them: the pictures of each split, and what is wrong with them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.listing import Listing

_FIRST = ("train", "val", "test")


class Contents(NamedTuple):
    """What a folder holds, whatever its layout.

    Attributes:
        listings: The pictures of each split by its name, ``train``, ``val`` and ``test`` first; ``""`` has the
            pictures that the layout gives no split.
        problems: All that is wrong; each problem would stop a training.
        notes: All that is no problem, but may not be meant.
        splits_from: The file or folder that says which split a picture belongs to.
        changes: All that is used otherwise than it is written, such as a box that is clipped; a training says it too.
        group_names: The names of the groups that ``groups`` of a listing counts; empty without groups.
    """

    listings: dict[str, Listing]
    problems: list[Problem]
    notes: list[str]
    splits_from: Path
    changes: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()

    def of(self, split: str) -> Listing:
        """Return the pictures of a split.

        Raises:
            ValueError: If it has none.
        """
        if split not in self.listings:
            raise ValueError(str(self.missing(split)))
        return self.listings[split]

    def missing(self, split: str) -> Problem:
        """Name the problem that a split has no picture."""
        others = ", ".join(sorted(self.listings))
        return Problem(self.splits_from, 0, f"no picture of split {split!r}, only of {others}")


def by_split(listing: Listing, splits: np.ndarray) -> dict[str, Listing]:
    """Take a listing apart by the split of each picture, ``(n,)`` str."""
    order = {name: place for place, name in enumerate(_FIRST)}
    names = sorted(set(splits.tolist()), key=lambda name: (order.get(name, len(order)), name))
    return {name: listing.take(np.flatnonzero(splits == name)) for name in names}
