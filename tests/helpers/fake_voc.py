"""Make a VOC 2012 folder of 12 small generated images: XML labels, palette masks with void borders, lists."""

from pathlib import Path

import numpy as np
from PIL import Image

from gain_lightning.datasets.readers.voc import CLASSES

NAMES = ("cat", "dog", "person")


def make_voc(folder: Path, *, num_train: int = 8, num_val: int = 4, size: tuple[int, int] = (60, 48)) -> Path:
    """Write ``folder/VOCdevkit/VOC2012``; image i shows class i % 3, and every fourth has a person by label alone."""
    root = folder / "VOCdevkit" / "VOC2012"
    for name in (
        "JPEGImages",
        "Annotations",
        "SegmentationClass",
        "SegmentationClassAug",
        "ImageSets/Segmentation",
    ):
        (root / name).mkdir(parents=True)
    ids = [f"2012_{i:06d}" for i in range(num_train + num_val)]
    rng = np.random.default_rng(0)
    width, height = size
    for i, image_id in enumerate(ids):
        image = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        left, top = rng.integers(4, 20, 2)
        mask[top - 1 : top + 21, left - 1 : left + 21] = 255
        mask[top : top + 20, left : left + 20] = CLASSES.index(NAMES[i % 3]) + 1
        image[top : top + 20, left : left + 20, i % 3] = 230
        Image.fromarray(image).save(root / "JPEGImages" / f"{image_id}.jpg", quality=95)
        indexed = Image.fromarray(mask).convert("P")
        indexed.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
        for kind in ("SegmentationClass", "SegmentationClassAug"):
            indexed.save(root / kind / f"{image_id}.png")
        names = [NAMES[i % 3]] + (["person"] if i % 4 == 0 and i % 3 != 2 else [])
        objects = "".join(f"<object><name>{name}</name><difficult>0</difficult></object>" for name in names)
        (root / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
    lists = {"train": ids[:num_train], "train_aug": ids[:num_train], "val": ids[num_train:]}
    for split, names in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root
