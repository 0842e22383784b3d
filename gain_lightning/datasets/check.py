"""Look through a listing before training: every problem with its file, in the words of the error it would be."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning import VOID
from gain_lightning.datasets.images import check_image
from gain_lightning.datasets.listing import Listing

NUM_SHOWN = 10  # problems that an error spells out


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
    """Read masks: wrong size, no class index, and, if they should ``agree`` with the labels, a class too many or none.

    Args:
        listing: With the pictures' sizes; pictures of unknown size are passed over.
        rows: Which pictures; None takes all.
        agree: Whether a mask's classes must be among its picture's label.

    Returns:
        The listing, ``has_mask`` now of the classes that masks show and not only could; and the problems.
    """
    rows = np.arange(len(listing)) if rows is None else np.asarray(list(rows), int)
    rows = rows[listing.is_drawn[rows] & (listing.size[rows] > 0).all(1)]

    has_mask = listing.has_mask.copy()

    def look(row: int) -> list[Problem]:
        mask = listing.mask(row, tuple(listing.size[row]))
        shown = np.bincount(mask.ravel(), minlength=256)[1:VOID] > 0
        has_mask[row] &= shown[: has_mask.shape[1]]
        if not agree:
            return []
        present = np.flatnonzero(shown)
        path = listing.mask_path(row, int(listing.has_mask[row].argmax()))
        surplus = [listing.class_names[idx] for idx in present if not listing.labels[row, idx]]
        found = [
            Problem(path, 0, f"shows {name}, which the label of {listing.ids[row]} lacks") for name in surplus
        ]
        if not len(present) and listing.labels[row].any():
            hint = (
                "; its 255 is not labelled, a mask of one class lies in masks/CLASS/" if VOID in mask else ""
            )
            what = f"shows no pixel of a class, but {listing.ids[row]} has a label{hint}"
            found.append(Problem(path, 0, what))
        return found

    found, problems = _look(rows, listing.mask_path, look)
    problems += [problem for some in found for problem in some or []]
    return replace(listing, has_mask=has_mask), problems


def check_boxes(
    listing: Listing, place: Callable[[int], tuple[Path, int]], *, margin: float = 0
) -> list[Problem]:
    """Boxes that reach beyond their picture.

    Args:
        listing: With the pictures' sizes.
        place: File and line that a box comes from, by its number.
        margin: How far they may, pixels.
    """
    height, width = listing.size[listing.box_row].T
    xmin, ymin, xmax, ymax = listing.box_corners.T
    outside = (np.minimum(xmin, ymin) < -margin) | (xmax > width + margin) | (ymax > height + margin)
    return [
        Problem(
            *place(box),
            f"box {tuple(listing.box_corners[box].tolist())} reaches beyond {listing.ids[listing.box_row[box]]} "
            f"({width[box]} x {height[box]} pixels)",
        )
        for box in np.flatnonzero(outside & (width > 0)).tolist()
    ]


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
