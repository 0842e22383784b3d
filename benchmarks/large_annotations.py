"""Measure how long a made file of COCO's size takes to open, the memory that this needs, and when a batch comes.

python benchmarks/large_annotations.py --images 118000 --json large.json
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# COCO's train2017 has 118,287 pictures, 860,001 annotations and 80 classes; an outline of it has 27 points on average.
PER_IMAGE, CLASSES, POINTS = 7.27, 80, 27
WIDTH, HEIGHT = 640, 480
# a file system allows so many names for one file
NAMES_PER_FILE = 20_000


def make_set(root: Path, images: int) -> Path:
    """Write the pictures, many names for a few files, and the annotations, a hundredth of them crowds."""
    rng = np.random.default_rng(0)
    folder = root / "train2017"
    folder.mkdir(parents=True)
    for number in range(images):
        path = folder / f"{number:012}.jpg"
        if number % NAMES_PER_FILE == 0:
            first = path
            small = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
            Image.fromarray(small).resize((WIDTH, HEIGHT)).save(first, quality=90)
        else:
            os.link(first, path)
    file = root / "annotations" / "instances_train2017.json"
    file.parent.mkdir()
    with file.open("w") as out:
        pictures = [
            {"id": number, "file_name": f"{number:012}.jpg", "height": HEIGHT, "width": WIDTH, "license": 1}
            for number in range(images)
        ]
        classes = [{"id": number + 1, "name": f"class {number}"} for number in range(CLASSES)]
        out.write(
            f'{{"images": {json.dumps(pictures)}, "categories": {json.dumps(classes)}, "annotations": ['
        )
        for number in range(round(images * PER_IMAGE)):
            # every picture has one
            image = number if number < images else int(rng.integers(images))
            out.write((", " if number else "") + json.dumps(annotation(rng, number, image)))
        out.write("]}")
    return file


def annotation(rng: np.random.Generator, number: int, image: int) -> dict:
    """Make an object with an outline, or a crowd with runs."""
    centre = rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60))
    radius = rng.uniform(5, 60)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    points = centre + radius * rng.uniform(0.6, 1, (POINTS, 1)) * np.stack(
        [np.cos(angles), np.sin(angles)], 1
    )
    x, y = (centre - radius).round(2).tolist()
    is_crowd = number % 100 == 99
    outline: list | dict = [points.round(2).ravel().tolist()]
    if is_crowd:
        left = int(x) * HEIGHT
        outline = {"size": [HEIGHT, WIDTH], "counts": [left, 9_600, HEIGHT * WIDTH - left - 9_600]}
    return {
        "segmentation": outline,
        "area": round(float(np.pi * radius**2), 2),
        "iscrowd": int(is_crowd),
        "image_id": image,
        "bbox": [x, y, round(2 * radius, 2), round(2 * radius, 2)],
        "category_id": int(rng.integers(CLASSES)) + 1,
        "id": number,
    }


def measure(file: Path, answers: multiprocessing.Queue) -> None:
    """Open the set as a training does and take its first batch, in a process of its own."""
    from gain_lightning.datasets.folder import FolderDataModule

    times = [(time.perf_counter(), time.process_time())]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = FolderDataModule(root=str(file), mask_budget=0.01, num_workers=0)
    data.setup("fit")
    times.append((time.perf_counter(), time.process_time()))
    batch = next(iter(data.train_dataloader()))[0]
    times.append((time.perf_counter(), time.process_time()))
    (opened, opened_cpu), (first, first_cpu) = (np.diff(times, axis=0)).tolist()
    answers.put(
        {
            "pictures": len(data.train_set) + len(data.val_set),
            "open, s": opened,
            "open, s of CPU": opened_cpu,
            "first batch, s": first,
            "first batch, s of CPU": first_cpu,
            "masks in it": len(batch["masked"]["mask"]),
            "memory before, GiB": before / 2**20,
            "most memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    )


def main() -> None:
    """Make the set, measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--keep", type=Path, help="folder of the made set, which is made if it is not there")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.keep or Path(folder)
        file = root / "annotations" / "instances_train2017.json"
        file = file if file.is_file() else make_set(root, args.images)
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        process = context.Process(target=measure, args=(file, answers))
        process.start()
        result = answers.get()
        process.join()
    for name, value in result.items():
        print(f"{name:<24}{value:10.2f}" if isinstance(value, float) else f"{name:<24}{value:>10}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
