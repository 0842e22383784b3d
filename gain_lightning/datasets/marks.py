"""The marks of annotation files are kept as outlines and runs, and drawn when a mask is needed.

All marks of a data set lie in a few arrays, since worker processes would copy Python lists page by page. What fills an
outline is ``pycocotools``, so that masks are those that COCO's own tools make, pixel for pixel.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.class_masks import ClassMasks, stack_masks
from gain_lightning.datasets.images import turned

# The class of a mark that says nothing of any class.
NO_CLASS = -1
# Outlines that reach further out than this many pictures are no slip of the hand, and would be drawn for hours.
FAR = 10


@dataclass(frozen=True)
class Marks:
    """The marks on n pictures.

    A mark is drawn by its rings, by its runs, or not at all. One that is not drawn but has a box says that its class
    is somewhere in there. A void mark says that nothing is known there of its class, or of any.

    Attributes:
        picture: The number that the marks know each picture by, ``(n,)`` int.
        turn: How EXIF turns each picture if its marks are of the picture as it is stored; 1 where they are of the
            picture as it is shown, ``(n,)`` int.
        first: The place of each picture's first mark in ``order``, and the number of marks, ``(N + 1,)`` int.
        order: Marks by picture, ``(m,)`` int.
        class_idx: The class of each mark, :data:`NO_CLASS` for none, ``(m,)`` int.
        is_void: Whether a mark is void, ``(m,)`` bool.
        box: ``(xmin, ymin, xmax, ymax)`` of each mark, NaN without a box, ``(m, 4)`` float.
        ring_first: The first ring of each mark, and the number of rings, ``(m + 1,)`` int.
        point_first: The first number of each ring in ``points``, and their count, ``(r + 1,)`` int.
        points: x, y, x, y, ... of all rings, float.
        run_first: The first byte of each mark's compressed runs in ``runs``, and their count, ``(m + 1,)`` int.
        runs: COCO's compressed runs of all marks, uint8.
        in_shares: Whether boxes and rings are in shares of the picture's width and height, instead of pixels.
    """

    picture: np.ndarray
    turn: np.ndarray
    first: np.ndarray
    order: np.ndarray
    class_idx: np.ndarray
    is_void: np.ndarray
    box: np.ndarray
    ring_first: np.ndarray
    point_first: np.ndarray
    points: np.ndarray
    run_first: np.ndarray
    runs: np.ndarray
    in_shares: bool = False

    def take(self, rows: np.ndarray) -> "Marks":
        """Return the marks of some pictures, in the order of ``rows``."""
        return replace(self, picture=self.picture[rows], turn=self.turn[rows])

    def class_masks(self, row: int, size: tuple[int, ...]) -> ClassMasks:
        """Draw what a picture's marks say of every class that somebody drew.

        Args:
            row: The number of the picture.
            size: Height and width of the picture as it is shown.
        """
        size, frame = tuple(size), self._frame(row, size)
        void: dict[int, list[dict[str, Any]]] = {}
        body: dict[int, list[dict[str, Any]]] = {}
        # a class of which all is void is known not to be elsewhere
        known: set[int] = set()
        for mark in self._marks_of(row):
            class_idx = int(self.class_idx[mark])
            runs, is_drawn = self._runs(mark, frame)
            if runs is not None:
                kind = body if is_drawn and not self.is_void[mark] else void
                kind.setdefault(class_idx, []).append(runs)
                known |= {class_idx} if is_drawn or self.is_void[mark] else set()
        masks = {}
        for class_idx in sorted(known - {NO_CLASS}):
            mask = np.full(frame, NO, np.uint8)
            mask[_union(void.get(class_idx, []) + void.get(NO_CLASS, []), frame)] = VOID
            mask[_union(body.get(class_idx, []), frame)] = YES
            if (mask == YES).any() or class_idx not in body:
                masks[class_idx] = turned(mask, int(self.turn[row]))
        return stack_masks(masks, size)

    def index_mask(self, row: int, size: tuple[int, ...], label: np.ndarray) -> np.ndarray:
        """Draw one mask of class indices, to look at or to score a segmentation by.

        Where objects overlap, the smaller lies in front. Background is where every labelled class is known not to be.

        Args:
            row: The number of the picture.
            size: Height and width of the picture as it is shown.
            label: Above 0 where a class is present, ``(C,)``.

        Returns:
            0 background, 1..C class, 255 unknown, ``(H, W)`` uint8.
        """
        size, frame = tuple(size), self._frame(row, size)
        masks = self.class_masks(row, size)
        is_known = set(np.flatnonzero(label > 0)) <= set(masks.class_idx.tolist())
        index = np.full(frame, 0 if is_known else VOID, np.uint8)
        objects = []
        for mark in self._marks_of(row):
            runs, is_drawn = self._runs(mark, frame)
            if runs is not None and is_drawn and not self.is_void[mark]:
                objects.append((int(coco_mask.area(runs)), mark, runs))
            elif runs is not None:
                index[coco_mask.decode(runs) > 0] = VOID
        for _, mark, runs in sorted(objects, key=lambda one: -one[0]):
            # a class beyond the 254th has no index and stays unknown
            index[coco_mask.decode(runs) > 0] = min(self.class_idx[mark] + 1, VOID)
        return turned(index, int(self.turn[row]))

    def _marks_of(self, row: int) -> list[int]:
        number = self.picture[row]
        return self.order[self.first[number] : self.first[number + 1]].tolist()

    def _frame(self, row: int, size: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of the picture that the marks are of."""
        height, width = size
        return (width, height) if self.turn[row] >= 5 else (height, width)

    def _runs(self, mark: int, frame: tuple[int, int]) -> tuple[dict[str, Any] | None, bool]:
        """Return COCO's runs of a mark, None without any; and whether somebody drew it, or only its box is known."""
        height, width = frame
        scale = np.array([width, height] if self.in_shares else [1, 1], np.float64)
        limit = FAR * max(frame)
        first, last = self.ring_first[mark : mark + 2].tolist()
        if last > first:
            rings = [
                (self.points[start:end].reshape(-1, 2) * scale).clip(-limit, limit).ravel()
                for start, end in zip(
                    self.point_first[first:last].tolist(),
                    self.point_first[first + 1 : last + 1].tolist(),
                    strict=True,
                )
            ]
            return coco_mask.merge(coco_mask.frPyObjects(rings, height, width)), True
        start, end = self.run_first[mark : mark + 2].tolist()
        if end > start:
            return {"size": [height, width], "counts": self.runs[start:end].tobytes()}, True
        if np.isnan(self.box[mark]).any():
            return None, False
        low, high = np.clip((self.box[mark].reshape(2, 2) * scale), 0, (width, height))
        box = np.array([[*low, *(high - low)]], np.float64)
        return coco_mask.frPyObjects(box, height, width)[0], False


def _union(runs: list[dict[str, Any]], frame: tuple[int, int]) -> np.ndarray:
    """Draw all pixels that any of some runs has, ``(H, W)`` bool."""
    if not runs:
        return np.zeros(frame, bool)
    drawn: np.ndarray = coco_mask.decode(coco_mask.merge(runs))
    return drawn > 0
