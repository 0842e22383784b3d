"""Label Studio: a task for each picture, its marks as predictions, and the labelling interface that shows them.

A mark is a brush, whose code is the RLE of thi.ng's ``rle-pack`` over four equal channels of 0 and 255: 32 bits of
length, 5 of the width of a value less 1, four times 4 of the width of a length less 1; then for each run a 1, two bits
that choose a width, its length less 1, and its value.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from gain_lightning.datasets.writers.base import MarkedPicture, MarkWriter, run_lengths
from gain_lightning.drawing.palette import voc_palette
from gain_lightning.support.files import write_atomically

_CHANNELS = 4
# Widths of a length; as Label Studio's own converter chooses them.
_WIDTHS = (3, 4, 8, 16)


class LabelStudioWriter(MarkWriter):
    """Writes ``labelstudio.json``, which a project imports, and ``labelstudio.xml``, its labelling interface.

    The pictures are served as local files, whose root is the folder that ``pictures`` lies in.
    """

    def __init__(self, out: Path, class_names: Sequence[str], pictures: Path, source: str) -> None:
        super().__init__(out, class_names, pictures, source)
        self.tasks: list[dict[str, Any]] = []

    def add(self, picture: MarkedPicture) -> None:
        """Add a task."""
        where = quote(f"{self.pictures.name}/{picture.name}")
        results = [
            self._result(picture, "marks", f"mark{class_idx}", "brushlabels", self._brush(class_idx, mask))
            for class_idx, mask in picture.marks.items()
            if mask.any()
        ]
        if picture.labels:
            names = [self.class_names[class_idx] for class_idx in picture.labels]
            results.append(self._result(picture, "classes", "classes", "choices", {"choices": names}))
        self.tasks.append(
            {
                "data": {"image": f"/data/local-files/?d={where}"},
                "predictions": [{"model_version": self.source, "result": results}],
            }
        )

    def _result(
        self, picture: MarkedPicture, tag: str, name: str, kind: str, value: dict[str, Any]
    ) -> dict[str, Any]:
        height, width = picture.size
        return {
            "id": name,
            "from_name": tag,
            "to_name": "image",
            "type": kind,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": value,
        }

    def _brush(self, class_idx: int, mask: np.ndarray) -> dict[str, Any]:
        return {"format": "rle", "rle": pack(mask), "brushlabels": [self.class_names[class_idx]]}

    def finish(self) -> None:
        """Write both files."""
        write_atomically(self.out / "labelstudio.json", json.dumps(self.tasks) + "\n")
        view = ElementTree.Element("View")
        ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
        marks = ElementTree.SubElement(view, "BrushLabels", name="marks", toName="image")
        classes = ElementTree.SubElement(view, "Choices", name="classes", toName="image", choice="multiple")
        colours = voc_palette()
        for number, name in enumerate(self.class_names, start=1):
            colour = "#{:02x}{:02x}{:02x}".format(*colours[number % 255].tolist())
            ElementTree.SubElement(marks, "Label", value=name, background=colour)
            ElementTree.SubElement(classes, "Choice", value=name)
        ElementTree.indent(view)
        text = ElementTree.tostring(view, encoding="unicode")
        write_atomically(self.out / "labelstudio.xml", f"{text}\n")


def pack(mask: np.ndarray) -> list[int]:
    """Return the code of a mask, ``(H, W)`` bool, as Label Studio's brushes have it.

    Example:
        >>> pack(np.array([[False, True]]))
        [0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]
    """
    values, lengths = run_lengths(np.asarray(mask).ravel() * np.uint8(255))
    header = [f"{_CHANNELS * mask.size:032b}", f"{7:05b}", *(f"{width - 1:04b}" for width in _WIDTHS)]
    bits, longest = header, 1 << _WIDTHS[-1]
    for value, length in zip(values.tolist(), (_CHANNELS * lengths).tolist(), strict=True):
        bits += [_run(longest, value)] * (length // longest)
        bits += [_run(length % longest, value)] * (length % longest > 0)
    code = "".join(bits)
    code += "0" * (-len(code) % 8)
    return list(int(code, 2).to_bytes(len(code) // 8, "big"))


def _run(length: int, value: int) -> str:
    """Write a run of at most as many values as the largest width counts."""
    number = next(number for number, width in enumerate(_WIDTHS) if length <= 1 << width)
    return f"1{number:02b}{length - 1:0{_WIDTHS[number]}b}{value:08b}"
