"""Another column of the table is what the classifier tells (``data.label_column``), such as the ground of a bird."""

from dataclasses import replace

import numpy as np

from gain_lightning.datasets.columns import column_problems
from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.listing import Attributes, Listing
from gain_lightning.datasets.value_names import CLASSES


def labelled_by(contents: Contents, column: str) -> Contents:
    """Make the values of a column the classes; what was the class is then the column ``classes``.

    A box stays with its picture and is of the picture's new class. Masks are of the classes that were, so no mask
    is left.

    Args:
        contents: The pictures of every split.
        column: The column whose values are the classes; every picture needs a value.

    Returns:
        The contents with these classes, sorted by name; or with the problems of what has no such class.
    """
    if problems := column_problems(contents, "data.label_column", [column], "it is the class"):
        return contents._replace(problems=[*contents.problems, *problems])
    tables = [table for listing in contents.listings.values() if (table := listing.attributes) is not None]
    names = np.unique(np.concatenate([table.values[column] for table in tables]))
    num_masks = sum(int(listing.is_drawn.sum()) for listing in contents.listings.values())
    left_out = f"{num_masks} masks show no class of data.label_column {column} and are left out"
    return contents._replace(
        listings={
            split: _relabelled(listing, listing.attributes, column, names)
            for split, listing in contents.listings.items()
            if listing.attributes is not None
        },
        changes=(*contents.changes, left_out) if num_masks else contents.changes,
    )


def _relabelled(listing: Listing, table: Attributes, column: str, names: np.ndarray) -> Listing:
    """Exchange the classes of a listing for the values of a column."""
    class_idx = np.searchsorted(names, table.values[column])  # (n,)
    none = np.zeros((len(listing), len(names)), bool)
    labels = none.astype(np.uint8)
    labels[np.arange(len(listing)), class_idx] = 1
    were = [";".join(np.array(listing.class_names)[label > 0].tolist()) for label in listing.labels]
    values = {CLASSES: np.array(were, dtype=str)}
    values |= {name: cells for name, cells in table.values.items() if name != column}
    return replace(
        listing,
        class_names=tuple(names.tolist()),
        labels=labels,
        has_mask=none,
        is_drawn=np.zeros(len(listing), bool),
        mask_folders=(),
        has_not=None,
        not_folders=(),
        box_class=class_idx[listing.box_row],
        attributes=table._replace(values=values),
    )
