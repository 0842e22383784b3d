"""Look through a listing before training: every problem with its file, in the words of the error it would be."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gain_lightning.constants import VOID, YES
from gain_lightning.datasets.images import check_image
from gain_lightning.datasets.listing import Listing
from gain_lightning.drawing.palette import voc_palette

NUM_SHOWN = 10  # problems that an error spells out
_WHOLES = {100: "percent", 1000: "thousandths"}  # what boxes may be parts of, and what such parts are called


class Problem(NamedTuple):
    """Something wrong with a file of a data set; ``line`` counts from 1, 0 where there is none."""

    file: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


def stop_at(problems: list[Problem], root: Path) -> None:
    """Raise a ValueError that names the first problems, if there is one."""
    if not problems:
        return
    shown = "\n  ".join(str(problem) for problem in problems[:NUM_SHOWN])
    more = f"\n  and {len(problems) - NUM_SHOWN} more" if len(problems) > NUM_SHOWN else ""
    plural = "problem" if len(problems) == 1 else "problems"
    raise ValueError(
        f"{len(problems)} {plural} in {root}; `gain data check {root}` lists them:\n  {shown}{more}"
    )


def check_images(listing: Listing) -> tuple[Listing, list[Problem]]:
    """Look at every picture's header and end, without decoding it.

    Returns:
        The listing with the pictures' sizes, and what is wrong. A picture that is damaged only inside is
        found when it is read.
    """
    sizes, problems = _look(
        range(len(listing)), listing.image_path, lambda row: check_image(listing.image_path(row))
    )
    size = np.array([size or (0, 0) for size in sizes], np.int32).reshape(-1, 2)
    return replace(listing, size=size), problems


def check_masks(
    listing: Listing, *, rows: Iterable[int] | None = None, agree: bool
) -> tuple[Listing, list[Problem]]:
    """Read masks: wrong size, no class index, colours of other indices, classes that the label lacks, or none of it.

    Args:
        listing: With the pictures' sizes; pictures of unknown size are passed over.
        rows: Which pictures; None takes all.
        agree: Whether all of a mask's classes must be among its picture's label. Otherwise one of them must be,
            and a picture without any label has nothing that a mask could contradict.

    Returns:
        The listing, ``has_mask`` now of the classes that masks show and not only could; and the problems.
    """
    rows = np.arange(len(listing)) if rows is None else np.asarray(list(rows), int)
    rows = rows[listing.is_drawn[rows] & (listing.size[rows] > 0).all(1)]

    has_mask = listing.has_mask.copy()
    painted: dict[Path, dict[int, tuple[int, ...]]] = {}
    by_class = "{class_name}" in listing.mask_pattern
    class_names = np.array(listing.class_names)

    def look(row: int) -> list[Problem]:
        size, found, hint = tuple(listing.size[row]), [], ""
        path = listing.mask_path(row, int(listing.has_mask[row].argmax()))
        if by_class:
            masks = listing.class_masks(row, size)
            shown = np.zeros(len(class_names), bool)
            shown[masks.class_idx] = (masks.mask == YES).any((1, 2))
        else:
            present = np.bincount(listing.index_mask(row, size).ravel(), minlength=256) > 0
            shown = present[1 : len(class_names) + 1]
            colours = _colours(path)
            indices = np.flatnonzero(present)
            found += check_palette(path, colours, indices, listing.class_names)
            if not found:
                painted[path] = {index: colours[index] for index in indices.tolist() if index in colours}
            if present[VOID]:
                hint = (
                    "; its 255 is not labelled: a mask of one class lies in masks/CLASS/, and one of where it is "
                    "not in masks/not CLASS/"
                )
        has_mask[row] &= shown
        labelled = listing.labels[row] > 0
        denied = shown & False if listing.has_not is None else listing.has_not[row]
        found += [
            Problem(
                listing.not_path(row, idx),
                0,
                f"of {class_names[idx]}, which the label of {listing.ids[row]} lacks",
            )
            for idx in np.flatnonzero(denied & ~labelled).tolist()
        ]
        if agree or (labelled.any() and not ((shown | denied) & labelled).any()):
            found += [
                Problem(path, 0, f"shows {name}, which the label of {listing.ids[row]} lacks")
                for name in class_names[shown & ~labelled]
            ]
        if labelled.any() and not (shown | denied).any():
            what = f"shows no pixel of a class, but {listing.ids[row]} has a label{hint}"
            found.append(Problem(path, 0, what))
        return found

    found, problems = _look(rows, listing.mask_path, look)
    problems += [problem for some in found for problem in some or []]
    problems += check_palettes_agree(painted)
    return replace(listing, has_mask=has_mask), problems


def _colours(path: Path) -> dict[int, tuple[int, ...]]:
    """The colour that a mask's palette has for every index; none without a palette."""
    with Image.open(path) as image:  # its header alone; Pillow's getpalette decodes the pixels
        palette = image.palette.getdata()[1] if image.mode == "P" and image.palette else b""
    return dict(enumerate(zip(*[iter(palette)] * 3, strict=True)))


