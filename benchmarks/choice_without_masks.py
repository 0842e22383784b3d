"""Which score that needs no mask says which run has the better maps? Its rank correlation with seed mIoU.

    python benchmarks/choice_without_masks.py runs/*/ --root VOCdevkit --json choice.json

A person without any mask still has to choose weights and epochs. Every run (a folder, or a checkpoint of one) is
measured on the images of VOC 2012 by scores that need labels alone:

- mean_ap, loss_cl: classification of the validation images;
- remaining: probability of a class on the image from which its map is erased (S_am's, at the paper's form of Eq. 4);
- drop: the probability on the whole image, less that one;
- sufficient: probability of a class on its attended pixels alone;
- mirror, rescaled: how well maps of an image agree with those of the mirrored and of a smaller image, as the sum of
  the lower values over that of the higher ones;
- area, above: mean of a map, and share of its pixels above 20 % of its maximum;
- apart: how little the maps of an image's classes lie on each other;
- crf: how well the region above 20 % agrees with what a dense CRF makes of it by the image's colours (IoU);
- centre: how well maps agree with one that looks at the centre of every image;
- deletion, insertion: areas under the curves of Petsiuk et al., pixels replaced by a blur, on the first images.

All but the first two are means over (image, class) pairs of evenly spaced training images. Spearman's rho of each with
the seed mIoU of the validation images, at 20 % and at the best threshold, is printed over all runs and within each
method of at least three. Runs that the file --json holds already are not measured again.
"""

import argparse
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchmetrics.functional import spearman_corrcoef

from gain_lightning.attention import Pairs, erase, scale_maps, soft_mask
from gain_lightning.datasets.resize import resize_image
from gain_lightning.datasets.sample import PictureSet, collate
from gain_lightning.datasets.voc12 import VOC12DataModule
from gain_lightning.losses.mining import remaining_score
from gain_lightning.methods.classifier import Classifier, masks_of_pairs
from gain_lightning.methods.load import load_classifier
from gain_lightning.methods.scoring import SEED_THRESHOLD, SetScores
from gain_lightning.metrics import center_gaussian
from gain_lightning.metrics.faithfulness import deletion_and_insertion
from gain_lightning.runs.checkpoints import newest_checkpoint
from gain_lightning.segmentation.seeds import CUE_SIZE, crf_regions, cue_picture, resized_values
from gain_lightning.support.files import read_json, write_json

TRUTHS = {"seed_miou": "20 %", "seed_miou_best": "best"}
# Side of the smaller image, times the image's own.
SMALLER = 0.75
FAITHFUL_STEPS = 8
# A rank correlation within a method needs so many runs.
FEWEST = 3


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, or checkpoints")
    parser.add_argument("--root", required=True, help="the folder VOCdevkit, or the one that holds it")
    parser.add_argument("--split", default="train_aug", help="list of training images (default: %(default)s)")
    parser.add_argument("--num_train", type=int, default=150, help="of these (default: %(default)s)")
    parser.add_argument("--num_faithful", type=int, default=24, help="for the curves (default: %(default)s)")
    parser.add_argument("--num_val", type=int, help="validation images (default: all)")
    parser.add_argument("--json", type=Path, help="file of the runs that are measured")
    args = parser.parse_args()
    torch.set_num_threads(1)
    # Of classes that the subset does not show.
    warnings.filterwarnings("ignore", "No positive samples")
    measured: dict[str, dict[str, Any]] = {}
    if args.json and args.json.is_file():
        measured = read_json(args.json)["runs"]
    for run in args.runs:
        if str(run) not in measured:
            started = time.process_time()
            measured[str(run)] = measure(run, args)
            print(f"{run}: {time.process_time() - started:.0f} s of CPU time", flush=True)
            if args.json:
                write_json(args.json, {"runs": measured})
    rows = correlations(list(measured.values()))
    print(table(rows))
    if args.json:
        write_json(args.json, {"runs": measured, "spearman": rows})


