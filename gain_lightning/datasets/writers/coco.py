"""COCO JSON: one annotation for each class of a picture, its mask as RLE that ``pycocotools`` encodes.

Unknown pixels are a region with ``iscrowd`` 1 of every class that the picture shows, for COCO ignores what lies there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from gain_lightning.datasets.writers.base import MarkedPicture, MarkWriter
from gain_lightning.support.files import write_json


class CocoWriter(MarkWriter):
    """Writes ``coco.json``; category c + 1 is class c."""

    def __init__(self, out: Path, class_names: Sequence[str], pictures: Path, source: str) -> None:
        super().__init__(out, class_names, pictures, source)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, picture: MarkedPicture) -> None:
        """Add a picture, also one without a mark."""
        height, width = picture.size
        image_id = len(self.images) + 1
        self.images.append({"id": image_id, "file_name": picture.name, "width": width, "height": height})
        for class_idx, mask in picture.marks.items():
            self._annotate(image_id, class_idx, mask, is_crowd=False)
        for class_idx in picture.labels if picture.unknown is not None else ():
            self._annotate(image_id, class_idx, picture.unknown, is_crowd=True)

    def _annotate(self, image_id: int, class_idx: int, mask: Any, *, is_crowd: bool) -> None:
        code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        area = int(coco_mask.area(code))
        if not area:
            return
        annotation = {"id": len(self.annotations) + 1, "image_id": image_id, "category_id": class_idx + 1}
        self.annotations.append(
            {
                **annotation,
                "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode("ascii")},
                "area": area,
                "bbox": coco_mask.toBbox(code).tolist(),
                "iscrowd": int(is_crowd),
            }
        )

    def finish(self) -> None:
        """Write the file."""
        categories = [{"id": number, "name": name} for number, name in enumerate(self.class_names, start=1)]
        content = {
            "info": {"description": self.source},
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        write_json(self.out / "coco.json", content)
