"""Write a small set of COCO's JSON, its pictures of noise."""

import json
from pathlib import Path
from typing import Any

from fake_folder import SIZE, picture

SQUARE = [[3, 4, 13, 4, 13, 13, 3, 13]]


def an_image(number: int, name: str, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """Make an entry of ``images``."""
    return {"id": number, "file_name": name, "height": size[0], "width": size[1]}


def an_object(image: int, category: int, segmentation: Any = None, bbox: Any = None, **more: Any) -> dict:
    """Make an entry of ``annotations``."""
    one = {"id": 1, "image_id": image, "category_id": category, "segmentation": segmentation, "bbox": bbox}
    return {key: value for key, value in one.items() if value is not None} | more


def coco_content(
    objects: list[dict], names: tuple[str, ...] = ("p0.jpg", "p1.jpg", "p2.jpg"), **more: Any
) -> dict:
    """Make a file's content; the ids of pictures are 0, 1, ..., those of ``cat`` and ``dog`` are 0 and 7."""
    return {
        "images": [an_image(number, name) for number, name in enumerate(names)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 0, "name": "cat"}],
        "annotations": objects,
    } | more


def make_coco(
    root: Path, objects: list[dict], names: tuple[str, ...] = ("p0.jpg", "p1.jpg", "p2.jpg"), **more: Any
) -> Path:
    """Write ``root/coco.json`` and the pictures that it names; return the file."""
    for number, name in enumerate(names):
        picture(root / name, number)
    file = root / "coco.json"
    file.write_text(json.dumps(coco_content(objects, names, **more)))
    return file
