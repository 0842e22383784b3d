"""CVAT for images 1.1, the XML that CVAT takes back by "Upload annotations": masks, and image labels as tags.

A mask is cut to its box there, and its code is the lengths of its runs along the rows, the first of which is outside of
the mask. ``cvat_labels.json`` is what the constructor of a new task takes as its labels, under "Raw".
"""

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from gain_lightning.datasets.writers.base import MarkedPicture, MarkWriter, box_of, run_lengths
from gain_lightning.support.files import write_atomically


class CvatWriter(MarkWriter):
    """Writes ``cvat.xml`` and ``cvat_labels.json``."""

    def __init__(self, out: Path, class_names: Sequence[str], pictures: Path, source: str) -> None:
        super().__init__(out, class_names, pictures, source)
        self.root, self.count = ElementTree.Element("annotations"), 0
        ElementTree.SubElement(self.root, "version").text = "1.1"
        task = ElementTree.SubElement(ElementTree.SubElement(self.root, "meta"), "task")
        ElementTree.SubElement(task, "name").text = source
        labels = ElementTree.SubElement(task, "labels")
        for name in self.class_names:
            ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name

    def add(self, picture: MarkedPicture) -> None:
        """Add a picture, also one without a mark."""
        height, width = picture.size
        image = ElementTree.SubElement(
            self.root, "image", id=str(self.count), name=picture.name, width=str(width), height=str(height)
        )
        self.count += 1
        for class_idx, mask in picture.marks.items():
            if mask.any():
                self._add_mask(image, self.class_names[class_idx], mask)
        for class_idx in picture.labels:
            ElementTree.SubElement(image, "tag", label=self.class_names[class_idx], source="auto")

    def _add_mask(self, image: ElementTree.Element, label: str, mask: np.ndarray) -> None:
        top, left, bottom, right = box_of(mask)
        values, lengths = run_lengths(mask[top:bottom, left:right].ravel().astype(int))
        runs = [0] * int(values[0]) + lengths.tolist()
        ElementTree.SubElement(
            image,
            "mask",
            label=label,
            source="auto",
            occluded="0",
            rle=", ".join(map(str, runs)),
            left=str(left),
            top=str(top),
            width=str(right - left),
            height=str(bottom - top),
            z_order="0",
        )

    def finish(self) -> None:
        """Write both files."""
        ElementTree.indent(self.root)
        text = ElementTree.tostring(self.root, encoding="unicode")
        write_atomically(self.out / "cvat.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')
        labels = [{"name": name, "attributes": []} for name in self.class_names]
        write_atomically(self.out / "cvat_labels.json", json.dumps(labels, indent=1) + "\n")
