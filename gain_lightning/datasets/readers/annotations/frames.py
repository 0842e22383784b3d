"""Marks are laid on their pictures: as tools show these, turned by EXIF or as stored, and within their borders."""

from dataclasses import replace

import numpy as np

from gain_lightning.datasets.images import Header
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.marks import FAR, NO_CLASS, Marks
from gain_lightning.datasets.readers.annotations.found import Found


def with_marks(listing: Listing, found: Found, kept: np.ndarray, headers: list[Header | None]) -> Listing:
    """Give a listing the sizes, boxes and marks of its pictures.

    Args:
        listing: The pictures, their labels known.
        found: Where the marks are, and where problems and changes go.
        kept: The number of each picture in ``found``, ``(n,)``.
        headers: What each picture's file says; None where it cannot be read.
    """
    if not len(listing):
        return listing
    size = np.array([header.size if header else (0, 0) for header in headers], np.int32).reshape(-1, 2)
    turn = np.array(
        [
            _turn(found, number, header) if header else 1
            for number, header in zip(kept.tolist(), headers, strict=True)
        ],
        np.int8,
    )
    marks = replace(found.marks(), picture=kept, turn=turn)
    row_of = np.full(len(found.pictures), -1)
    row_of[kept] = np.arange(len(kept))
    row = row_of[found.mark_picture]
    usable = np.flatnonzero((row >= 0) & (size[row] > 0).all(1))
    is_turned = (turn[row] >= 5)[:, None]
    frame = np.where(is_turned, size[row][:, ::-1], size[row])  # (m, 2), height and width
    _check_runs(found, usable, frame)
    _check_rings(found, marks, usable, frame)
    is_drawn = np.diff(marks.ring_first) + np.diff(marks.run_first) > 0
    has_mask = np.zeros(listing.labels.shape, bool)
    body = usable[(is_drawn & ~marks.is_void)[usable]]
    has_mask[row[body], marks.class_idx[body]] = True
    # regions of no class are no mask by themselves
    says = usable[((is_drawn | marks.is_void) & (marks.class_idx != NO_CLASS))[usable]]
    drawn = np.zeros(len(listing), bool)
    drawn[row[says]] = True
    listing = replace(listing, size=size, has_mask=has_mask, is_drawn=drawn, marks=marks)
    return _with_boxes(listing, found, marks, usable, row, frame)


def _turn(found: Found, number: int, header: Header) -> int:
    """Return how a picture's marks have to be turned: 1, or as EXIF says where they are of the picture as stored."""
    picture = found.pictures[number]
    shown = header.size
    stored = shown[::-1] if header.orientation >= 5 else shown
    if picture.size not in (None, shown, stored):
        assert picture.size is not None
        height, width = picture.size
        what = f"{width} x {height} pixels, but the picture has {shown[1]} x {shown[0]}"
        found.problem(picture.file, picture.key, what)
    is_stored = shown != stored and picture.size == stored
    return header.orientation if is_stored else 1


def _check_runs(found: Found, usable: np.ndarray, frame: np.ndarray) -> None:
    """Find runs of another size than their picture."""
    sizes = found.run_sizes
    wrong = usable[((sizes > 0).all(1) & (sizes != frame).any(1))[usable]]
    for mark in wrong.tolist():
        (height, width), (own_height, own_width) = frame[mark].tolist(), sizes[mark].tolist()
        what = f"runs of {own_width} x {own_height} pixels, but the picture has {width} x {height}"
        found.problem(found.pictures[found.mark_picture[mark]].file, found.keys[mark], what)


def _check_rings(found: Found, marks: Marks, usable: np.ndarray, frame: np.ndarray) -> None:
    """Find outlines that lie far from their picture."""
    if not len(marks.points):
        return
    far = np.maximum.reduceat(np.abs(marks.points), marks.point_first[:-1])  # (r,)
    mark_of = np.repeat(np.arange(len(marks.class_idx)), np.diff(marks.ring_first))
    limit = 1 if marks.in_shares else frame.max(1)[mark_of]
    wrong = np.unique(mark_of[far > FAR * limit])
    for mark in np.intersect1d(wrong, usable).tolist():
        unit = "shares" if marks.in_shares else "pixels"
        what = f"an outline that lies far from its picture: expected {unit} of it"
        found.problem(found.pictures[found.mark_picture[mark]].file, found.keys[mark], what)


def _with_boxes(
    listing: Listing, found: Found, marks: Marks, usable: np.ndarray, row: np.ndarray, frame: np.ndarray
) -> Listing:
    """Give a listing the boxes of the marks, clipped to their pictures and turned."""
    boxed = usable[(~np.isnan(marks.box[:, 0]) & ~marks.is_void & (marks.class_idx != NO_CLASS))[usable]]
    boxed = boxed[np.argsort(row[boxed], kind="stable")]
    sides = frame[boxed][:, ::-1].astype(np.float64)  # (b, 2), width and height
    corners = marks.box[boxed] * (np.tile(sides, 2) if marks.in_shares else 1)
    inside = np.clip(corners, 0, np.tile(sides, 2))
    has_part = (inside[:, :2] < inside[:, 2:]).all(1)
    for place in np.flatnonzero(~has_part | (np.abs(inside - corners) > 1).any(1)).tolist():
        what = "boxes reach beyond their picture and are clipped to it"
        if not has_part[place]:
            what = "boxes show no part of their picture and are left out"
        mark = boxed[place]
        found.count(what, found.pictures[found.mark_picture[mark]].file, found.keys[mark])
    boxed, inside, sides = boxed[has_part], inside[has_part], sides[has_part]
    return replace(
        listing,
        box_row=row[boxed],
        box_class=marks.class_idx[boxed].astype(np.int64),
        box_corners=_turned_boxes(inside, sides, marks.turn[row[boxed]]),
    )


def _turned_boxes(corners: np.ndarray, sides: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Turn boxes of pictures as they are stored.

    Args:
        corners: ``(xmin, ymin, xmax, ymax)``, ``(b, 4)``.
        sides: Width and height of each stored picture, ``(b, 2)``.
        turn: EXIF's orientation of each picture, ``(b,)``.

    Example:
        >>> _turned_boxes(np.array([[0.0, 0, 2, 1]]), np.array([[10.0, 5]]), np.array([6])).tolist()
        [[4.0, 0.0, 5.0, 2.0]]
    """
    x, y = corners[:, ::2], corners[:, 1::2]
    width, height = sides[:, :1], sides[:, 1:]
    mirrored_x = np.isin(turn, (2, 3, 7, 8))[:, None]
    mirrored_y = np.isin(turn, (3, 4, 6, 7))[:, None]
    x, y = np.where(mirrored_x, width - x[:, ::-1], x), np.where(mirrored_y, height - y[:, ::-1], y)
    is_swapped = (turn >= 5)[:, None]
    x, y = np.where(is_swapped, y, x), np.where(is_swapped, x, y)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
