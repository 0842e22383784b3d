"""Score the seeds that a segmentation network has to beat, and measure how far cues can be trusted.

    python benchmarks/cues.py runs/section4_subset/gain_ext_63-0 --masks VOCdevkit/VOC2012/SegmentationClassAug

Two things are measured on a chain of `gain reproduce section4`:

- seeds on val: the mean IoU of the maps that made its cues, cut at the paper's threshold and at the best one, for the
  classes of the labels and for those that the classifier predicts;
- cues: precision and recall of the cues that a CRF makes of the maps of every n-th training image, at several scores
  of the background.

Cues of a second round come from `gain seeds` of the chain's SEC run, and `gain seeds score` judges them.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gain_lightning.attention import resize_maps, scale_maps
from gain_lightning.datasets.images import read_image
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.datasets.sample import collate
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.load import load_classifier
from gain_lightning.segmentation.cue_files import file_name, read_exchanged_maps, write_exchanged_maps
from gain_lightning.segmentation.run_images import run_images
from gain_lightning.segmentation.score_seeds import score_seeds
from gain_lightning.segmentation.seeds import (
    CUE_SIZE,
    attention_maps,
    crf_regions,
    cue_picture,
    make_cues,
    resize_pictures,
)
from gain_lightning.support.files import read_json

# Scores of the background beside maps.
SCORES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chain", type=Path, help="folder METHOD-SEED, with classifier/ and seeds/")
    parser.add_argument("--masks", type=Path, required=True, help="SegmentationClassAug of VOC2012")
    parser.add_argument("--mean_over", nargs="+", help="classes of the mean (default: of seeds.json)")
    parser.add_argument("--precision", type=float, default=0.771, help="recall at it (default: %(default)s)")
    parser.add_argument("--every", type=int, default=4, help="of the training images (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.mean_over = args.mean_over or read_json(args.chain / "seeds.json").get("mean_over")
    torch.set_num_threads(1)
    result: dict[str, Any] = {"seeds": own_seeds(args), "cues": scored(cues_of_maps(args), args)}
    for kind, sweep in result["seeds"].items():
        best = max(sweep, key=lambda threshold: sweep[threshold])
        print(f"seeds, classes {kind}: mIoU {sweep['0.2']:.1%} at 0.2, {sweep[best]:.1%} at {best}")
    for value, cue in result["cues"].items():
        precision = "none" if cue["precision"] is None else f"{cue['precision']:.1%}"
        print(f"cues, background {value}: precision {precision} at recall {cue['recall']:.1%}")
    recall = result["recall_cues"] = recall_at(args.precision, result["cues"])
    print(f"at precision {args.precision:.1%}: {'never' if recall is None else f'recall {recall:.1%}'}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def own_seeds(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the mean IoU at every threshold, for ``known`` and for ``predicted`` classes."""
    provenance = read_json(args.chain / "seeds" / "provenance.json")
    model = load_classifier(args.chain / "classifier" / "checkpoints" / "last.ckpt").eval()
    scales = provenance["scales"]
    images = run_images(args.chain / "classifier", None, "val", enlarge=max(1.0, *scales))
    with tempfile.TemporaryDirectory() as folder:
        row = 0
        for batch in DataLoader(images, 16, collate_fn=collate):
            shrink = model.hparams.image_size / batch["image"].shape[2]
            labels = {"known": batch["label"], "predicted": predicted(model, batch["image"], shrink)}
            for kind, label in labels.items():
                maps, pairs = attention_maps(
                    model,
                    batch["image"],
                    label,
                    scales=[scale * shrink for scale in scales],
                    flip=provenance["flip"],
                )
                for n, image_id in enumerate(batch["id"]):
                    is_of_image = pairs.image == n
                    own = scale_maps(resize_maps(maps[is_of_image], tuple(images.sizes[row + n])))
                    resized = own[:, 0].half().numpy()
                    content = {"keys": pairs.label[is_of_image].numpy()}
                    content |= {"cam": resized[:, ::4, ::4], "high_res": resized}
                    write_exchanged_maps(Path(folder) / kind / f"{file_name(image_id)}.npy", content)
            row += len(batch["image"])
        scores = {
            kind: score_seeds(Path(folder) / kind, args.masks, list(CLASSES), args.mean_over)
            for kind in labels
        }
    return {
        kind: {key: at["miou"] for key, at in score["thresholds"].items()} for kind, score in scores.items()
    }


def predicted(model: GAIN, image: Tensor, shrink: float) -> Tensor:
    """Return the classes with a positive score, else the one with the highest, ``(N, C)``.

    The pictures are resized to the network's size.
    """
    with torch.no_grad():
        logits = model(model.backbone.normalize(resize_pictures(image, shrink)))
    return (
        (logits > 0) | (logits == logits.amax(1, keepdim=True)) & (logits <= 0).all(1, keepdim=True)
    ).float()


def cues_of_maps(args: argparse.Namespace) -> dict[float, dict[str, np.ndarray]]:
    """Return the cues that a CRF makes of the maps of every n-th training image, by the background's score."""
    cues: dict[float, dict[str, np.ndarray]] = {score: {} for score in SCORES}
    for path in sorted((args.chain / "seeds" / "maps").glob("*.npy"))[:: args.every]:
        keys, maps = read_exchanged_maps(path)
        small = scale_maps(resize_maps(torch.from_numpy(maps)[:, None].float(), (CUE_SIZE, CUE_SIZE)))[:, 0]
        picture = read_image(args.masks.parent / "JPEGImages" / f"{path.stem}.jpg")
        picture = cue_picture(torch.from_numpy(picture).permute(2, 0, 1))
        nowhere = np.zeros((CUE_SIZE, CUE_SIZE), bool)
        for score, regions in zip(SCORES, crf_regions(small.numpy(), picture, SCORES), strict=True):
            cues[score][path.stem] = make_cues(
                regions.astype(np.float32), keys.tolist(), nowhere, threshold=0.5
            )
    return cues


def scored(cues: dict[float, dict[str, np.ndarray]], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the mean precision and recall of the classes' cues."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for value, by_name in cues.items():
            np.savez(Path(folder) / "cues.npz", **by_name)
            mean = score_seeds(Path(folder) / "cues.npz", args.masks, list(CLASSES), args.mean_over)["mean"]
            found[str(value)] = {key: mean[key] for key in ("precision", "recall")}
    return found


def recall_at(precision: float, cues: dict[str, dict[str, Any]]) -> float | None:
    """Return the highest recall at a precision or above it; None if there is none.

    Between two values a straight line is taken.
    """
    points = [(cue["precision"], cue["recall"]) for cue in cues.values() if cue["precision"] is not None]
    found = [r for p, r in points if p >= precision]
    for (p, r), (q, s) in itertools.pairwise(points):
        if min(p, q) < precision < max(p, q):
            found.append(r + (precision - p) / (q - p) * (s - r))
    return max(found, default=None)


if __name__ == "__main__":
    main()
