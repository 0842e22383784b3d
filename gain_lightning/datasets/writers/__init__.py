"""Marks are written for the tools that people mark pictures with, a file and a row of :data:`WRITERS` for each tool.

``gain next``, ``gain predict`` and ``gain seeds`` all write by them, without torch. What a format cannot say is left
out: only COCO keeps the pixels of which nothing is known.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gain_lightning.datasets.writers.base import MarkWriter
from gain_lightning.datasets.writers.coco import CocoWriter
from gain_lightning.datasets.writers.cvat import CvatWriter
from gain_lightning.datasets.writers.label_studio import LabelStudioWriter
from gain_lightning.datasets.writers.labelme import LabelMeWriter


class Format(NamedTuple):
    """A format that marks are written in.

    Attributes:
        writer: What writes it.
        title: Its name in words.
        files: The files that it consists of, below the folder that is written to.
    """

    writer: type[MarkWriter]
    title: str
    files: str


WRITERS = {
    "coco": Format(CocoWriter, "COCO JSON, masks as RLE", "coco.json"),
    "labelme": Format(LabelMeWriter, "LabelMe", "labelme/PICTURE.json"),
    "labelstudio": Format(
        LabelStudioWriter, "Label Studio, brushes as predictions", "labelstudio.json, labelstudio.xml"
    ),
    "cvat": Format(CvatWriter, "CVAT for images 1.1", "cvat.xml, cvat_labels.json"),
}


def open_writers(
    formats: Sequence[str], out: Path, class_names: Sequence[str], pictures: Path, source: str
) -> list[MarkWriter]:
    """Begin the files of some formats, see :class:`MarkWriter`; each format is begun once.

    Raises:
        ValueError: If there is no such format.
    """
    unknown = [name for name in formats if name not in WRITERS]
    if unknown:
        raise ValueError(f"format {unknown[0]!r} is not known, expected one of {', '.join(WRITERS)}")
    return [WRITERS[name].writer(out, class_names, pictures, source) for name in dict.fromkeys(formats)]
