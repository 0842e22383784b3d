"""Make a set of pictures, laid out as data/README.md says, to try the folder presets on.

    python data/make_pictures.py SCENE DIR

The scenes are ``defects``, ``one_defect`` and ``small_objects``:

- ``defects``: surfaces with scratches, holes and stains, any of them or none; a tenth of the training pictures have
  masks.
- ``one_defect``: surfaces with one fainter defect, or none, which is a class of its own, ``normal``. Every defect has
  a mask.
- ``small_objects``: one small object of four kinds, on cluttered ground among other shapes. Every object has a mask.

The same seed makes the same pictures.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 200  # pixels
DEFECTS = ("scratch", "hole", "stain")
# The rate of pictures with a defect of each class, where a picture may have several.
DEFECT_RATE = 0.28
# The rate of pictures without a defect, where it is a class of its own.
NORMAL_RATE = 0.4
# The contrast of a defect beside the strong ones, from and to.
FAINT = (0.5, 1.0)
OBJECTS = ("star", "cross", "crescent", "arrow")
DISTRACTORS = ("disc", "square", "triangle", "bar", "half")
# The share of the picture that an object covers, from and to, and a distractor.
OBJECT_AREA = (0.02, 0.04)
DISTRACTOR_AREA = (0.005, 0.04)
# The strength of noise by its number of grains along a side.
_NOISE = {2: 1.0, 6: 0.6, 20: 0.5, 100: 0.35}
# The corners of shapes, x to the right and y down; those with arcs are drawn by _corners.
_STAR = [(0.4 if k % 2 else 1) * np.exp(1j * np.pi * k / 5) for k in range(10)]
_CORNERS = {
    "star": [(z.real, z.imag) for z in _STAR],
    "cross": [
        (1, 3),
        (1, 1),
        (3, 1),
        (3, -1),
        (1, -1),
        (1, -3),
        (-1, -3),
        (-1, -1),
        (-3, -1),
        (-3, 1),
        (-1, 1),
        (-1, 3),
    ],
    "arrow": [(0, -3), (2.5, 0), (1, 0), (1, 3), (-1, 3), (-1, 0), (-2.5, 0)],
    "square": [(1, 1), (1, -1), (-1, -1), (-1, 1)],
    "triangle": [(0, -1), (0.87, 0.5), (-0.87, 0.5)],
    "bar": [(4, 1), (4, -1), (-4, -1), (-4, 1)],
}


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


def add_defect(
    picture: np.ndarray, kind: str, rng: np.random.Generator, contrast: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
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
    return np.clip(picture + contrast * change * soft[..., None] * tint, 0, 255), np.asarray(area) > 0


def add_shape(
    picture: np.ndarray, kind: str, share: float, rng: np.random.Generator, free: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a shape, turned at random, in a colour of its own.

    Args:
        picture: The picture, ``(SIDE, SIDE, 3)`` float.
        kind: One of ``OBJECTS`` or ``DISTRACTORS``.
        share: The share of the picture that it covers.
        rng: The source of its place, angle and colour.
        free: Where it may lie, ``(SIDE, SIDE)`` bool; None allows any place.

    Returns:
        The picture, and the area of the shape, ``(SIDE, SIDE)`` bool; the picture as it was and no area, where none
        of 20 places was free.
    """
    corners = _corners(kind)
    x, y = corners.T
    unit = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    corners = (corners - corners.mean(0)) * SIDE * np.sqrt(share / unit)
    reach = np.linalg.norm(corners, axis=1).max() + 2
    colour = np.clip(
        picture.mean((0, 1)) + rng.choice([-1, 1]) * rng.uniform(45, 95) + rng.normal(0, 30, 3), 0, 255
    )
    for _ in range(20):
        turn = rng.uniform(0, 2 * np.pi)
        turned = corners @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        area = Image.new("L", (SIDE, SIDE), 0)
        points = turned + rng.uniform(min(reach, SIDE / 2), max(SIDE - reach, SIDE / 2), 2)
        ImageDraw.Draw(area).polygon([tuple(point) for point in points], fill=255)
        inside = np.asarray(area) > 0
        if free is None or free[inside].all():
            soft = np.asarray(area.filter(ImageFilter.GaussianBlur(0.8)))[..., None] / 255
            return picture + (colour - picture) * soft, inside
    return picture, np.zeros((SIDE, SIDE), bool)


