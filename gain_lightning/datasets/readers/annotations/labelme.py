"""LabelMe's JSON: a file for every picture, with polygons, boxes, circles and masks, and flags, which are image labels.

::

    {"imagePath": "boat.jpg", "imageHeight": 480, "imageWidth": 640, "flags": {"water": true},
     "shapes": [{"label": "boat", "shape_type": "polygon", "points": [[x, y], ...]},
                {"label": "boat", "shape_type": "rectangle", "points": [[x, y], [x, y]]},
                {"label": "boat", "shape_type": "circle", "points": [centre, point of the edge]},
                {"label": "boat", "shape_type": "mask", "points": [first pixel, last pixel], "mask": "PNG in base64"}]}

Nothing is known where a shape is labelled ``__ignore__``, and ``_background_`` is no class. A picture whose file has
flags was looked at; without flags and shapes nothing says so.

Source: https://github.com/wkentaro/labelme, ``labelme/_label_file.py`` and ``labelme/_utils/_shape.py``.
"""

import math
from pathlib import Path, PureWindowsPath
from typing import Any

import msgspec
import numpy as np

from gain_lightning.datasets.readers.annotations.found import Found
from gain_lightning.datasets.readers.annotations.json_files import parse_json, read_json
from gain_lightning.datasets.readers.annotations.outlines import ellipse
from gain_lightning.datasets.readers.annotations.pixel_masks import decode_png, runs_of

_IGNORED, _BACKGROUND = "__ignore__", "_background_"
_POLYGONS = (None, "", "polygon", "oriented_rectangle", "rotation")
_FLAT = ("point", "points", "line", "linestrip")


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = None
    mask: str | None = None


class _File(msgspec.Struct, rename={"path": "imagePath", "height": "imageHeight", "width": "imageWidth"}):
    """The parts of a file; ``imageData``, which may hold the picture, is passed over."""

    path: str
    shapes: list[msgspec.Raw]
    flags: dict[str, bool] | None = None
    height: int | float | None = None
    width: int | float | None = None


def parse(files: list[Path], found: Found) -> None:
    """Read files of LabelMe's JSON, each of one picture."""
    for file in files:
        try:
            content = read_json(file, _File)
        except ValueError as error:
            found.problem(file, "", str(error))
            continue
        _read_file(file, content, found)
    found.sort_classes()


def _read_file(file: Path, content: _File, found: Found) -> None:
    """Add the picture of a file with its labels and marks."""
    path = PureWindowsPath(content.path)
    # the file lies beside its picture and is called like it, whatever the path says
    names = content.path, file.with_suffix(path.suffix).name
    size = (int(content.height), int(content.width)) if content.height and content.width else None
    picture = found.picture(
        *names, file=file, key="imagePath", size=size, looked_at=True if content.flags else None
    )
    for name, is_set in (content.flags or {}).items():
        if is_set:
            found.label(picture, name)
    for number, text in enumerate(content.shapes):
        key = f"shapes[{number}]"
        try:
            _read_shape(file, picture, key, parse_json(text, _Shape, key), found)
        except ValueError as error:
            found.problem(file, "", str(error))


def _read_shape(file: Path, picture: int, key: str, one: _Shape, found: Found) -> None:
    """Add a shape as a mark."""
    label = one.label.strip()
    if not label:
        raise ValueError(f"{key}.label: is empty")
    if label == _BACKGROUND:
        found.count(f"shapes are labelled {_BACKGROUND} and are left out", file, key)
    elif one.shape_type in _FLAT:
        found.count("points and lines give their class and mark no pixel", file, key)
        if label != _IGNORED:
            found.label(picture, label)
    else:
        try:
            drawn = _drawn(one, found.pictures[picture].size)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from error
        found.mark(picture, None if label == _IGNORED else label, key=key, **drawn)


def _drawn(one: _Shape, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return what a shape marks, as :meth:`~.found.Found.mark` takes it."""
    points = np.array(one.points, np.float64).reshape(-1, 2)
    if one.shape_type in _POLYGONS:
        return {"rings": [points.ravel()]}
    if one.shape_type not in ("rectangle", "circle", "mask"):
        raise ValueError(f"shape_type: {one.shape_type!r}, expected polygon, rectangle, circle, mask, ...")
    if one.shape_type == "rectangle" and len(points) in (2, 4):
        return {"box": [*points.min(0).tolist(), *points.max(0).tolist()]}
    if len(points) != 2:
        raise ValueError(f"points: {len(points)} of a {one.shape_type}, expected 2")
    if not np.isfinite(points).all():
        raise ValueError("points: a number that is not finite")
    if one.shape_type == "circle":
        radius = math.dist(*points.tolist())
        return {"rings": [ellipse((points[0, 0], points[0, 1]), (radius, radius))]}
    return {"runs": _runs(one, points, size)}


def _runs(one: _Shape, points: np.ndarray, size: tuple[int, int] | None) -> dict[str, Any]:
    """Encode a mask, which lies between its two points."""
    if size is None:
        raise ValueError("mask: of a picture without imageHeight and imageWidth")
    try:
        mask = decode_png(one.mask or "")
    except ValueError as error:
        raise ValueError(f"mask: {error}") from error
    first, last = np.round(points).clip(-1e9, 1e9).astype(int).tolist()
    sides = last[0] - first[0] + 1, last[1] - first[1] + 1
    # LabelMe moves masks by parts of a pixel, and then takes the sides of the PNG
    if (points % 1 == 0).all() and sides != mask.shape[::-1]:
        raise ValueError(
            f"mask: {mask.shape[1]} x {mask.shape[0]} pixels, but its points are {sides[0]} x {sides[1]} apart"
        )
    return runs_of(mask, (first[0], first[1]), size)
