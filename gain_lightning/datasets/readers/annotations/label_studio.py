"""Label Studio's JSON: what brushes, polygons, boxes and ellipses mark, and choices, which are image labels.

::

    [{"data": {"image": "/data/upload/1/0a1b2c3d-boat.jpg"},
      "annotations": [{"was_cancelled": false, "result": [
        {"type": "brushlabels", "original_width": 640, "original_height": 480,
         "value": {"format": "rle", "rle": [...], "brushlabels": ["boat"]}},
        {"type": "rectanglelabels", ..., "value": {"x": 10, "y": 20, "width": 30, "height": 5, "rotation": 0,
         "rectanglelabels": ["boat"]}},
        {"type": "choices", "value": {"choices": ["water"]}}]}]}]

Coordinates are percent of the picture as it is shown. A box is turned about its upper left corner. Predictions are no
marks. Of several annotations of a picture those that are ground truth count, or else all together. A task that was
submitted without a mark is a negative; nobody looked at one without annotation, or at one that was skipped.

Source: https://labelstud.io/guide/task_format, and the tags' pages https://labelstud.io/tags/.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.readers.annotations.brush_rle import decode_brush
from gain_lightning.datasets.readers.annotations.found import Found
from gain_lightning.datasets.readers.annotations.json_files import parse_json, read_json
from gain_lightning.datasets.readers.annotations.outlines import box_around, ellipse
from gain_lightning.datasets.readers.annotations.picture_files import forms
from gain_lightning.datasets.readers.annotations.pixel_masks import decode_png, runs_of

# An upload has such letters before its name.
_UPLOAD = re.compile(r"(?<![^/])[0-9a-f]{8}-(?=[^/]+\Z)")
_LIKELIEST = ("image", "img", "picture", "photo")
# Such regions are points and lines.
_FLAT = ("keypoint", "vector")


class _Value(
    msgspec.Struct, rename={"radius_x": "radiusX", "radius_y": "radiusY", "data_url": "imageDataURL"}
):
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float | None = None
    radius_x: float | None = None
    radius_y: float | None = None
    points: list[tuple[float, float]] | None = None
    rle: list[int] | None = None
    data_url: str | None = None
    choices: list[str] | None = None
    labels: list[str] | None = None
    brushlabels: list[str] | None = None
    polygonlabels: list[str] | None = None
    rectanglelabels: list[str] | None = None
    ellipselabels: list[str] | None = None
    bitmasklabels: list[str] | None = None
    keypointlabels: list[str] | None = None
    vectorlabels: list[str] | None = None


class _Result(msgspec.Struct):
    type: str
    value: msgspec.Raw = msgspec.Raw(b"null")
    id: str | int | None = None
    original_width: int | None = None
    original_height: int | None = None
    image_rotation: float | None = None


class _Annotation(msgspec.Struct):
    result: list[_Result] = []
    was_cancelled: bool | None = None
    ground_truth: bool | None = None


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation] | None = None
    # what annotations were called until 1.0
    completions: list[_Annotation] | None = None


class _Region(NamedTuple):
    """A result whose value is parsed, and where it stands."""

    result: _Result
    value: _Value
    key: str


def parse(files: list[Path], found: Found) -> None:
    """Read files of Label Studio's JSON; a file holds a list of tasks, or one task."""
    for file in files:
        try:
            text = read_json(file, msgspec.Raw)
            tasks = parse_json(text, list[msgspec.Raw]) if bytes(text).lstrip()[:1] == b"[" else [text]
        except ValueError as error:
            found.problem(file, "", str(error))
            continue
        for number, text in enumerate(tasks):
            try:
                _read_task(file, f"[{number}]", text, found)
            except ValueError as error:
                found.problem(file, "", str(error))
    found.sort_classes()


def _read_task(file: Path, key: str, text: msgspec.Raw, found: Found) -> None:
    """Add the picture of a task with its labels and marks."""
    kind = parse_json(text, dict[str, msgspec.Raw], key)
    if "data" not in kind:
        raise ValueError(f"{key}: has no data, expected tasks as the export JSON has them (JSON_MIN has not)")
    task = parse_json(text, _Task, key)
    names = _names(task.data)
    if not names:
        raise ValueError(f"{key}.data: names no picture: expected the path of one")
    made = {"annotations": task.annotations or (), "completions": task.completions or ()}
    submitted = [
        (annotation, f"{key}.{name}[{number}]")
        for name, annotations in made.items()
        for number, annotation in enumerate(annotations)
        if not annotation.was_cancelled
    ]
    submitted = [one for one in submitted if one[0].ground_truth] or submitted
    regions = [region for annotation, place in submitted for region in _regions(annotation, place)]
    size = next(
        (
            (result.original_height, result.original_width)
            for result, _, _ in regions
            if result.original_height and result.original_width
        ),
        None,
    )
    picture = found.picture(*names, file=file, key=f"{key}.data", size=size, looked_at=bool(submitted))
    if len(submitted) > 1:
        found.count("pictures have several annotations, which are taken together", file, key)
    for region in regions:
        try:
            _read_region(file, picture, region, regions, found)
        except ValueError as error:
            found.problem(file, region.key, str(error))


