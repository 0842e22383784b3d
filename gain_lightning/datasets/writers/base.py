"""What a picture and its marks are to a writer, and what every writer has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gain_lightning.constants import VOID
from gain_lightning.support.names import composed

if TYPE_CHECKING:
    from gain_lightning.datasets.sample import PictureSet


class MarkedPicture(NamedTuple):
    """A picture with at most one mark of each class.

    Attributes:
        name: Its path below the folder of pictures, with ``/`` between folders.
        size: Its height and width as EXIF turns it, pixels.
        labels: The indices of the classes that it shows, whether or not they have a mark.
        marks: The pixels of classes by their index, ``(H, W)`` bool each.
        unknown: The pixels of which nothing is known, ``(H, W)`` bool; None where all is known.
    """

    name: str
    size: tuple[int, int]
    labels: Sequence[int]
    marks: Mapping[int, np.ndarray]
    unknown: np.ndarray | None = None


class MarkWriter:
    """Writes the marks of pictures in one format; nothing of them stays in memory but their codes.

    Args:
        out: The folder to write to.
        class_names: The names of the C classes.
        pictures: The folder of the pictures.
        source: What drew the marks, in words.
    """

    def __init__(self, out: Path, class_names: Sequence[str], pictures: Path, source: str) -> None:
        self.out, self.pictures, self.source = out, pictures, source
        self.class_names = [composed(name) for name in class_names]

    def add(self, picture: MarkedPicture) -> None:
        """Add a picture with its marks."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write the files that hold all pictures, each whole or not at all."""


def names_of(images: "PictureSet") -> tuple[Path | None, list[str]]:
    """Return the folder of the files of a set of pictures, and the name of each below it.

    Pictures that are in no files have no folder; their names are those that files of them would have.
    """
    listing = getattr(images, "listing", None)
    if listing is None:
        return None, [f"{image_id}.png" for image_id in images.ids]
    folder = listing.root / listing.image_pattern.partition("{id}")[0]
    paths = [listing.image_path(row) for row in range(len(listing))]
    return folder, [path.relative_to(folder).as_posix() for path in paths]


def of_index_mask(name: str, mask: np.ndarray, labels: Sequence[int]) -> MarkedPicture:
    """Make the marks of a mask of class indices.

    Args:
        name: See :class:`MarkedPicture`, as of ``labels``.
        mask: 0 background, 1..C class, 255 unknown, ``(H, W)`` uint8.
        labels: The classes that the picture shows; those of the mask are added.

    Example:
        >>> picture = of_index_mask("a.png", np.array([[0, 2, 255]], np.uint8), [0])
        >>> picture.labels, picture.marks[1].tolist(), picture.unknown.tolist()
        ([0, 1], [[False, True, False]], [[False, False, True]])
    """
    present = [int(index) - 1 for index in np.unique(mask) if index not in (0, VOID)]
    unknown = mask == VOID
    height, width = mask.shape
    return MarkedPicture(
        name,
        (height, width),
        sorted({*labels, *present}),
        {class_idx: mask == class_idx + 1 for class_idx in present},
        unknown if unknown.any() else None,
    )


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box of a mask that has a pixel: its first row and column, and the row and column behind its last.

    Example:
        >>> box_of(np.array([[0, 0, 0], [0, 1, 1]], bool))
        (1, 1, 2, 3)
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def run_lengths(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the value and the length of every run of equal values, ``(n,)``.

    Example:
        >>> [runs.tolist() for runs in run_lengths(np.array([1, 1, 0]))]
        [[1, 0], [2, 1]]
    """
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] + 1))
    return values[starts], np.diff(starts, append=len(values))
