"""From a biased classifier to one that is guided by marks, and back through the tool that people mark with.

    python benchmarks/round_trip.py --out runs/round_trip

The data are boats that are always on water, laid out as a folder of one's own, without a mask on any training picture.
Every step but one is a command of ``gain`` as docs/annotate.md gives it: train, ``next``, import the marks, train with
them, ``next`` again, ``compare``. The person who marks is the exception: their file is written here in the tool's
format, out of the true masks. Draws ``next.png`` and ``round_trip.png`` into --out. The command may be given again: it
skips what is done. Options that it does not know are those of ``gain fit``.
"""

import argparse
import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gain_lightning.datasets.shapes.boat import CLASSES, draw_picture
from gain_lightning.datasets.shapes.picture import Picture
from gain_lightning.datasets.writers import WRITERS, open_writers
from gain_lightning.datasets.writers.base import of_index_mask
from gain_lightning.drawing.encoding import save_indexed, save_png
from gain_lightning.drawing.grids import map_grid
from gain_lightning.runs.making import Making
from gain_lightning.runs.maps import require_maps

# What an import takes of each tool's files.
MARKS = {
    "coco": "coco.json",
    "labelme": "labelme",
    "labelstudio": "labelstudio.json",
    "cvat": "cvat.xml",
}
# LabelMe has a file for each picture: one without is not marked, which the person says.
ASKED = {"labelme": ["--unannotated", "leave_out"]}
FURTHER = ("boat_without_water", "water_without_boat")
# Pictures of the comparison.
_DRAWN = 6


def main() -> None:
    """Go all the way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for data, runs and pictures")
    parser.add_argument("--tool", choices=list(WRITERS), default="coco", help="default: %(default)s")
    parser.add_argument(
        "--num_train", type=int, default=1200, help="training pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--num_test", type=int, default=200, help="of each other split (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=20, help="pictures to mark (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings (default: %(default)s)")
    args, options = parser.parse_known_args()
    out = args.out
    sizes = {"train": args.num_train, **dict.fromkeys(("val", "test", *FURTHER), args.num_test)}
    if not (out / "boats" / "labels.csv").is_file():
        make_folder(out / "boats", sizes)
    making, data = Making(out), ["--data", "FolderDataModule", f"--data.root={out / 'boats'}"]
    data += ["--data.image_size=96", "--data.accuracy_class=boat", "--data.num_workers=0"]
    data += ["--data.batch_size=32", "--data.masked_batch_size=8", *options]
    making.fit(out / "gradcam", args.seed, "--config", "experiments/shapes/gradcam.yaml", *data)
    if not (out / "next1" / "next.json").is_file():
        shutil.rmtree(out / "next1", ignore_errors=True)
        making.do(
            *("next", str(out / "gradcam"), f"--count={args.count}"),
            *("--export", args.tool, f"--out={out / 'next1'}"),
        )
    marks = mark(args.tool, out / "next1", out / "marks", true_masks(out / "next1"))
    making.do("data", "import", str(marks), "--out", str(out / "boats"), *ASKED.get(args.tool, []))
    budget = f"--data.mask_budget={out / 'next1' / 'mask_list.txt'}"
    making.fit(out / "gain_ext", args.seed, "--config", "experiments/shapes/gain_ext.yaml", *data, budget)
    if not (out / "next2" / "next.json").is_file():
        shutil.rmtree(out / "next2", ignore_errors=True)
        making.do("next", str(out / "gain_ext"), f"--count={args.count}", f"--out={out / 'next2'}")
    making.do("compare", str(out / "gradcam"), str(out / "gain_ext"), f"--out={out / 'report'}")
    draw(out)


def make_folder(folder: Path, sizes: Mapping[str, int]) -> None:
    """Write pictures of boats as a folder of our own form; those of the training have no masks."""
    rows = []
    for split, size in sizes.items():
        for number in range(size):
            picture, name = draw_picture(number, split), f"{split}/{number:04}"
            path = folder / "images" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_png(path, picture.image)
            if split != "train":
                save_indexed(folder / "masks" / f"{name}.png", picture.mask)
            labels = ";".join(CLASSES[class_idx] for class_idx in np.flatnonzero(picture.label))
            rows.append([f"{name}.png", labels, split])
    # without it classes are sorted by name, and masks of indices would mean others
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "classes", "split"], *rows])


def picture_of(name: str) -> Picture:
    """Draw the picture of a name in the folder anew, with its true mask."""
    split, number = Path(name).with_suffix("").parts
    return draw_picture(int(number), split)


def true_masks(chosen: Path) -> dict[str, np.ndarray]:
    """Return the true masks of the pictures that ``gain next`` has chosen, by name."""
    names = (chosen / "to_mark.txt").read_text().split()
    return {name: picture_of(name).mask for name in names}


def mark(tool: str, chosen: Path, folder: Path, masks: Mapping[str, np.ndarray]) -> Path:
    """Write what a tool exports when a person has marked the chosen pictures.

    Args:
        tool: A key of :data:`MARKS`.
        chosen: The folder of ``gain next``, with the pictures.
        folder: The folder for the tool's files.
        masks: The mask of class indices of each picture.

    Returns:
        What ``gain data import`` takes.
    """
    (writer,) = open_writers([tool], folder, CLASSES, chosen / "images", "a person")
    for name, mask in masks.items():
        writer.add(of_index_mask(name, mask, []))
    writer.finish()
    path = folder / MARKS[tool]
    if tool == "labelstudio":
        # a person's work is an annotation, not a prediction
        tasks = json.loads(path.read_text())
        for task in tasks:
            (prediction,) = task.pop("predictions")
            task["annotations"] = [{"was_cancelled": False, "result": prediction["result"]}]
        path.write_text(json.dumps(tasks))
    return path


def draw(out: Path) -> None:
    """Draw the boats of the test whose maps the marks change most: the picture, its map before, and after."""
    shutil.copyfile(out / "next1" / "next.png", out / "next.png")
    before, after = require_maps(out / "gradcam"), require_maps(out / "gain_ext")
    of_boats = np.flatnonzero(before.pair_class == CLASSES.index("boat"))
    change = np.abs(before.map[of_boats] - after.map[of_boats]).mean((1, 2))
    tiles = [
        (before.image[before.pair_image[pair]], [before.map[pair], after.map[pair]], "picture, before, after")
        for pair in of_boats[np.argsort(-change)[:_DRAWN]].tolist()
    ]
    save_png(out / "round_trip.png", map_grid(tiles, side=128))


if __name__ == "__main__":
    main()
