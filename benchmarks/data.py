"""Measure how fast one process, such as a loader's worker, loads pictures, beside two other pipelines.

    python benchmarks/data.py --root VOCdevkit --json data.json

This prints images a second, and the ratios to PIL with torchvision's v2 transforms doing the same and to a bare loop
that only decodes the JPEG and resizes it with OpenCV, at the pictures' own size and enlarged to 500 x 375 (VOC's usual
size). Then it measures the start: the seconds from making the VOC data module for 10,582 images to its first batch,
and the growth of a worker's memory over an epoch.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.readers.voc import find_root, read_voc
from gain_lightning.datasets.sample import collate
from gain_lightning.datasets.streams import Draw
from gain_lightning.datasets.transforms import Augmentation
from gain_lightning.datasets.voc12 import VOC12DataModule

# Side of the loaded pictures in pixels.
SIZE = 224
BATCH = 32
NUM_TRAIN_AUG = 10582


def ours(dataset: ImageSet) -> Callable[[list[int]], object]:
    """Return a loader of our data set's samples, collated."""
    return lambda indices: collate([dataset[Draw(index, 0)] for index in indices])


def torchvision_pipeline(dataset: ImageSet, training: bool) -> Callable[[list[int]], object]:
    """Return the loader that many would write: PIL decodes, v2 resizes and flips, then uint8 tensors with labels."""
    flips = [v2.RandomHorizontalFlip()] if training else []
    transform = v2.Compose([v2.Resize((SIZE, SIZE)), *flips, v2.PILToTensor()])

    def sample(index: int) -> dict:
        with Image.open(dataset.listing.image_path(index)) as image:
            tensor = transform(image.convert("RGB"))
        label = torch.from_numpy(dataset.labels[index].astype(np.float32))
        return {"image": tensor, "label": label, "id": str(dataset.ids[index])}

    return lambda indices: default_collate([sample(index) for index in indices])


def bare(dataset: ImageSet) -> Callable[[list[int]], object]:
    """Return a loader that decodes and resizes, and does nothing else."""
    paths = [str(dataset.listing.image_path(index)) for index in range(len(dataset))]

    def load(indices: list[int]) -> None:
        for index in indices:
            cv2.resize(cv2.imread(paths[index]), (SIZE, SIZE))

    return load


def compare(loaders: dict[str, Callable], num_images: int, rounds: int) -> dict[str, float]:
    """Return the median images a second of each loader.

    The loaders take turns pass by pass, and each is alone in its pass, as in a worker.
    """
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    batches = [list(range(first, first + BATCH)) for first in range(0, num_images - BATCH + 1, BATCH)]
    for number in range(rounds + 1):
        for name, load in loaders.items():
            started = time.perf_counter()
            for batch in batches:
                load(batch)
            # The first pass fills the caches.
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: len(batches) * BATCH / statistics.median(times) for name, times in seconds.items()}


def enlarged(root: Path, ids: np.ndarray, folder: Path) -> Path:
    """Make a VOC folder whose pictures are 500 pixels long, as JPEG of quality 90."""
    for name in ("JPEGImages", "ImageSets/Segmentation", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    os.symlink(root / "Annotations", folder / "Annotations")
    for image_id in ids:
        with Image.open(root / "JPEGImages" / f"{image_id}.jpg") as image:
            factor = 500 / max(image.size)
            size = (round(image.width * factor), round(image.height * factor))
            image.resize(size, Image.Resampling.BICUBIC).save(
                folder / "JPEGImages" / f"{image_id}.jpg", quality=90
            )
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(ids) + "\n")
    return folder


def throughput(root: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return images a second and ratios for training and validation, at both sizes."""
    ids = read_voc(root, "train", "SegmentationClass")[0].ids[: 8 * BATCH]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, place in (("as is", root), ("500 x 375", enlarged(root, ids, Path(folder) / "VOC2012"))):
            listing = read_voc(place, "train", "SegmentationClass")[0]
            listing = listing.take(np.arange(min(len(listing), 8 * BATCH)))
            for phase, augmentation in (("train", Augmentation()), ("val", None)):
                dataset = ImageSet(listing, image_size=SIZE, augmentation=augmentation, supervision="none")
                speed = compare(
                    {
                        "ours": ours(dataset),
                        "torchvision": torchvision_pipeline(dataset, phase == "train"),
                        "bare": bare(dataset),
                    },
                    len(dataset),
                    rounds,
                )
                ratios = {
                    f"ours / {other}": speed["ours"] / speed[other] for other in ("torchvision", "bare")
                }
                results[f"{phase}, {name}"] = {**speed, **ratios}
    return results


class _Repeated(Dataset):
    """A data set that loads its samples and returns the memory of the worker that it runs in."""

    def __init__(self, dataset: ImageSet) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, int]:
        self.dataset[Draw(index, 0)]
        return os.getpid(), own_memory() if index % 100 == 0 else 0


def own_memory() -> int:
    """Return the bytes that this process alone holds, with copies of its parent's pages but without shared ones."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(
        int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))
    )


def start(root: Path) -> dict[str, float]:
    """Return the seconds to the first batch of 10,582 images, and the MiB that a worker grows over an epoch."""
    listing = read_voc(root, "train_aug", "SegmentationClassAug")[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "VOC2012"
        (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
        for kind in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationClassAug"):
            (folder / kind).mkdir()
        ids = [f"{number:05d}_{listing.ids[number % len(listing)]}" for number in range(NUM_TRAIN_AUG)]
        for image_id in ids:
            for kind, suffix in (
                ("JPEGImages", "jpg"),
                ("Annotations", "xml"),
                ("SegmentationClassAug", "png"),
            ):
                os.symlink(root / kind / f"{image_id[6:]}.{suffix}", folder / kind / f"{image_id}.{suffix}")
        val = (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
        for image_id in val:
            for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml"), ("SegmentationClass", "png")):
                os.symlink(root / kind / f"{image_id}.{suffix}", folder / kind / f"{image_id}.{suffix}")
        for split, names in (("train_aug", ids), ("val", val)):
            (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
        started = time.perf_counter()
        data = VOC12DataModule(root=str(folder), image_size=SIZE, mask_budget=200, num_workers=2)
        data.setup("fit")
        set_up = time.perf_counter() - started
        next(iter(data.train_dataloader()))
        first = time.perf_counter() - started
        memory: dict[int, list[int]] = {}
        for pids, held in DataLoader(_Repeated(data.train_set), BATCH, shuffle=True, num_workers=2):
            for pid, size in zip(pids.tolist(), held.tolist(), strict=True):
                if size:
                    memory.setdefault(pid, []).append(size)
    # The growth counts from the third look on, when the decoder's own buffers are there.
    growth = max((sizes[-1] - sizes[2]) / 2**20 for sizes in memory.values())
    return {"setup_s": set_up, "first_batch_s": first, "worker_growth_mib": growth}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="a VOC 2012 folder")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    root = find_root(args.root).resolve()
    results = {"throughput": throughput(root, args.rounds), "start": start(root)}
    for name, row in results["throughput"].items():
        speeds = "   ".join(f"{key} {row[key]:5.0f}" for key in ("ours", "torchvision", "bare"))
        ratios = "   ".join(f"{key} {row[key]:.2f}" for key in ("ours / torchvision", "ours / bare"))
        print(f"{name:<17} images/s: {speeds}   {ratios}")
    print("   ".join(f"{name} {value:.2f}" for name, value in results["start"].items()))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
