"""Masks are checked against their pictures, their labels and each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gain_lightning.constants import VOID, YES
from gain_lightning.datasets.check import Problem, look_at
from gain_lightning.datasets.listing import Listing
from gain_lightning.drawing.palette import voc_palette

_INDICES_HINT = (
    "; its 255 is not labelled: a mask of one class lies in masks/CLASS/, and one of where it is not in "
    "masks/not CLASS/"
)


class _Seen(NamedTuple):
    """What the mask files of a picture show.

    Attributes:
        shown: The classes with a pixel, ``(C,)`` bool.
        colours: The colour that the palette has for each index of the pixels; empty without a palette.
        problems: What is wrong with the palette.
        hint: What may be meant where no class is shown.
    """

    shown: np.ndarray
    colours: dict[int, tuple[int, ...]]
    problems: list[Problem]
    hint: str


def check_masks(listing: Listing, *, agree: bool) -> tuple[Listing, list[Problem]]:
    """Read every mask.

    A mask has a problem if its size is not its picture's, if an index is no class, if it is painted in the colours of
    other indices, if it shows no class at all, or if it shows classes that the label lacks.

    Args:
        listing: The pictures with their sizes; those of unknown size are passed over.
        agree: Whether all of a mask's classes must be among its picture's label. Otherwise one of them must be,
            and a picture without any label has nothing that a mask could contradict.

    Returns:
        The listing, whose ``has_mask`` now has the classes that masks do show; and the problems.
    """
    rows = np.flatnonzero(listing.is_drawn & (listing.size > 0).all(1))
    see = _see_class_masks if "{class_name}" in listing.mask_pattern else _see_index_mask
    found, problems = look_at(rows, listing.mask_path, lambda row: see(listing, row))
    seen = {row: one for row, one in zip(rows.tolist(), found, strict=True) if one is not None}
    has_mask = listing.has_mask.copy()
    painted: dict[Path, dict[int, tuple[int, ...]]] = {}
    for row, one in seen.items():
        has_mask[row] &= one.shown
        painted[listing.mask_path(row)] = one.colours
        problems += one.problems + _against_label(listing, row, one, agree=agree)
    return replace(listing, has_mask=has_mask), problems + check_palettes_agree(painted)


def _see_class_masks(listing: Listing, row: int) -> _Seen:
    """Read the masks of a picture whose classes have files of their own."""
    masks = listing.class_masks(row, tuple(listing.size[row]))
    shown = np.zeros(len(listing.class_names), bool)
    if masks is not None:
        shown[masks.class_idx] = (masks.mask == YES).any((1, 2))
    return _Seen(shown, {}, [], "")


def _see_index_mask(listing: Listing, row: int) -> _Seen:
    """Read the mask of class indices of a picture."""
    path = listing.mask_path(row)
    present = np.bincount(listing.index_mask(row, tuple(listing.size[row])).ravel(), minlength=256) > 0
    palette, indices = _colours(path), np.flatnonzero(present)
    problems = check_palette(path, palette, indices, listing.class_names)
    # a palette that is known to be wrong says nothing of the others
    colours = {} if problems else {index: palette[index] for index in indices.tolist() if index in palette}
    shown = present[1 : len(listing.class_names) + 1]
    return _Seen(shown, colours, problems, _INDICES_HINT if present[VOID] else "")


def _against_label(listing: Listing, row: int, seen: _Seen, *, agree: bool) -> list[Problem]:
    """Find where the masks of a picture contradict its label."""
    image_id, labelled = listing.ids[row], listing.labels[row] > 0
    path = listing.mask_path(row, int(listing.has_mask[row].argmax()))
    denied = np.zeros_like(labelled) if listing.has_not is None else listing.has_not[row]
    problems = [
        Problem(
            listing.not_path(row, idx),
            0,
            f"of {listing.class_names[idx]}, which the label of {image_id} lacks",
        )
        for idx in np.flatnonzero(denied & ~labelled).tolist()
    ]
    if agree or (labelled.any() and not ((seen.shown | denied) & labelled).any()):
        problems += [
            Problem(path, 0, f"shows {listing.class_names[idx]}, which the label of {image_id} lacks")
            for idx in np.flatnonzero(seen.shown & ~labelled).tolist()
        ]
    if labelled.any() and not (seen.shown | denied).any():
        what = f"shows no pixel of a class, but {image_id} has a label{seen.hint}"
        problems.append(Problem(path, 0, what))
    return problems


def _colours(path: Path) -> dict[int, tuple[int, ...]]:
    """Read the colour that a mask's palette has for every index; there is none without a palette."""
    # this reads the header alone, where Pillow's getpalette would decode the pixels
    with Image.open(path) as image:
        palette = image.palette.getdata()[1] if image.mode == "P" and image.palette else b""
    return dict(enumerate(zip(*[iter(palette)] * 3, strict=True)))


def check_palettes_agree(painted: dict[Path, dict[int, tuple[int, ...]]]) -> list[Problem]:
    """Find masks that paint an index in the colour which most of the others have for another index.

    Such masks come from a tool that gives every mask a palette of its own, in the order in which it meets the classes:
    an index then means another class in every file.

    Args:
        painted: The colours of the indices that each mask's pixels have. A mask that paints two indices in one colour
            says nothing.

    Returns:
        A problem for each mask that differs from what most have.
    """
    painted = {
        path: colours for path, colours in painted.items() if len(set(colours.values())) == len(colours)
    }
    counts: dict[tuple[int, ...], Counter[int]] = {}
    for colours in painted.values():
        for index, colour in colours.items():
            counts.setdefault(colour, Counter())[index] += 1
    usual = {colour: count.most_common(1)[0][0] for colour, count in counts.items()}
    moved = {
        path: next((index for index, colour in colours.items() if usual[colour] != index), None)
        for path, colours in painted.items()
    }
    return [
        Problem(
            path,
            0,
            f"paints index {index} in the colour that most masks have for index {usual[painted[path][index]]}: "
            "the colours or the indices are wrong; expected one palette for all masks, or grey PNG of indices",
        )
        for path, index in moved.items()
        if index is not None
    ]


def check_palette(
    path: Path, colours: dict[int, tuple[int, ...]], present: np.ndarray, class_names: Sequence[str]
) -> list[Problem]:
    """Find out whether a mask is painted in VOC's colours, but in those of other indices.

    A tool that sorts or shortens a palette moves the pixels' indices along with the colours: the picture looks
    the same, and every index means another class. Palettes of other colours say nothing.

    Args:
        path: The file of the mask, which holds class indices.
        colours: The colour that its palette has for every index.
        present: The indices that its pixels have, ascending.
        class_names: Names of the C classes.

    Returns:
        A list of one problem or of none.
    """
    names = {0: "background", **dict(enumerate(class_names, start=1)), VOID: "void"}
    index_of = {tuple(colour): index for index, colour in enumerate(voc_palette().tolist()) if index in names}
    meant = {index: index_of.get(colours.get(index, ())) for index in present.tolist()}
    moved = [(index, other) for index, other in meant.items() if other is not None and index != other]
    if not moved or None in meant.values() or len(set(meant.values())) < len(meant):
        return []
    index, other = moved[0]
    return [
        Problem(
            path,
            0,
            f"its index {index} ({names[index]}) is painted in VOC's colour of {other} ({names[other]}): its palette "
            "was reordered, so the colours or the indices are wrong; expected VOC's order, or a grey PNG of indices",
        )
    ]
