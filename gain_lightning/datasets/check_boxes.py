"""Boxes are checked: they must be in pixels and lie within their pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.listing import Listing

# Boxes may be given as parts of such a whole instead of pixels.
_WHOLES = {100: "percent", 1000: "thousandths"}


def check_boxes(
    listing: Listing, place: Callable[[int], tuple[Path, int]], *, margin: float = 0, first: int = 0
) -> list[Problem]:
    """Find boxes that reach beyond their picture or are not in pixels.

    Args:
        listing: The boxes, with the pictures' sizes.
        place: Gives the file and line that a box comes from, by its number.
        margin: How far boxes may reach beyond their picture, pixels.
        first: What the file calls the first pixel, 0 or 1; messages quote the file.

    Returns:
        The problems. Boxes in percent or in thousandths, which only all boxes together show, are one problem.
    """
    size = listing.size[listing.box_row]
    corners = (listing.box_corners + np.array([first, first, 0, 0])).round(6)
    # such a box lies in the first pixel, or is relative to the picture's sides
    is_small = (corners[:, 2:] < 2).all(1)
    is_relative = is_small & (is_small.all() | (is_small & (corners % 1 > 0).any(1)).any())
    low, high = listing.box_corners[:, :2], listing.box_corners[:, 2:]
    beyond = (low < -margin).any(1) | (high > size[:, ::-1] + margin).any(1)
    problems = []
    for box in np.flatnonzero((is_relative | beyond) & (size > 0).all(1)).tolist():
        what = "lies within 0..1: relative? expected pixels, in" if is_relative[box] else "reaches beyond"
        height, width = size[box]
        name = f"{listing.ids[listing.box_row[box]]} ({width} x {height} pixels)"
        problems.append(Problem(*place(box), f"box {tuple(corners[box].tolist())} {what} {name}"))
    whole = next((whole for whole in _WHOLES if _are_parts(corners, size, whole)), None)
    if not problems and whole is not None:
        what = f"all {len(corners)} boxes lie within 0..{whole} of larger pictures: {_WHOLES[whole]}? expected pixels"
        problems.append(Problem(*place(0), what))
    return problems


def _are_parts(corners: np.ndarray, size: np.ndarray, whole: int) -> bool:
    """Tell whether boxes are parts of ``whole`` rather than pixels: they are spread over 0..whole and never go beyond.

    In pixels, a side of ``width`` ends within 100 by chance in 100 of ``width`` cases. Boxes that all lie at one
    place, such as a mark in the corner of every picture, are no evidence.
    """
    if not len(corners) or corners.max() > whole or corners.min() < 0:
        return False
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    chance = np.minimum(1, whole / np.maximum(size, 1)).prod()
    return bool(chance < 1e-6 and (np.ptp(centre, axis=0) > 0.3 * whole).all())
