"""Marks are written for the tools that people mark pictures with, a file and a row of :data:`WRITERS` for each tool.

``gain next``, ``gain predict`` and ``gain seeds`` all write by them, without torch. What a format cannot say is left
out: only COCO keeps the pixels of which nothing is known.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gain_lightning.datasets.writers.base import MarkWriter


class Format(NamedTuple):
    """A format that marks are written in.

    Attributes:
        writer: The module here that writes it, and the writer in it; it is imported at first use.
        title: Its name in words.
        files: The files that it consists of, below the folder that is written to.
    """

    writer: tuple[str, str]
    title: str
    files: str


WRITERS = {
    "coco": Format(("coco", "CocoWriter"), "COCO JSON, masks as RLE", "coco.json"),
    "labelme": Format(("labelme", "LabelMeWriter"), "LabelMe", "labelme/PICTURE.json"),
    "labelstudio": Format(
        ("label_studio", "LabelStudioWriter"), "Label Studio", "labelstudio.json, labelstudio.xml"
    ),
    "cvat": Format(("cvat", "CvatWriter"), "CVAT for images 1.1", "cvat.xml, cvat_labels.json"),
}


def open_writers(
    formats: Sequence[str], out: Path, class_names: Sequence[str], pictures: Path, source: str
) -> "list[MarkWriter]":
    """Begin the files of some formats, keys of :data:`WRITERS`; each format is begun once.

    Args:
        formats: The formats.
        out: See :class:`~gain_lightning.datasets.writers.base.MarkWriter`, as of the others.
        class_names: The names of the classes.
        pictures: The folder of the pictures.
        source: What drew the marks, in words.
    """
    writers = []
    for name in dict.fromkeys(formats):
        module, writer = WRITERS[name].writer
        write = getattr(importlib.import_module(f"{__name__}.{module}"), writer)
        writers.append(write(out, class_names, pictures, source))
    return writers
