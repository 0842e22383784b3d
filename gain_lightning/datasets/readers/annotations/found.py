"""What a reader of annotations finds in its files is gathered here, mark by mark, and checked as it comes.

A reader calls :meth:`Found.picture` for every picture and :meth:`Found.mark` for every mark. What is wrong becomes a
problem with its file and key, and what is used otherwise than it is written is counted.
"""

import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.marks import NO_CLASS, Marks
from gain_lightning.support.names import composed

# A ring of fewer points has no area.
_FEWEST = 3
_NO_BOX = (math.nan,) * 4
# No picture that is read is larger.
MOST_PIXELS = 1 << 30


class Picture(NamedTuple):
    """A picture that a file of annotations names.

    Attributes:
        names: What the file calls it: paths or addresses in any form, the likeliest first.
        file: The file that names it.
        key: Where the file does.
        size: Height and width that the file gives; None where it does not.
        split: The split that the file gives; empty without one.
        looked_at: Whether a person looked at it; None where the file does not say.
    """

    names: tuple[str, ...]
    file: Path
    key: str
    size: tuple[int, int] | None
    split: str
    looked_at: bool | None


class Found:
    """Pictures, labels and marks that a reader finds.

    Args:
        root: The file or folder of the annotations.
        in_shares: Whether boxes and rings are in shares of the picture's width and height, instead of pixels.

    Attributes:
        pictures: The pictures in the order in which they came.
        class_names: The names of the classes in the order in which they came.
        labels: The picture and the class of every label that is no mark's.
        keys: The key of every mark.
        problems: What is wrong.
    """

    def __init__(self, root: Path, *, in_shares: bool = False) -> None:
        self.root = root
        self.in_shares = in_shares
        self.pictures: list[Picture] = []
        self.class_names: dict[str, int] = {}
        self.labels: set[tuple[int, int]] = set()
        self.keys: list[str] = []
        self.problems: list[Problem] = []
        self._counts: dict[str, tuple[int, str]] = {}
        self._picture, self._class, self._void = array("i"), array("i"), array("b")
        self._box, self._points = array("d"), array("d")
        self._rings, self._point_ends = array("q", [0]), array("q", [0])
        self._runs, self._run_ends = bytearray(), array("q", [0])
        # height and width of each mark's runs; 0 without
        self._run_size = array("i")

    def class_idx(self, name: str) -> int:
        """Return the number of a class, which is new if nobody named it yet."""
        known = self.class_names.get(name)
        return (
            self.class_names.setdefault(composed(name.strip()), len(self.class_names))
            if known is None
            else known
        )

    def picture(
        self,
        *names: str,
        file: Path,
        key: str = "",
        size: tuple[int, int] | None = None,
        split: str = "",
        looked_at: bool | None = None,
    ) -> int:
        """Add a picture; see :class:`Picture`.

        Returns:
            Its number, by which labels and marks name it.
        """
        if size is not None and not (min(size) > 0 and max(size) <= MOST_PIXELS >= size[0] * size[1]):
            self.problem(file, key, f"a picture of {size[1]} x {size[0]} pixels")
            size = None
        self.pictures.append(Picture(names, file, key, size, split, looked_at))
        return len(self.pictures) - 1

    def sort_classes(self) -> None:
        """Put the classes in the order of their names, numbers by their value, where files give no order."""
        names = sorted(
            self.class_names,
            key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name),
        )
        new = {self.class_names[name]: place for place, name in enumerate(names)} | {NO_CLASS: NO_CLASS}
        self.class_names = {name: place for place, name in enumerate(names)}
        self.labels = {(picture, new[number]) for picture, number in self.labels}
        self._class = array("i", (new[number] for number in self._class))

    def label(self, picture: int, class_name: str) -> None:
        """Say that a picture shows a class, wherever."""
        self.labels.add((picture, self.class_idx(class_name)))

    def mark(
        self,
        picture: int,
        class_name: str | None,
        *,
        key: str,
        rings: Sequence[Sequence[float] | np.ndarray] = (),
        runs: dict[str, Any] | None = None,
        box: Sequence[float] | None = None,
        is_void: bool = False,
    ) -> None:
        """Add an object, or a region of which nothing is known. What is wrong with it becomes a problem.

        Args:
            picture: The number of its picture.
            class_name: Its class, which becomes a label of the picture; None is a void region of any class.
            key: Where the file says it.
            rings: Outlines x, y, x, y, ... of its parts, which together are the object.
            runs: Or COCO's runs of its pixels, ``{"size": [h, w], "counts": ...}``, compressed or not;
                ``pycocotools.mask.encode`` makes them of a mask.
            box: ``(xmin, ymin, xmax, ymax)``.
            is_void: Whether its pixels are unknown, as those of a crowd are.
        """
        file = self.pictures[picture].file
        class_idx = NO_CLASS if class_name is None else self.class_idx(class_name)
        try:
            packed = _packed_runs(runs) if runs is not None else None
            flat = [_ring(ring) for ring in rings]
            corners = None if box is None else _corners(box)
        except ValueError as error:
            self.problem(file, key, str(error))
            packed, flat, corners = None, [], None
        outlines = [ring for ring in flat if len(ring) >= 2 * _FEWEST]
        if len(outlines) < len(flat):
            what = f"outlines have fewer than {_FEWEST} points and are left out"
            self.count(what, file, key, len(flat) - len(outlines))
        if corners is not None and not (corners[0] < corners[2] and corners[1] < corners[3]):
            self.count("boxes have no area and are left out", file, key)
            corners = None
        self._picture.append(picture)
        self._class.append(class_idx)
        self._void.append(is_void or class_name is None)
        self._box.extend(_NO_BOX if corners is None else corners)
        for ring in outlines if packed is None else ():
            self._points.extend(ring)
            self._point_ends.append(len(self._points))
        self._rings.append(len(self._point_ends) - 1)
        self._runs += packed["counts"] if packed else b""
        self._run_ends.append(len(self._runs))
        self._run_size.extend(packed["size"] if packed else (0, 0))
        self.keys.append(key)

    def problem(self, file: Path, key: str, what: str) -> None:
        """Say what is wrong at a key of a file."""
        self.problems.append(Problem(file, 0, f"{key}: {what}" if key else what))

    def count(self, what: str, file: Path, key: str, times: int = 1) -> None:
        """Count something that is used otherwise than it is written; the first is named."""
        number, first = self._counts.get(what, (0, f"{file}: {key}" if key else str(file)))
        self._counts[what] = number + times, first

    @property
    def changes(self) -> tuple[str, ...]:
        """What is used otherwise than it is written, with counts."""
        return tuple(
            f"{number} {what}, the first at {first}" for what, (number, first) in self._counts.items()
        )

    @property
    def label_pairs(self) -> np.ndarray:
        """The picture and the class of every label, those of marks too, ``(k, 2)``."""
        marked = np.stack([self.mark_picture, np.frombuffer(self._class, np.int32)], 1)
        said = np.array(sorted(self.labels), np.int32).reshape(-1, 2)
        return np.concatenate([marked[marked[:, 1] != NO_CLASS], said])

    @property
    def marked(self) -> set[int]:
        """The numbers of the pictures with a mark."""
        return set(self._picture)

    @property
    def mark_picture(self) -> np.ndarray:
        """The number of the picture of each mark, ``(m,)``."""
        return np.frombuffer(self._picture, np.int32)

    @property
    def run_sizes(self) -> np.ndarray:
        """Height and width that the runs of each mark have, 0 without runs, ``(m, 2)``."""
        return np.frombuffer(self._run_size, np.int32).reshape(-1, 2)

    def marks(self) -> Marks:
        """Gather all marks; their pictures are those of :attr:`pictures`, not yet turned."""
        picture = self.mark_picture
        order = np.argsort(picture, kind="stable").astype(np.int32)
        numbers = np.arange(len(self.pictures) + 1)
        return Marks(
            picture=numbers[:-1],
            turn=np.ones(len(self.pictures), np.int8),
            first=np.searchsorted(picture[order], numbers),
            order=order,
            class_idx=np.frombuffer(self._class, np.int32),
            is_void=np.frombuffer(self._void, bool),
            box=np.frombuffer(self._box).reshape(-1, 4),
            ring_first=np.frombuffer(self._rings, np.int64),
            point_first=np.frombuffer(self._point_ends, np.int64),
            points=np.frombuffer(self._points),
            run_first=np.frombuffer(self._run_ends, np.int64),
            runs=np.frombuffer(self._runs, np.uint8),
            in_shares=self.in_shares,
        )