def check_palettes_agree(painted: dict[Path, dict[int, tuple[int, ...]]]) -> list[Problem]:
    """Masks that paint an index in the colour which most of the others have for another one.

    A tool that gives every mask a palette of its own, in the order of what it meets, gives its indices another meaning
    in every file.

    Args:
        painted: The colours of the indices that each mask's pixels have. Masks of which two indices have one colour
            say nothing.

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
    """Whether a mask is painted in VOC's colours, but in those of other indices.

    A tool that sorts or shortens a palette moves the pixels' indices along with the colours: the picture looks
    the same, and every index means another class. Palettes of other colours say nothing.

    Args:
        path: A mask of class indices.
        colours: What its palette has for every index.
        present: The indices that its pixels have, ascending.
        class_names: Names of the C classes.

    Returns:
        One problem or none.
    """
    names = {0: "background", **dict(enumerate(class_names, start=1)), VOID: "void"}
    index_of = {tuple(colour): index for index, colour in enumerate(voc_palette().tolist()) if index in names}
    meant = {index: index_of.get(colours.get(index)) for index in present.tolist()}
    moved = [(index, other) for index, other in meant.items() if index != other]
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


def check_boxes(
    listing: Listing, place: Callable[[int], tuple[Path, int]], *, margin: float = 0, first: int = 0
) -> list[Problem]:
    """Boxes that reach beyond their picture, or are not in pixels.

    Args:
        listing: With the pictures' sizes.
        place: File and line that a box comes from, by its number.
        margin: How far they may, pixels.
        first: What the file calls the first pixel, 0 or 1; messages quote the file.

    Returns:
        The problems; of boxes in percent or in thousandths, which only all of them together show, one.
    """
    size = listing.size[listing.box_row]
    corners = (listing.box_corners + np.array([first, first, 0, 0])).round(6)
    is_small = (corners[:, 2:] < 2).all(1)  # in the first pixel, or relative
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
    """Whether boxes are hardly in pixels: spread over 0..whole, and never beyond.

    In pixels, a side of ``width`` ends within 100 by chance in 100 of ``width`` cases. Boxes that all lie at one
    place, such as a mark in the corner of every picture, are no evidence.
    """
    if not len(corners) or corners.max() > whole or corners.min() < 0:
        return False
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    chance = np.minimum(1, whole / np.maximum(size, 1)).prod()
    return bool(chance < 1e-6 and (np.ptp(centre, axis=0) > 0.3 * whole).all())


def _problem(text: str, default: Path) -> Problem:
    """What an error that begins with its file says; names of files may hold a colon themselves."""
    parts = text.split(": ")
    for count in range(1, len(parts)):
        file = ": ".join(parts[:count])
        if os.path.lexists(file):
            return Problem(Path(file), 0, ": ".join(parts[count:]))
    return Problem(default, 0, text)


def _look(rows: Iterable[int], path_of: Callable, look: Callable) -> tuple[list, list[Problem]]:
    """What ``look`` gives for each row, None where it fails, and the failures."""
    rows = list(rows)

    def safely(row: int) -> tuple[object, Problem | None]:
        try:
            return look(row), None
        except FileNotFoundError as error:
            return None, Problem(Path(error.filename or path_of(row)), 0, "missing")
        except (OSError, ValueError) as error:
            return None, _problem(str(error), path_of(row))

    results = [safely(row) for row in rows]
    return [result for result, _ in results], [problem for _, problem in results if problem]
