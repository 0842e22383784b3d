"""Made pictures of odd aspect, each with one red box on blue ground whose place is known."""

from pathlib import Path

import numpy as np
from PIL import Image

# height and width of a picture, and its box (top, bottom, left, right): near both ends, as a wrong place would show
SCENES = {
    "wide.png": ((60, 180), (16, 46, 120, 168)),
    "tall.png": ((200, 80), (20, 60, 10, 70)),
    "square.png": ((96, 96), (48, 84, 8, 40)),
    "third.png": ((120, 160), (40, 80, 60, 110)),
}
GROUND, OBJECT = (10, 30, 230), (240, 20, 20)
# the colours of each class: its object, and the ground that it lies on
CLASSES = {"box": (OBJECT, GROUND), "leaf": ((20, 220, 20), (200, 60, 180))}


def scene(name: str, class_name: str = "box") -> tuple[np.ndarray, np.ndarray]:
    """Return a picture ``(H, W, 3)`` uint8 and the place of its object, ``(H, W)`` bool."""
    size, (top, bottom, left, right) = SCENES[name]
    body = np.zeros(size, bool)
    body[top:bottom, left:right] = True
    return np.where(body[..., None], *CLASSES[class_name]).astype(np.uint8), body


def make_odd_folder(root: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Write every picture of every class into every split, such as ``test_box_wide.png``, with its mask."""
    lines = ["filename,classes,split,group"]
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for split in splits:
        for index, class_name in enumerate(CLASSES, start=1):
            for name in SCENES:
                picture, body = scene(name, class_name)
                file = f"{split}_{class_name}_{name}"
                Image.fromarray(picture).save(root / "images" / file)
                Image.fromarray((index * body).astype(np.uint8)).save(root / "masks" / file)
                lines.append(f"{file},{class_name},{split},{name[:4]}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root