def _ring(ring: Sequence[float] | np.ndarray) -> "array[float]":
    """Check an outline, whose last point may repeat its first."""
    # a hundred thousands of these are read in a second, which numpy does not do
    points = array("d", ring)
    if len(points) % 2:
        raise ValueError(f"an outline of {len(points)} numbers, expected x, y, x, y, ...")
    if not math.isfinite(sum(points)):
        raise ValueError("an outline with a number that is not finite")
    is_closed = len(points) == 2 * _FEWEST and points[:2] == points[-2:]
    return points[:-2] if is_closed else points


def _corners(box: Sequence[float]) -> Sequence[float]:
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(f"a box of {tuple(box)}, expected four finite numbers")
    if box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f"a box of {tuple(box)}, whose right or lower side lies before the other")
    return box


def _packed_runs(runs: dict[str, Any]) -> dict[str, Any]:
    """Check COCO's runs and compress them if they are not. ``pycocotools`` itself may crash on runs that are wrong."""
    size, counts = runs["size"], runs["counts"]
    height, width = size
    if min(size) < 1:
        raise ValueError(f"runs of {width} x {height} pixels")
    if isinstance(counts, (list, tuple)):
        try:
            lengths = np.asarray(counts, np.int64)
        except OverflowError as error:
            raise ValueError("runs with a number that is too large") from error
        packed = None
    else:
        packed = counts.encode() if isinstance(counts, str) else bytes(counts)
        lengths = _lengths(packed)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(
            f"runs that cover {lengths.sum()} pixels, expected {height} x {width} = {height * width}"
        )
    if packed is None:
        return coco_mask.frPyObjects({"size": list(size), "counts": lengths.tolist()}, height, width)
    return {"size": list(size), "counts": packed}


def _lengths(packed: bytes) -> np.ndarray:
    """Read the lengths of compressed runs.

    Five bits stand in a letter, a sixth says that the number goes on. From the third on a number is what a run is
    longer than the last but one.
    """
    letters = np.frombuffer(packed, np.uint8).astype(np.int64) - 48
    if not len(letters) or (letters < 0).any() or (letters > 63).any() or letters[-1] & 32:
        raise ValueError("compressed runs with letters that are none of COCO's")
    ends = np.flatnonzero(letters & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:
        raise ValueError("compressed runs with a number that is too long")
    place = np.arange(len(letters)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((letters & 31) << (5 * place), starts)
    # the highest bit is the sign
    values = np.where(letters[ends] & 16, values - (1 << (5 * (ends - starts + 1))), values)
    lengths = values.copy()
    for parity in (1, 2):
        lengths[parity::2] = np.cumsum(values[parity::2])
    return lengths
