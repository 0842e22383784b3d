"""Make a folder laid out as data/README.md says: pictures, labels, masks, boxes."""

from pathlib import Path

import numpy as np
from PIL import Image

from gain_lightning.datasets.readers.folder import FolderContents

SIZE = (30, 40)  # height, width
NFC, NFD = "B\u00e4r", "Ba\u0308r"


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    """Write a picture of noise with a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def mask(path: Path, patches: dict[int, tuple[int, int]], size: tuple[int, int] = SIZE) -> None:
    """Write a mask of class indices with squares of 8 pixels at ``{index: (top, left)}``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size, np.uint8)
    for index, (top, left) in patches.items():
        values[top : top + 8, left : left + 8] = index
    Image.fromarray(values).save(path)


def make_folder(root: Path) -> Path:
    """Write six pictures of cats and dogs, masks for two, boxes for one; class 1 is dog, class 2 is cat."""
    for number in range(6):
        picture(root / "images" / f"p{number}.jpg", number)
    (root / "labels.csv").write_text(
        "filename,classes,split\n"
        "p0.jpg,cat,train\np1.jpg,dog;cat,train\np2.jpg,,train\np3.jpg,dog,val\np4.jpg,cat,test\np5.jpg,dog,night\n"
    )
    (root / "classes.txt").write_text("dog\ncat\n")
    (root / "boxes.csv").write_text(
        "filename,class,xmin,ymin,xmax,ymax\np1.jpg,dog,0,0,10,20\np1.jpg,cat,5,5,40,30\n"
    )
    mask(root / "masks" / "p0.png", {2: (3, 4)})
    mask(root / "masks" / "p3.png", {1: (0, 0), 255: (10, 10)})
    return root


def said(contents: FolderContents) -> list[str]:
    """Return the problems as they are printed."""
    return [str(problem) for problem in contents.problems]
