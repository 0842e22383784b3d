"""Lay Waterbirds out as data/README.md says, for the folder presets.

    python data/prepare_waterbirds.py WATERBIRDS DIR

``WATERBIRDS`` is the published folder (Sagawa et al., ICLR 2020): ``metadata.csv``, the pictures that it names, and
beside them ``bounding_boxes.txt`` of CUB-200-2011 (``img_id x y width height``, pixels of these pictures).

- The pictures are linked, not copied, where the file system can. Nothing in ``WATERBIRDS`` is changed.
- The classes are landbird and waterbird, one a picture; the splits are train, val and test.
- The pictures of the test are there a second time, as a further test set for each group of class and ground, such as
  ``waterbird_on_land``. The lowest of their accuracies is that of the worst group.
- Every picture has its box; a box that reaches beyond its picture is clipped. The boxes of val and test are also
  drawn as masks, against which maps are scored: the energy inside is then that inside the box.
"""

import argparse
import csv
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CLASSES = ("landbird", "waterbird")
GROUNDS = ("land", "water")
SPLITS = ("train", "val", "test")
_BOXES = "bounding_boxes.txt"


class Bird(NamedTuple):
    """A row of ``metadata.csv``.

    Attributes:
        img_id: The number of the picture in CUB-200-2011.
        filename: The picture, relative to the folder.
        kind: The class, one of ``CLASSES``.
        ground: One of ``GROUNDS``.
        split: One of ``SPLITS``.
    """

    img_id: str
    filename: str
    kind: str
    ground: str
    split: str


def read_birds(path: Path) -> list[Bird]:
    """Read ``metadata.csv``.

    Raises:
        ValueError: If a column is missing, or a number stands for no class, ground or split.
    """
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        missing = {"img_id", "img_filename", "y", "place", "split"} - set(table.fieldnames or ())
        if missing:
            raise ValueError(f"{path}:1: no column {min(missing)!r}; got {','.join(table.fieldnames or ())}")
        birds = []
        for line, row in enumerate(table, start=2):
            named = []
            for column, names in (("y", CLASSES), ("place", GROUNDS), ("split", SPLITS)):
                numbers = [str(number) for number in range(len(names))]
                if row[column] not in numbers:
                    raise ValueError(
                        f"{path}:{line}: {column} is {row[column]!r}, expected one of {', '.join(numbers)}"
                    )
                named.append(names[int(row[column])])
            birds.append(Bird(row["img_id"], row["img_filename"], *named))
    return birds


def read_boxes(path: Path) -> dict[str, np.ndarray]:
    """Read CUB's boxes: ``(xmin, ymin, xmax, ymax)`` of each picture by its number, pixels.

    Raises:
        ValueError: If a line is not a number of a picture and four numbers.
    """
    boxes = {}
    for line, text in enumerate(path.read_text().splitlines(), start=1):
        img_id, *numbers = text.split()
        try:
            x, y, width, height = map(float, numbers)
        except ValueError as error:
            raise ValueError(f"{path}:{line}: got {text!r}, expected img_id x y width height") from error
        boxes[img_id] = np.array([x, y, x + width, y + height])
    return boxes


def link(source: Path, target: Path) -> None:
    """Link a file; it is copied where the file system has no links.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    source = source.resolve(strict=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    for way in (os.link, os.symlink, shutil.copyfile):
        try:
            way(source, target)
        except OSError:
            if way is shutil.copyfile:
                raise
        else:
            return


def clipped(box: np.ndarray, size: tuple[int, int], where: str) -> np.ndarray:
    """Return the part of a box that lies in a picture of ``size``, width and height.

    Raises:
        ValueError: If no part does.

    Example:
        >>> clipped(np.array([-3.0, 10.0, 20.0, 60.0]), (40, 50), "box").tolist()
        [0.0, 10.0, 20.0, 50.0]
    """
    inside: np.ndarray = np.clip(box, 0, [*size, *size])
    if not (inside[:2] < inside[2:]).all():
        raise ValueError(f"{where} is {box.tolist()}, expected a part of it in the picture of {size} pixels")
    return inside


def draw_mask(box: np.ndarray, size: tuple[int, int], value: int, path: Path) -> None:
    """Write a mask that is ``value`` in a box, and 0 elsewhere; it shows a pixel of the smallest box."""
    left, top = np.minimum(box[:2].round().astype(int), np.array(size) - 1)
    right, bottom = np.maximum(box[2:].round().astype(int), (left + 1, top + 1))
    mask = np.zeros(size[::-1], np.uint8)
    mask[top:bottom, left:right] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def prepare(source: Path, root: Path) -> tuple[int, int]:
    """Write the folder.

    Args:
        source: The folder as published, with ``bounding_boxes.txt``.
        root: The folder that is made; it is empty or does not exist yet.

    Returns:
        The number of pictures, and of boxes that were clipped.

    Raises:
        FileExistsError: If the folder is not empty.
        FileNotFoundError, ValueError: If a table, a picture or a box is missing or unfit.
    """
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty, expected a new folder")
    birds, boxes = read_birds(source / "metadata.csv"), read_boxes(source / _BOXES)
    labels, corners, num_clipped = [], [], 0
    for bird in birds:
        if bird.img_id not in boxes:
            raise ValueError(f"{source / _BOXES}: no box of {bird.filename}, img_id {bird.img_id}")
        picture = source / bird.filename
        link(picture, root / "images" / bird.filename)
        with Image.open(picture) as image:
            size = image.size
        box = clipped(boxes[bird.img_id], size, f"{source / _BOXES}: the box of img_id {bird.img_id}")
        num_clipped += bool((box != boxes[bird.img_id]).any())
        labels.append((bird.filename, bird.kind, bird.split))
        corners.append((bird.filename, bird.kind, *(f"{corner:g}" for corner in box)))
        if bird.split != "train":
            mask = (root / "masks" / bird.filename).with_suffix(".png")
            draw_mask(box, size, CLASSES.index(bird.kind) + 1, mask)
        if bird.split == "test":
            group = f"{bird.kind}_on_{bird.ground}"
            link(picture, root / "images" / group / bird.filename)
            labels.append((f"{group}/{bird.filename}", bird.kind, group))
    _write(root / "labels.csv", [("filename", "classes", "split"), *labels])
    _write(root / "boxes.csv", [("filename", "class", "xmin", "ymin", "xmax", "ymax"), *corners])
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return len(birds), num_clipped


def _write(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def main(argv: list[str] | None = None) -> int:
    """Run the script; its exit status is 1 if something is missing or broken."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("source", type=Path, metavar="WATERBIRDS")
    parser.add_argument("root", type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    try:
        num_birds, num_clipped = prepare(args.source, args.root)
    except (OSError, ValueError) as error:
        print(f"prepare_waterbirds: error: {error}", file=sys.stderr)
        return 1
    print(f"{num_birds} pictures, {num_clipped} boxes clipped to their picture: {args.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
