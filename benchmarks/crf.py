"""Compare the dense CRF in torch, which is exact, with pydensecrf2 on real pictures: how alike and how fast they are.

    python benchmarks/crf.py --root VOCdevkit --json crf.json

At 41 x 41, with all widths divided by 12 as in SEC's training, this measures the mean absolute difference of the
marginals, the share of pixels with the same likeliest class, and the seconds of a batch of 15 with 21 classes and with
the present ones alone. Then it times pydensecrf2 in one process on pictures enlarged to 500 x 375 (VOC's usual size).
Scores are blurred masks, or SEC's cues if a file of them is named, with noise. ``--root`` defaults to GAIN_VOC_ROOT.
The extra ``crf`` is needed.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gain_lightning.datasets.readers.voc import find_root
from gain_lightning.segmentation.crf.dense import Kernels, dense_crf

# The background is one of the classes.
NUM_CLASSES = 21
CUE_SIZE = 41
# SEC trains with this batch size.
BATCH = 15
TRAINING = Kernels(shrink=12)
# Height and width of VOC's usual pictures.
FULL_SIZE = (375, 500)


def label_maps(root: Path, cues: Path | None, count: int) -> dict[str, np.ndarray]:
    """Return the labels ``(h, w)`` uint8, 255 void, of evenly spaced images by id."""
    if cues:
        with np.load(cues) as file:
            ids = sorted(file.files)
            return {name: file[name] for name in ids[:: max(len(ids) // count, 1)][:count]}
    paths = sorted((root / "SegmentationClass").glob("*.png"))
    paths = paths[:: max(len(paths) // count, 1)][:count]
    return {path.stem: np.array(Image.open(path)) for path in paths}


def scene(
    root: Path, labels: dict[str, np.ndarray], size: tuple[int, int], noise: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-probabilities ``(N, 21, H, W)``, pictures ``(N, H, W, 3)`` and present classes ``(N, 21)``."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    log_probs, images, present = [], [], []
    for name, label in labels.items():
        small = np.array(Image.fromarray(label).resize((CUE_SIZE, CUE_SIZE), Image.Resampling.NEAREST))
        # A void pixel shows no class.
        shown = torch.stack([torch.from_numpy(small == c) for c in range(NUM_CLASSES)]).float()
        scores = 4 * F.avg_pool2d(shown[None], 9, 1, 4)
        scores = scores + noise * torch.randn(scores.shape, generator=generator)
        log_probs.append(F.interpolate(scores, size, mode="bilinear").log_softmax(1))
        with Image.open(root / "JPEGImages" / f"{name}.jpg") as image:
            resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        images.append(torch.from_numpy(np.array(resized)))
        present.append(torch.tensor([c == 0 or bool((label == c).any()) for c in range(NUM_CLASSES)]))
    return torch.cat(log_probs), torch.stack(images), torch.stack(present)


def agreement(log_probs: Tensor, image: Tensor) -> dict[str, float]:
    """Return how far the two backends lie apart, and how much the CRF changes at all."""
    exact = dense_crf(log_probs, image, TRAINING)
    lattice = dense_crf(log_probs, image, TRAINING, backend="pydensecrf2")
    difference = (exact - lattice).abs()
    return {
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
        "same_class": float((exact.argmax(1) == lattice.argmax(1)).float().mean()),
        "mean_change": float((exact - log_probs.exp()).abs().mean()),
        "changed_class": float((exact.argmax(1) != log_probs.argmax(1)).float().mean()),
    }


def seconds(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median and the least seconds of each variant; they take turns, since the machine may be shared."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            started = time.perf_counter()
            variant()
            if number:
                times[name].append(time.perf_counter() - started)
    return {name: {"median": statistics.median(row), "least": min(row)} for name, row in times.items()}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", default=os.environ.get("GAIN_VOC_ROOT"))
    parser.add_argument("--cues", type=Path, help="SEC's cues as npz: id to (41, 41) labels, 255 none")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--full_images", type=int, default=5)
    parser.add_argument("--noise", type=float, default=0.5, help="standard deviation, of scores of 0 to 4")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count()])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not args.root:
        parser.error("--root is missing, expected VOC 2012's folder")
    root = find_root(args.root)
    labels = label_maps(root, args.cues, args.images)
    log_probs, image, present = scene(root, labels, (CUE_SIZE, CUE_SIZE), args.noise)
    result: dict[str, Any] = {"images": len(image), "agreement": agreement(log_probs, image)}
    print(
        f"{len(image)} images, {CUE_SIZE} x {CUE_SIZE}: mean difference "
        f"{result['agreement']['mean_difference']:.5f}, same class {result['agreement']['same_class']:.2%}; "
        f"the CRF changes {result['agreement']['mean_change']:.5f}, {result['agreement']['changed_class']:.2%}"
    )
    batch, present = (log_probs[:BATCH], image[:BATCH]), present[:BATCH]
    variants = {
        "torch": lambda: dense_crf(*batch, TRAINING),
        "torch, present": lambda: dense_crf(*batch, TRAINING, present=present),
        "pydensecrf2": lambda: dense_crf(*batch, TRAINING, backend="pydensecrf2"),
        "pydensecrf2, present": lambda: dense_crf(*batch, TRAINING, present=present, backend="pydensecrf2"),
    }
    for threads in args.threads:
        torch.set_num_threads(threads)
        row = result[f"seconds, {threads} threads"] = seconds(variants, args.rounds)
        base = row["torch"]
        others = [f"{name} {row[name]['median'] / base['median']:.2f} x" for name in list(variants)[1:]]
        print(
            f"{len(batch[0])} images x {NUM_CLASSES} classes, {threads} threads: torch {base['median']:.2f} s "
            f"(least {base['least']:.2f}); {', '.join(others)}"
        )
    few = dict(list(labels.items())[: args.full_images])
    log_probs, image, present = scene(root, few, FULL_SIZE, args.noise)
    whole = {
        "all": lambda: dense_crf(log_probs, image, backend="pydensecrf2"),
        "present": lambda: dense_crf(log_probs, image, present=present, backend="pydensecrf2"),
    }
    row = {
        name: {key: value / len(few) for key, value in times.items()}
        for name, times in seconds(whole, 2).items()
    }
    result["seconds an image, full size"] = row
    print(
        f"{FULL_SIZE[1]} x {FULL_SIZE[0]}, {NUM_CLASSES} classes, pydensecrf2: {row['all']['median']:.2f} s an image "
        f"(least {row['all']['least']:.2f}); present {row['present']['median'] / row['all']['median']:.2f} x"
    )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
