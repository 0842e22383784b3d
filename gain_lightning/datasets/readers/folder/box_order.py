"""The numbers of ``boxes.csv`` are checked to be corners: not of another order, without area or of another frame.

Nothing is converted. :func:`~gain_lightning.datasets.check_boxes.check_boxes` looks for other units and for boxes that
reach beyond their picture.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.images import read_orientation
from gain_lightning.datasets.listing import Listing

_PERCENT = 100


def check_order(listing: Listing, place: Callable[[int], tuple[Path, int]]) -> list[Problem]:
    """Find boxes that are empty or less than a pixel wide, and tables of x, y, width, height.

    Args:
        listing: The boxes, with the pictures' sizes.
        place: Gives the file and line that a box comes from, by its number.

    Returns:
        The problems: one for the table if its rows fit as x, y, width, height alone, else one for each box.
    """
    corners = listing.box_corners
    low, high = corners[:, :2], corners[:, 2:]
    size = listing.size[listing.box_row][:, ::-1]  # (b, 2), width and height
    # check_boxes names boxes in shares of their picture
    is_share = (corners < 2).all(1) & (corners % 1 > 0).any(1)
    is_empty = ~(low < high).all(1) & ~is_share
    is_tiny = ((high - low) < 1).any(1) & ~is_empty & ~is_share
    fits_as_size = (low >= 0).all(1) & (high > 0).all(1) & ((low + high <= size).all(1) | (size == 0).any(1))
    if is_empty.any() and fits_as_size[~is_share].all():
        what = (
            f"{is_empty.sum()} of {len(corners)} boxes have xmax <= xmin or ymax <= ymin, this is the first, so it is "
            "empty; all fit their pictures as x,y,width,height: expected xmax = x + width, ymax = y + height"
        )
        return [Problem(*place(int(np.flatnonzero(is_empty)[0])), what)]
    wrong = [(is_empty, "is empty, expected xmin < xmax, ymin < ymax")]
    wrong += [(is_tiny, "is less than a pixel wide or high, expected pixels")]
    return [
        Problem(
            *place(box), f"box {tuple(corners[box].tolist())} of {listing.ids[listing.box_row[box]]} {what}"
        )
        for boxes, what in wrong
        for box in np.flatnonzero(boxes).tolist()
    ]


def box_notes(listing: Listing) -> list[str]:
    """Note what the numbers of boxes cannot tell: that EXIF turns their pictures, and that they may be percent."""
    notes = []
    rows = np.unique(listing.box_row)
    turned = [row for row in rows.tolist() if listing.size[row].all() and _is_turned(listing.image_path(row))]
    if turned:
        notes.append(
            f"{len(turned)} of {len(rows)} pictures with boxes are turned or mirrored by EXIF, the first "
            f"{listing.ids[turned[0]]}: boxes are in pixels of the picture as it is shown, not as it is stored"
        )
    reach = listing.box_corners.max(initial=0)
    if 1 < reach <= _PERCENT and (listing.size[rows] > 2 * _PERCENT).all():
        notes.append("all boxes lie within 0..100 of larger pictures: they must be pixels, not percent")
    return notes


def _is_turned(path: Path) -> bool:
    try:
        return read_orientation(path) > 1
    except (OSError, ValueError):
        # check_images names the picture
        return False
