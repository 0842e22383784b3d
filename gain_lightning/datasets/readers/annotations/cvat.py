"""CVAT's XML for images: polygons, boxes, ellipses and masks, and tags, which are image labels.

::

    <annotations>
      <meta><task><labels><label><name>boat</name></label></labels></task></meta>
      <image id="0" name="a.jpg" subset="Train" width="640" height="480">
        <polygon label="boat" points="x,y;x,y;..."/>
        <box label="boat" xtl="1" ytl="2" xbr="30" ybr="40" rotation="0"/>
        <ellipse label="boat" cx="10" cy="20" rx="5" ry="6" rotation="0"/>
        <mask label="boat" rle="0, 5, 12, ..." left="3" top="4" width="20" height="10"/>
        <tag label="water"/>
      </image>
    </annotations>

Boxes and ellipses are turned about their centres. The runs of a mask go along the rows of its box and begin with what
is not the object. The classes are those of ``meta``, in its order.

Source: https://docs.cvat.ai/docs/other/xml_format.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, NoReturn
from xml.etree import ElementTree

import numpy as np

from gain_lightning.datasets.readers.annotations.found import MOST_PIXELS, Found
from gain_lightning.datasets.readers.annotations.outlines import box_around, ellipse
from gain_lightning.datasets.readers.annotations.pixel_masks import runs_of
from gain_lightning.datasets.readers.annotations.split_names import split_of

_CHUNK = 1 << 20
_FLAT = ("points", "polyline", "cuboid", "skeleton")


def parse(files: list[Path], found: Found) -> None:
    """Read files of CVAT's XML."""
    for file in files:
        parser = ElementTree.XMLParser(target=_Reader(file, found))
        try:
            with file.open("rb") as text:
                while chunk := text.read(_CHUNK):
                    parser.feed(chunk)
            parser.close()
        except (ElementTree.ParseError, LookupError) as error:
            # a LookupError is an encoding that nobody knows
            found.problem(file, "", f"not XML ({error})")
        except ValueError as error:
            found.problem(file, "", str(error))


class _Reader:
    """Takes the elements of a file as they come, for the tree of a large file would fill the memory."""

    def __init__(self, file: Path, found: Found) -> None:
        self.file = file
        self.found = found
        self.path: list[str] = []
        self.text = ""
        self.label = ""
        self.declared: set[str] = set()
        self.num_images = 0
        self.picture: int | None = None
        self.numbers: dict[str, int] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Take the begin of an element."""
        if not self.path and tag != "annotations":
            raise ValueError(f"holds <{tag}>, expected <annotations>")
        if tag == "track":
            raise ValueError("<track>: a file of CVAT for video, expected one of CVAT for images")
        self.text = ""
        if self.path == ["annotations"] and tag == "image":
            self._image(attributes)
        elif self.path == ["annotations", "image"]:
            self._shape(tag, attributes)
        self.path.append(tag)

    def data(self, text: str) -> None:
        """Take a piece of the text of an element."""
        self.text += text

    def end(self, tag: str) -> None:
        """Take the end of an element."""
        self.path.pop()
        if self.path[-2:] == ["labels", "label"] and tag == "name":
            self.label = self.text.strip()
        elif self.path[-2:] == ["labels", "label"] and tag == "parent" and self.text.strip():
            # a joint of a skeleton is no class
            self.label = ""
        elif self.path[-1:] == ["labels"] and tag == "label" and self.label:
            self.declared.add(self.label)
            self.found.class_idx(self.label)
            self.label = ""
        self.text = ""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """Refuse entities, and with them bombs and foreign files."""
        raise ValueError("declares a document type or entities, which no file of CVAT does")

    def close(self) -> None:
        """Take the end of the file."""
        if not self.num_images:
            self.found.problem(self.file, "", "has no <image>")

    def _image(self, attributes: Mapping[str, str]) -> None:
        key = f"image[{self.num_images}]"
        self.num_images += 1
        self.numbers = {}
        self.picture = None
        name = attributes.get("name", "").strip()
        if not name:
            self.found.problem(self.file, f"{key}.name", "is missing")
            return
        subset = attributes.get("subset", "").strip()
        try:
            height, width = (int(_number(attributes, side)) for side in ("height", "width"))
        except ValueError as error:
            self.found.problem(self.file, key, str(error))
            return
        self.picture = self.found.picture(
            name,
            file=self.file,
            key=key,
            size=(height, width),
            split="" if subset.lower() in ("", "default") else split_of(PurePath(subset)) or subset,
        )

    def _shape(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Add an element of a picture as a label or a mark."""
        number = self.numbers.get(tag, 0)
        self.numbers[tag] = number + 1
        if self.picture is None:
            return
        key = f"image[{self.num_images - 1}].{tag}[{number}]"
        label = attributes.get("label", "").strip()
        if not label:
            self.found.problem(self.file, f"{key}.label", "is missing")
        elif self.declared and label not in self.declared:
            self.found.problem(self.file, f"{key}.label", f"{label!r} is none of the labels of meta")
        elif tag in _FLAT:
            self.found.count("points, lines and cuboids give their class and mark no pixel", self.file, key)
            self.found.label(self.picture, label)
        elif tag == "tag":
            self.found.label(self.picture, label)
        elif tag not in _DRAWN:
            self.found.problem(self.file, key, f"expected one of {', '.join((*_DRAWN, *_FLAT, 'tag'))}")
        else:
            try:
                drawn = _DRAWN[tag](attributes, self.found.pictures[self.picture].size)
            except ValueError as error:
                self.found.problem(self.file, key, str(error))
                return
            self.found.mark(self.picture, label, key=key, **drawn)


