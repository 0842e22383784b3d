"""Problems of a data set are found before training, in the words of the error that each would become."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gain_lightning.datasets.images import check_image
from gain_lightning.datasets.listing import Listing

# An error spells out so many problems.
NUM_SHOWN = 10


class Problem(NamedTuple):
    """Something is wrong with a file of a data set; ``line`` counts from 1 and is 0 where there is none."""

    file: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


def stop_at(problems: list[Problem], root: Path) -> None:
    """Raise a ``ValueError`` that names the first problems, if there is a problem."""
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
        The listing with the pictures' sizes, and what is wrong. Damage inside a picture shows only when it is read.
    """
    sizes, problems = look_at(
        range(len(listing)), listing.image_path, lambda row: check_image(listing.image_path(row))
    )
    size = np.array([size or (0, 0) for size in sizes], np.int32).reshape(-1, 2)
    return replace(listing, size=size), problems


def _problem(text: str, default: Path) -> Problem:
    """Make a problem of an error that begins with its file, whose name may hold a colon itself."""
    parts = text.split(": ")
    for count in range(1, len(parts)):
        file = ": ".join(parts[:count])
        if os.path.lexists(file):
            return Problem(Path(file), 0, ": ".join(parts[count:]))
    return Problem(default, 0, text)


def look_at(
    rows: Iterable[int], path_of: Callable[[int], Path], look: Callable[[int], Any]
) -> tuple[list[Any], list[Problem]]:
    """Call ``look`` for each row; return its results, None where it fails, and the failures."""
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