def _corners(kind: str) -> np.ndarray:
    """Return the corners of a shape in a unit of its own, ``(n, 2)``."""
    if kind in _CORNERS:
        return np.array(_CORNERS[kind], float)
    half = np.linspace(0, np.pi, 24)
    arc = np.stack([np.cos(half), np.sin(half)], 1)
    if kind == "half":
        return arc
    # The other side of a disc is an arc outwards, that of a crescent one inwards.
    back = arc[::-1] * ((1, -1) if kind == "disc" else (1, 0.35))
    return np.concatenate([arc, back[1:-1]])


def defects(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a surface with any of the defects, and its mask of class indices."""
    picture, mask = texture(rng), np.zeros((SIDE, SIDE), np.uint8)
    for index, kind in enumerate(DEFECTS, start=1):
        if rng.random() < DEFECT_RATE:
            picture, area = add_defect(picture, kind, rng)
            mask[area] = index
    return picture, mask


def one_defect(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a surface with one faint defect or none, and its mask of class indices."""
    picture, mask = texture(rng), np.zeros((SIDE, SIDE), np.uint8)
    if rng.random() >= NORMAL_RATE:
        index = int(rng.integers(len(DEFECTS)))
        picture, area = add_defect(picture, DEFECTS[index], rng, rng.uniform(*FAINT))
        mask[area] = index + 1
    return picture, mask


def small_objects(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a small object on cluttered ground, and its mask of class indices."""
    picture, mask = texture(rng) + rng.normal(0, 25, 3), np.zeros((SIDE, SIDE), np.uint8)
    # Large faint shapes make the ground uneven.
    for _ in range(rng.integers(2, 6)):
        large, _ = add_shape(picture, str(rng.choice(DISTRACTORS)), rng.uniform(0.05, 0.3), rng)
        picture = picture + rng.uniform(0.2, 0.6) * (large - picture)
    index = int(rng.integers(len(OBJECTS)))
    picture, area = add_shape(picture, OBJECTS[index], rng.uniform(*OBJECT_AREA), rng)
    mask[area] = index + 1
    free = ~area
    for _ in range(rng.integers(2, 6)):
        share = rng.uniform(*DISTRACTOR_AREA)
        picture, area = add_shape(picture, str(rng.choice(DISTRACTORS)), share, rng, free)
        free = free & ~area
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255), mask


class Scene(NamedTuple):
    """What a set shows.

    Attributes:
        draw: Returns a picture, ``(SIDE, SIDE, 3)`` float, and its mask of class indices, ``(SIDE, SIDE)`` uint8.
        classes: The names of the classes by index.
        sizes: The number of pictures by split.
        mask_rate: The rate of masks among the training pictures that show a class.
        without: The class of pictures that show none; empty leaves them without a label.
    """

    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
    classes: tuple[str, ...]
    sizes: dict[str, int]
    mask_rate: float = 1.0
    without: str = ""


_SIZES = {"train": 600, "val": 200, "test": 200}
SCENES = {
    "defects": Scene(defects, DEFECTS, {"train": 400, "val": 100, "test": 200}, mask_rate=0.15),
    "one_defect": Scene(one_defect, (*DEFECTS, "normal"), _SIZES, without="normal"),
    "small_objects": Scene(small_objects, OBJECTS, _SIZES),
}


def make(root: Path, name: str = "defects", seed: int = 0, sizes: dict[str, int] | None = None) -> None:
    """Write a set.

    Args:
        root: The folder, which is empty or does not exist yet.
        name: A key of ``SCENES``.
        seed: The seed of all pictures.
        sizes: The number of pictures by split; None takes the scene's.

    Raises:
        FileExistsError: If the folder is not empty.
    """
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty, expected a new folder")
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    scene, rng, rows = SCENES[name], np.random.default_rng(seed), []
    for split, count in (sizes or scene.sizes).items():
        for number in range(count):
            stem = f"{split}_{number:04d}"
            picture, mask = scene.draw(rng)
            shown = [kind for index, kind in enumerate(scene.classes, start=1) if (mask == index).any()]
            is_masked = split != "train" or rng.random() < scene.mask_rate
            Image.fromarray(picture.astype(np.uint8)).save(root / "images" / f"{stem}.jpg", quality=92)
            if shown and is_masked:
                Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
            rows.append((f"{stem}.jpg", ";".join(shown) or scene.without, split))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "classes", "split"), *rows])
    (root / "classes.txt").write_text("\n".join(scene.classes) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", choices=SCENES, metavar="SCENE")
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make(args.root, args.scene, args.seed)
    print(f"{sum(SCENES[args.scene].sizes.values())} pictures: {args.root}")
