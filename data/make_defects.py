"""Make a set of pictures with defects, laid out as data/README.md says, to try the folder presets on.

    python data/make_defects.py DIR

The pictures are textures with scratches, holes and stains, any of them or none. 400 are for training, a tenth of them
with masks; 100 are for validation and 200 for the test, all with masks. The same seed makes the same pictures.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("scratch", "hole", "stain")
SIDE = 200  # pixels
SIZES = {"train": 400, "val": 100, "test": 200}
# The rate of pictures with a defect of each class.
DEFECT_RATE = 0.28
# The rate of masks among the training pictures with a defect.
MASK_RATE = 0.15
# The strength of noise by its number of grains along a side.
_NOISE = {2: 1.0, 6: 0.6, 20: 0.5, 100: 0.35}


def texture(rng: np.random.Generator) -> np.ndarray:
    """Return a surface under uneven light, ``(SIDE, SIDE, 3)`` float."""
    height = np.zeros((SIDE, SIDE))
    for grains, strength in _NOISE.items():
        noise = Image.fromarray(rng.normal(size=(grains + 2, grains + 2)).astype(np.float32))
        height += strength * np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    stripes = np.sin(np.arange(SIDE) * rng.uniform(0.2, 0.8) + rng.uniform(0, 6)) * rng.uniform(0, 0.5)
    light = np.linspace(-1, 1, SIDE)
    height += stripes[:, None] + rng.uniform(-1, 1) * light[:, None] + rng.uniform(-1, 1) * light
    colour = rng.uniform(90, 170) + rng.normal(0, 6, 3)
    return np.clip(colour + 14 * height[..., None], 0, 255)


def add_defect(picture: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture with a defect, and the area of the defect, ``(SIDE, SIDE)`` bool."""
    area = Image.new("L", (SIDE, SIDE), 0)
    draw = ImageDraw.Draw(area)
    x, y = rng.uniform(25, SIDE - 25, 2)
    tint, blur = np.ones(3), 0.8
    if kind == "scratch":
        angle, length, bend = rng.uniform(0, np.pi), rng.uniform(25, 70), rng.normal(0, 8)
        t = np.linspace(-1, 1, 12)
        along, across = length / 2 * t, bend * t**2
        points = np.stack(
            [
                x + along * np.cos(angle) - across * np.sin(angle),
                y + along * np.sin(angle) + across * np.cos(angle),
            ],
            axis=1,
        )
        draw.line([tuple(point) for point in points], fill=255, width=int(rng.integers(2, 5)))
        change = rng.choice([-1, 1]) * rng.uniform(35, 70)
    elif kind == "hole":
        radius, flat = rng.uniform(4, 11), rng.uniform(0.7, 1.2)
        draw.ellipse([x - radius, y - radius * flat, x + radius, y + radius * flat], fill=255)
        change = -rng.uniform(50, 90)
    else:
        for _ in range(6):
            (dx, dy), radius = rng.normal(0, 10, 2), rng.uniform(6, 16)
            draw.ellipse([x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius], fill=255)
        change, tint, blur = -rng.uniform(15, 32), np.array([0.7, 0.9, 1.3]), 2.5
    soft = np.asarray(area.filter(ImageFilter.GaussianBlur(blur))) / 255
    return np.clip(picture + change * soft[..., None] * tint, 0, 255), np.asarray(area) > 0


def make(root: Path, seed: int = 0, sizes: dict[str, int] = SIZES) -> None:
    """Write the set.

    Args:
        root: The folder, which is empty or does not exist yet.
        seed: The seed of all pictures.
        sizes: The number of pictures by split.

    Raises:
        FileExistsError: If the folder is not empty.
    """
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty, expected a new folder")
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for split, count in sizes.items():
        for number in range(count):
            name = f"{split}_{number:04d}"
            picture, mask = texture(rng), np.zeros((SIDE, SIDE), np.uint8)
            for index, kind in enumerate(CLASSES, start=1):
                if rng.random() < DEFECT_RATE:
                    picture, area = add_defect(picture, kind, rng)
                    mask[area] = index
            shown = [kind for index, kind in enumerate(CLASSES, start=1) if (mask == index).any()]
            is_masked = split != "train" or rng.random() < MASK_RATE
            Image.fromarray(picture.astype(np.uint8)).save(root / "images" / f"{name}.jpg", quality=92)
            if shown and is_masked:
                Image.fromarray(mask).save(root / "masks" / f"{name}.png")
            rows.append((f"{name}.jpg", ";".join(shown), split))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "classes", "split"), *rows])
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make(args.root, args.seed)
    print(f"{sum(SIZES.values())} pictures: {args.root}")