def _polygon(attributes: Mapping[str, str], size: tuple[int, int] | None) -> dict[str, Any]:
    text = attributes.get("points", "")
    if not re.fullmatch(r"[^,;]+,[^,;]+(;[^,;]+,[^,;]+)*", text):
        raise ValueError(f"points: {text[:40]!r}, expected x,y;x,y;...")
    try:
        return {"rings": [np.array(text.replace(";", ",").split(","), np.float64)]}
    except ValueError as error:
        raise ValueError(f"points: {error}") from error


def _box(attributes: Mapping[str, str], size: tuple[int, int] | None) -> dict[str, Any]:
    left, top, right, bottom = (_number(attributes, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    turned = _number(attributes, "rotation", 0)
    if not turned:
        return {"box": (left, top, right, bottom)}
    centre = (left + right) / 2, (top + bottom) / 2
    return {"box": box_around((left, top), (right - left, bottom - top), turned, about=centre)}


def _ellipse(attributes: Mapping[str, str], size: tuple[int, int] | None) -> dict[str, Any]:
    x, y, radius_x, radius_y = (_number(attributes, key) for key in ("cx", "cy", "rx", "ry"))
    return {"rings": [ellipse((x, y), (radius_x, radius_y), _number(attributes, "rotation", 0))]}


def _mask(attributes: Mapping[str, str], size: tuple[int, int] | None) -> dict[str, Any]:
    left, top, width, height = (int(_number(attributes, key)) for key in ("left", "top", "width", "height"))
    if size is None:
        raise ValueError("a mask of a picture without size")
    if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS and width * height <= MOST_PIXELS):
        raise ValueError(f"a mask of {width} x {height} pixels")
    try:
        lengths = np.array(attributes.get("rle", "").split(","), np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"rle: {error}") from error
    if (lengths < 0).any() or (lengths > width * height).any() or lengths.sum() != width * height:
        raise ValueError(
            f"rle: covers {lengths.sum()} pixels, expected {width} x {height} = {width * height}"
        )
    is_object = np.arange(len(lengths)) % 2 == 1
    return {"runs": runs_of(np.repeat(is_object, lengths).reshape(height, width), (left, top), size)}


# What an element marks, of its attributes and the picture's height and width, as Found.mark takes it.
_DRAWN: dict[str, Callable[[Mapping[str, str], tuple[int, int] | None], dict[str, Any]]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}


def _number(attributes: Mapping[str, str], key: str, default: float | None = None) -> float:
    """Read an attribute that must be a finite number."""
    text = attributes.get(key)
    if text is None and default is not None:
        return default
    if text is None:
        raise ValueError(f"{key}: is missing, expected a number")
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{key}: {text!r}, expected a number")
    return number