def _names(data: dict[str, Any]) -> list[str]:
    """Return the paths and addresses of pictures among the data of a task, the likeliest first."""
    texts = {name: text for name, text in data.items() if isinstance(text, str) and _is_picture(text)}
    order = {name: place for place, name in enumerate(_LIKELIEST)}
    names = [texts[name] for name in sorted(texts, key=lambda name: order.get(name, len(order)))]
    return names + [short for name in names if (short := _UPLOAD.sub("", name)) != name]


def _is_picture(text: str) -> bool:
    return any(form.lower().endswith(PICTURE_SUFFIXES) for form in forms(text))


def _regions(annotation: _Annotation, place: str) -> Iterator[_Region]:
    """Parse the values of the results that are of a picture."""
    for number, result in enumerate(annotation.result):
        key = f"{place}.result[{number}]"
        if _kind(result) is not None:
            yield _Region(result, parse_json(result.value, _Value, f"{key}.value"), key)


def _kind(result: _Result) -> str | None:
    """Return what a result is: ``choices``, ``labels`` or a shape; None for what is no mark, such as a text."""
    kind = result.type.lower()
    if kind in ("choices", "labels"):
        return kind
    kind = kind.removesuffix("labels")
    known = {name.removesuffix("labels") for name in _Value.__struct_fields__ if name.endswith("labels")}
    return kind if kind in known else None


def _read_region(file: Path, picture: int, region: _Region, all_regions: list[_Region], found: Found) -> None:
    """Add a result as image labels or as a mark."""
    result, value, key = region
    if _kind(result) == "choices":
        # the choice of a region says something of this region
        for name in (
            value.choices or () if value.x is None and value.points is None and value.rle is None else ()
        ):
            found.label(picture, _name(name))
        return
    if not result.type.lower().endswith("labels"):
        # its class stands in a result of its own, with the same id
        return
    names = getattr(value, result.type.lower()) or []
    if not names:
        found.count("regions without a label are left out", file, key)
    if _kind(result) == "labels" and not _has_shape(value):
        place = result.id
        region = next(
            (one for one in all_regions if one.result.id == place and _has_shape(one.value)), region
        )
    if names and _kind(region.result) in _FLAT:
        found.count("points and lines give their class and mark no pixel", file, key)
        for name in names:
            found.label(picture, _name(name))
    elif names:
        if region.result.image_rotation:
            raise ValueError(
                f"image_rotation: marked on a picture turned by {region.result.image_rotation:g} degrees, expected 0"
            )
        shape = _shape(region)
        for name in names:
            found.mark(picture, _name(name), key=key, **shape)


def _name(name: str) -> str:
    if not name.strip():
        raise ValueError("an empty label")
    return name


def _has_shape(value: _Value) -> bool:
    return any(part is not None for part in (value.x, value.points, value.rle, value.data_url))


def _shape(region: _Region) -> dict[str, Any]:
    """Return what a region marks, as :meth:`~.found.Found.mark` takes it, in shares of the picture."""
    result, value, _ = region
    if value.rle is not None or value.data_url is not None:
        return {"runs": _runs(value, _size(result))}
    if value.points is not None:
        return {"rings": [np.array(value.points, np.float64).ravel() / 100]}
    if value.x is None or value.y is None:
        raise ValueError("value: has no rle, points, or x and y: expected a region of a picture")
    turned = value.rotation or 0
    if value.radius_x is not None and value.radius_y is not None:
        height, width = _size(result) if turned else (100, 100)
        scale = np.array([width, height])
        outline = ellipse(
            (value.x * width / 100, value.y * height / 100),
            (value.radius_x * width / 100, value.radius_y * height / 100),
            turned,
        )
        return {"rings": [(outline.reshape(-1, 2) / scale).ravel()]}
    if value.width is None or value.height is None:
        raise ValueError("value: has x and y, expected width and height, or radiusX and radiusY, as well")
    height, width = _size(result) if turned else (100, 100)
    corner = value.x * width / 100, value.y * height / 100
    box = box_around(corner, (value.width * width / 100, value.height * height / 100), turned, about=corner)
    return {"box": [side / length for side, length in zip(box, (width, height) * 2, strict=True)]}


def _size(result: _Result) -> tuple[int, int]:
    """Return height and width of the picture, which not every region needs."""
    height, width = result.original_height or 0, result.original_width or 0
    if min(height, width) < 1:
        raise ValueError(f"original_width, original_height: {width} x {height} pixels")
    return height, width


def _runs(value: _Value, size: tuple[int, int]) -> dict[str, Any]:
    """Encode what a brush painted, which Label Studio packs, or writes as a PNG."""
    key = "value.rle" if value.rle is not None else "value.imageDataURL"
    try:
        mask = decode_png(value.data_url or "") if value.rle is None else decode_brush(bytes(value.rle), size)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if mask.shape != size:
        (height, width), (own_height, own_width) = size, mask.shape
        raise ValueError(
            f"{key}: a mask of {own_width} x {own_height} pixels, but its picture has {width} x {height}"
        )
    return runs_of(mask, (0, 0), size)