def measure(run: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the method of a run, its seed mIoU, and all scores that need no mask."""
    path = newest_checkpoint(run / "checkpoints") if run.is_dir() else run
    model = load_classifier(path).eval()
    data = VOC12DataModule(root=args.root, image_size=model.hparams.image_size)
    data.setup("validate")
    result: dict[str, Any] = {"method": model.method}
    result |= scores_of_val(model, spaced(data.val_set, args.num_val))
    images = spaced(data.image_set(args.split), args.num_train)
    sums: dict[str, list[Tensor]] = {}
    left = args.num_faithful
    for batch in DataLoader(images, 16, collate_fn=collate):
        label = torch.zeros_like(batch["label"])
        label[:, model.scored] = batch["label"][:, model.scored]
        if label.any():
            for key, values in scores_of_maps(model, batch["image"], label, left).items():
                sums.setdefault(key, []).append(values)
        left = max(left - len(label), 0)
    return result | {key: float(torch.cat(values).nanmean()) for key, values in sums.items()}


def spaced(images: PictureSet, count: int | None) -> Subset:
    """Return so many evenly spaced images of a set, all without a number."""
    rows = np.linspace(0, len(images) - 1, min(count or len(images), len(images))).round().astype(int)
    return Subset(images, rows.tolist())


def scores_of_val(model: Classifier, images: Subset) -> dict[str, float]:
    """Return the seed mIoU and, by labels alone, the scores of the classification."""
    metric = SetScores(len(model.hparams.class_names), model.scored, is_regression=model.task.has_amounts)
    losses, num_images = 0.0, 0
    for batch in DataLoader(images, 16, collate_fn=collate):
        image, label = model.backbone.normalize(batch["image"]), batch["label"]
        logits, maps, pairs = model.attend(image, label)
        masks = masks_of_pairs(batch, pairs)
        metric.update(model.log_odds(logits), label, model.place(maps, image.shape[2:]), masks, pairs)
        losses += len(label) * float(model.task.loss(logits, label))
        num_images += len(label)
    scores = metric.compute().scores
    found = {key: float(scores[key]) for key in ("mean_ap", *TRUTHS)}
    return found | {"loss_cl": losses / num_images}


def scores_of_maps(model: Classifier, picture: Tensor, label: Tensor, num_faithful: int) -> dict[str, Tensor]:
    """Return every score of the maps of N pictures ``(N, 3, H, W)`` uint8, one value a pair or image each."""
    image, size = model.backbone.normalize(picture), tuple(picture.shape[2:])
    logits, raw, pairs = model.attend(image, label)
    maps = scale_maps(model.place(raw, size))
    mirrored = scaled_maps(model, picture.flip(3), label, size).flip(3)
    smaller = resize_image(picture, (round(SMALLER * size[0]), round(SMALLER * size[1])))
    with torch.no_grad():
        whole = of_class(model, logits[pairs.image], pairs)
        mask = soft_mask(maps)
        remaining = of_class(model, model(erase(image[pairs.image], mask)), pairs)
        sufficient = of_class(model, model(erase(image[pairs.image], 1 - mask)), pairs)
    result = {
        "remaining": remaining,
        "drop": whole - remaining,
        "sufficient": sufficient,
        "mirror": agreement(maps, mirrored),
        "rescaled": agreement(maps, scaled_maps(model, smaller, label, size)),
        "area": maps.mean((1, 2, 3)),
        "above": (maps > SEED_THRESHOLD).float().mean((1, 2, 3)),
        "apart": apart(maps, pairs),
        "crf": crf_agreement(maps, picture, pairs),
        "centre": agreement(maps, center_gaussian(size).expand_as(maps)),
    }
    chosen = pairs.image < num_faithful
    if chosen.any():
        curves = deletion_and_insertion(
            torch.no_grad()(lambda changed: model.scores(model(changed))),
            image[pairs.image[chosen]],
            maps[chosen],
            pairs.label[chosen],
            torch.Generator().manual_seed(0),
            fill="blur",
            steps=FAITHFUL_STEPS,
        )
        result |= dict(zip(("deletion", "insertion"), curves, strict=True))
    return result


def scaled_maps(model: Classifier, picture: Tensor, label: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the scaled maps of pictures of any size, each drawn where it lies in a picture of ``size``."""
    seen = tuple(picture.shape[2:])
    _, maps, _ = model.attend(model.backbone.normalize(picture), label)
    placed = model.place(maps, seen)
    placed = torch.nn.functional.interpolate(placed, size, mode="bilinear") if seen != size else placed
    return scale_maps(placed)


def of_class(model: Classifier, logits: Tensor, pairs: Pairs) -> Tensor:
    """Return the score that each pair's class has by logits ``(P, C)``, as L_am takes it, ``(P,)``."""
    scores = remaining_score(logits.float(), model.hparams.task)
    return scores.gather(1, pairs.label[:, None])[:, 0]


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of the lower values over the sum of the higher ones, ``(P,)``; 0 where both maps are zero."""
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return low.flatten(1).sum(1) / high.flatten(1).sum(1).clamp_min(1e-9)


def apart(maps: Tensor, pairs: Pairs) -> Tensor:
    """Return 1 less the agreement of every two maps of one image; nothing where no image has two classes."""
    is_both = (pairs.image[:, None] == pairs.image[None]).triu(1)
    first, second = is_both.nonzero(as_tuple=True)
    return 1 - agreement(maps[first], maps[second])


def crf_agreement(maps: Tensor, picture: Tensor, pairs: Pairs) -> Tensor:
    """Return the IoU of the region above 20 % with what the CRF of ``gain seeds`` makes of it, for every image."""
    values = []
    for n in pairs.image.unique().tolist():
        own = maps[pairs.image == n][:, 0].numpy()
        small = np.array([resized_values(one, (CUE_SIZE, CUE_SIZE)) for one in own])
        (grown,) = crf_regions(small, cue_picture(picture[n]), [SEED_THRESHOLD])
        cut = (small > SEED_THRESHOLD) & (small == small.max(0))
        values.append((grown & cut).sum() / max((grown | cut).sum(), 1))
    return torch.tensor(values, dtype=torch.float32)


def correlations(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return Spearman's rho by score, by ``all`` or a method, and by the seed mIoU it is with.

    ``within`` is the mean over methods. A rho of fewer than :data:`FEWEST` runs, or of a score that all have alike, is
    None.
    """
    scores = [key for key in runs[0] if key not in ("method", *TRUTHS)]
    methods = sorted({run["method"] for run in runs})
    groups = {"all": runs} | {method: [run for run in runs if run["method"] == method] for method in methods}
    rows: dict[str, dict[str, dict[str, float | None]]] = {}
    for key in scores:
        found = {
            name: {
                truth: rho([run.get(key) for run in group], [run[truth] for run in group]) for truth in TRUTHS
            }
            for name, group in groups.items()
        }
        within = {truth: mean(found[method][truth] for method in methods) for truth in TRUTHS}
        rows[key] = {"all": found["all"], "within": within, **{name: found[name] for name in methods}}
    return dict(sorted(rows.items(), key=lambda row: -abs(row[1]["all"]["seed_miou_best"] or 0)))


def rho(score: list[float | None], truth: list[float]) -> float | None:
    """Return Spearman's rho of the runs that have a score."""
    both = [(s, t) for s, t in zip(score, truth, strict=True) if s is not None and np.isfinite([s, t]).all()]
    if len(both) < FEWEST or min(len({pair[side] for pair in both}) for side in (0, 1)) < 2:
        return None
    first, second = torch.tensor(both, dtype=torch.float64).T
    return round(float(spearman_corrcoef(first, second)), 3)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are there."""
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 3) if known else None


def table(rows: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """Return the correlations as text, the closest score first."""
    columns = [(name, truth) for name in next(iter(rows.values())) for truth in TRUTHS]
    lines = ["Spearman's rho with seed mIoU at 20 % | at the best threshold"]
    names = list(dict.fromkeys(name for name, _ in columns))
    lines.append(f"{'score':<12}" + "".join(f"{name[:13]:>15}" for name in names))
    for key, row in rows.items():
        cells = [
            " | ".join("   -" if row[name][truth] is None else f"{row[name][truth]:+.2f}" for truth in TRUTHS)
            for name in names
        ]
        lines.append(f"{key:<12}" + "".join(f"{cell:>15}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
