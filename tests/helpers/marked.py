"""Made pictures with marks that writers must keep, and the tools' own ways to read a code."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO

from gain_lightning.datasets.writers.base import MarkedPicture

CLASSES = ["cat", "été & <dog>"]
SIZE = (60, 80)


def disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(SIZE)
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def ring() -> np.ndarray:
    return disc(30, 40, 20) & ~disc(30, 40, 9)


def dust() -> np.ndarray:
    """Pixels that touch no other, one of them in the corner."""
    mask = np.zeros(SIZE, bool)
    mask[0, 0] = mask[20, 70] = mask[58, 2] = True
    return mask


PICTURES = [
    MarkedPicture("a.png", SIZE, [0, 1], {0: disc(25, 30, 17.3), 1: ring()}),
    MarkedPicture("deep/ü b.jpg", SIZE, [1], {1: dust() | disc(40, 60, 8)}, unknown=disc(10, 10, 5)),
    MarkedPicture("none.png", SIZE, [0], {}),
    MarkedPicture("empty.png", SIZE, [0], {0: np.zeros(SIZE, bool)}),
    MarkedPicture("full.png", SIZE, [0], {0: np.ones(SIZE, bool)}),
]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def write(writer_class, out, pictures=PICTURES):
    writer = writer_class(out, CLASSES, out / "images", "gain test")
    for picture in pictures:
        writer.add(picture)
    writer.finish()


def masks_of_coco(path):
    """The masks of a file by picture, class and whether they are unknown, as ``pycocotools`` draws them."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    files = {image["id"]: image["file_name"] for image in coco.loadImgs(coco.getImgIds())}
    found: dict[str, dict] = {file: {} for file in files.values()}
    for entry in coco.loadAnns(coco.getAnnIds()):
        key = names[entry["category_id"]], bool(entry["iscrowd"])
        assert key not in found[files[entry["image_id"]]]
        found[files[entry["image_id"]]][key] = coco.annToMask(entry).astype(bool)
    return found
