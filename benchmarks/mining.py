"""Why does S_am do what it does? What L_am moves, what it is worth, and where maps grow, over a training.

    python benchmarks/mining.py shared=a/epoch_000.ckpt,a/epoch_001.ckpt frozen=b/epoch_000.ckpt,b/epoch_001.ckpt \
        --data VOCdevkit --out mining

Each NAME stands before checkpoints of one training, in order. They see evenly spaced training images that have masks,
without augmentation and with all statistics of BatchNorm fixed, so that no figure depends on the batch. A baseline can
be measured too: L_am then is what it would be worth there. Measured at every checkpoint, with the settings that it
trained with:

- L_am, Eq. 5; the probability of a class on the whole image and on the erased one, and their difference, the drop. The
  network itself judges, whatever judged in training. ``first`` is the drop by the training's first checkpoint, which
  judges the same erased images: where the network's own drop grows and this one does not, it learned to deny.
- the gradient of L_am over all weights and images. It is the sum of two parts: through the maps, the judge's weights
  held, and through the judge, the maps held. Given are the norms, the maps' share of the sum of both squared norms,
  and the cosine of the two.
- area, the share of pixels above 20 % of a map's maximum; T, the mean of the soft mask; flat, the share of pixels where
  T (1 - T) is below 0.01, so that Eq. 4 passes nearly no gradient on.
- precision, the share of a map's pixels above 20 % that lie on the object; recall, the share of the object that they
  cover: means over pairs, also by class and by thirds of the object's area. Unknown pixels never count.
- of the pixels that came above 20 % since the checkpoint before, over all pairs, the share on the object (``on``), and
  the share that any of the pixels that were below had (``chance``).
- the probability that remains, and the share of the image erased, at thresholds sigma from 0.1 to 0.9.

``mining.json`` in --out holds all of it, beside figures as SVG, and with --strips the first images with their maps at
every checkpoint.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from gain_lightning.attention import FILLS, erase, scale_maps, soft_mask
from gain_lightning.constants import VOID, YES
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.sample import collate
from gain_lightning.datasets.voc12 import VOC12DataModule
from gain_lightning.drawing.charts import curves_figure
from gain_lightning.drawing.encoding import save_png
from gain_lightning.drawing.maps import overlay
from gain_lightning.losses.mining import remaining_score
from gain_lightning.methods.classifier import masks_of_pairs
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.load import load_model
from gain_lightning.methods.scoring import SEED_THRESHOLD
from gain_lightning.methods.step import Step
from gain_lightning.methods.terms import judged, mining_terms
from gain_lightning.runs.checkpoints import read_checkpoint
from gain_lightning.segmentation.run_images import run_images
from gain_lightning.support.files import write_json

SIGMAS = tuple(number / 10 for number in range(1, 10))
# Below this, T (1 - T) of Eq. 4 passes nearly no gradient on.
FLAT = 0.01
SIZES = ("small", "medium", "large")
# The figures of a checkpoint that are drawn over the training, with their titles.
CURVES = {
    "precision": "Precision of maps (%)",
    "recall": "Recall of maps (%)",
    "area": "Area of maps (%)",
    "share_maps": "L_am's gradient through the maps (%)",
    "remaining": "Probability on the erased image (%)",
    "drop_first": "Drop as the first checkpoint judges (%)",
}


class Seen(NamedTuple):
    """What a checkpoint does on P pairs.

    Attributes:
        loss: L_am.
        gradients: L_am's gradient through the maps, and through the judge, over all weights.
        values: Values of the pairs by name, ``(P,)``.
        seeds: Pixels above 20 % of the map's maximum, ``(P, H, W)`` bool.
        mask: 1 the class, 0 not the class, 255 unknown, ``(P, H, W)``.
        label: Class of each pair, ``(P,)``.
        pictures: The first images with their maps, one an image, ``(H, W, 3)`` uint8.
    """

    loss: float
    gradients: tuple[Tensor, Tensor]
    values: dict[str, Tensor]
    seeds: Tensor
    mask: Tensor
    label: Tensor
    pictures: list[np.ndarray]


def main() -> None:
    """Measure, print, write and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trainings", nargs="+", metavar="NAME=CHECKPOINT[,CHECKPOINT ...]", type=training)
    parser.add_argument("--images", type=int, default=150, help="of those with masks (default: %(default)s)")
    parser.add_argument("--data", help="the folder VOCdevkit (default: the data that the run names)")
    parser.add_argument("--strips", type=int, default=0, help="images that are drawn (default: none)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {name: measure(name, paths, args) for name, paths in args.trainings}
    print(table(results))
    write_json(args.out / "mining.json", results)
    for name, figure in figures(results).items():
        (args.out / f"{name}.svg").write_bytes(figure)


def training(word: str) -> tuple[str, list[Path]]:
    """Return the name and the checkpoints of one argument."""
    name, _, paths = word.partition("=")
    if not name or not paths:
        raise argparse.ArgumentTypeError(f"got {word!r}, expected NAME=CHECKPOINT[,CHECKPOINT ...]")
    return name, [Path(path) for path in paths.split(",")]


def measure(name: str, paths: list[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the results of every checkpoint of a training; draw its strips."""
    rows: list[dict[str, Any]] = []
    strips: list[list[np.ndarray]] = []
    first, before = load_gain(paths[0]), None
    images = masked_images(paths[0], first, args.data, args.images)
    for path in paths:
        seen = look(load_gain(path), first, images, args.strips)
        epoch = read_checkpoint(path)["epoch"] + 1
        row = {"checkpoint": path.name, "epoch": epoch, **summary(seen, images.class_names)}
        rows.append(
            {**row, "gained": None if before is None else growth(before.seeds, seen.seeds, seen.mask)}
        )
        strips.append(seen.pictures)
        before = seen
        print(f"{name}: {path.name} measured", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for number, pictures in enumerate(zip(*strips, strict=True)):
        save_png(args.out / f"{name}_{number}.png", np.concatenate(pictures, axis=1))
    return rows


def load_gain(path: Path) -> GAIN:
    """Load a checkpoint of GAIN, or of its baseline, for measuring."""
    model = load_model(path)
    if not isinstance(model, GAIN):
        raise ValueError(f"{path} is of {model.kind} ({model.name}), expected GAIN's")
    return model.eval()


def masked_images(path: Path, model: GAIN, root: str | None, count: int) -> ImageSet:
    """Return evenly spaced training images with masks, of the checkpoint's run or of VOC 2012 at ``root``."""
    if root is None:
        listing = run_images(path.parent.parent, None, None).listing
    else:
        listing = VOC12DataModule(root=root, image_size=model.hparams.image_size).image_set().listing
    rows = np.flatnonzero(listing.has_pixels.any(1))
    if not len(rows):
        raise ValueError(
            f"no training image of {root or path.parent.parent} has a mask, expected at least one"
        )
    chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return ImageSet(listing.take(rows[chosen]), image_size=model.hparams.image_size)


# One checkpoint -------------------------------------------------------------------------------------------


def look(model: GAIN, first: GAIN, images: ImageSet, num_drawn: int = 0) -> Seen:
    """Pass over all images once, with gradients, and once for every threshold.

    Args:
        model: The checkpoint.
        first: The training's first checkpoint, which judges too.
        images: The images with masks.
        num_drawn: Number of images that are drawn.
    """
    loss, gradients, pictures = 0.0, (torch.zeros(()), torch.zeros(())), []
    parts: dict[str, list[Tensor]] = {}
    for batch in DataLoader(images, 16, collate_fn=collate):
        picture = batch["image"]
        batch = model.with_pairs({**batch, "image": model.backbone.normalize(picture)})
        step = model.forward_streams(batch, None, {"loss_am": 1.0}, 1.0)
        maps = model.explain(step)
        value, *found = split_gradient(model, step, maps)
        # L_am is a mean over the images of a batch.
        weight = len(step.label) / len(images)
        loss += weight * value
        gradients = tuple(total + weight * part for total, part in zip(gradients, found, strict=True))
        with torch.no_grad():
            scaled = scale_maps(model.place(maps.detach(), step.image.shape[2:]))
            for key, values in pair_values(model, first, step, maps.detach()).items():
                parts.setdefault(key, []).append(values)
        parts.setdefault("seeds", []).append(scaled[:, 0] > SEED_THRESHOLD)
        parts.setdefault("mask", []).append(masks_of_pairs(batch, step.weak_pairs))
        parts.setdefault("label", []).append(step.weak_pairs.label)
        # The map of each image's first class.
        for row in (step.weak_pairs.rank == 0).nonzero().flatten().tolist()[: num_drawn - len(pictures)]:
            seen = picture[step.weak_pairs.image[row]].permute(1, 2, 0).numpy()
            pictures.append(overlay(seen, scaled[row, 0].numpy()))
    values = {key: torch.cat(part) for key, part in parts.items()}
    maps_of_pairs = {key: values.pop(key) for key in ("seeds", "mask", "label")}
    return Seen(loss, gradients, values, **maps_of_pairs, pictures=pictures)


def split_gradient(model: GAIN, step: Step, maps: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return L_am of a batch, and its gradient over all weights in two parts: through the maps, through the judge."""
    weights = [weight for weight in model.backbone.parameters() if weight.requires_grad]
    parts = []
    # The judge's part is first, for the maps' graph is then no longer needed.
    for seen, moved in ((maps.detach(), "all"), (maps, "maps")):
        model.hparams.am_gradient = moved
        loss = mining_terms(model, None, step, seen, ("loss_am",))["loss_am"]
        found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        parts.append(torch.cat([gradient.flatten() for gradient in found]))
    return loss.item(), parts[1], parts[0]


def pair_values(model: GAIN, first: GAIN, step: Step, maps: Tensor) -> dict[str, Tensor]:
    """Return what the judge says of every pair, and how much its soft mask covers, ``(P,)`` each.

    Args:
        model: The checkpoint.
        first: The network that judges the same erased images.
        step: Result of the network's pass.
        maps: Maps before scaling, ``(P, 1, h, w)``.
    """
    hparams, shown = model.hparams, step.image[step.weak_pairs.image]
    fill = FILLS[hparams.am_fill](step.image)[step.weak_pairs.image]
    attention = model.place(scale_maps(maps, hparams.scaling), step.image.shape[2:])

    def probability(judge: GAIN, picture: Tensor) -> Tensor:
        (logits,) = judged(judge, None, [picture])
        score = remaining_score(logits.float(), hparams.task)
        return score.gather(1, step.weak_pairs.label[:, None])[:, 0]

    mask = soft_mask(attention, sigma=hparams.sigma, omega=hparams.omega)
    erased = erase(shown, mask, fill)
    values = {
        "whole": probability(model, shown),
        "remaining": probability(model, erased),
        "drop_first": probability(first, shown) - probability(first, erased),
        "erased": mask.mean((1, 2, 3)),
        "flat": (mask * (1 - mask) < FLAT).float().mean((1, 2, 3)),
    }
    for sigma in SIGMAS:
        mask = soft_mask(attention, sigma=sigma, omega=hparams.omega)
        values[f"erased_{sigma}"] = mask.mean((1, 2, 3))
        values[f"remaining_{sigma}"] = probability(model, erase(shown, mask, fill))
    return values


# Summaries ------------------------------------------------------------------------------------------------


def summary(seen: Seen, class_names: Sequence[str]) -> dict[str, Any]:
    """Return all figures of a checkpoint but its growth."""
    maps, judge = seen.gradients
    values = {key: mean(value) for key, value in seen.values.items()}
    squares = float(maps.square().sum()), float(judge.square().sum())
    on, seeds, truth = overlaps(seen.seeds, seen.mask)
    precision, recall = on / seeds, on / truth
    by_size = torch.tensor_split(truth.argsort(stable=True)[(truth == 0).sum() :], len(SIZES))
    classes = {class_names[c]: (seen.label == c).nonzero()[:, 0] for c in seen.label.unique().tolist()}

    def of(rows: Tensor) -> dict[str, Any]:
        rows = rows[truth[rows] > 0]
        return {"pairs": len(rows), "precision": mean(precision[rows]), "recall": mean(recall[rows])}

    return {
        "loss_am": seen.loss,
        **{key: values[key] for key in ("whole", "remaining", "drop_first", "erased", "flat")},
        "drop": mean(seen.values["whole"] - seen.values["remaining"]),
        "norm_maps": squares[0] ** 0.5,
        "norm_judge": squares[1] ** 0.5,
        "share_maps": squares[0] / sum(squares) if sum(squares) else None,
        "share_judge": squares[1] / sum(squares) if sum(squares) else None,
        "cosine": float(F.cosine_similarity(maps, judge, dim=0)),
        "area": mean(seen.seeds.float().mean((1, 2))),
        **of(torch.arange(len(truth))),
        "by_class": {name: found for name, rows in classes.items() if (found := of(rows))["pairs"]},
        "by_size": {name: of(rows) for name, rows in zip(SIZES, by_size, strict=True)},
        "by_sigma": {
            str(sigma): {key: values[f"{key}_{sigma}"] for key in ("erased", "remaining")} for sigma in SIGMAS
        },
    }


def overlaps(seeds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count the pixels of every pair that are seeds on the object, seeds, and object, unknown ones left out."""
    truth, seeds = mask == YES, seeds & (mask != VOID)
    return tuple(found.flatten(1).sum(1) for found in (seeds & truth, seeds, truth))


def growth(before: Tensor, after: Tensor, mask: Tensor) -> dict[str, float | None]:
    """Return where seeds came between two checkpoints, over the pixels of all pairs whose object is known.

    Args:
        before: Seeds of the former checkpoint, ``(P, H, W)`` bool.
        after: Seeds of the latter, same shape.
        mask: Masks ``(P, H, W)``.

    Returns:
        ``area``, the share of pixels gained; ``on``, the share of these on the object; and ``chance``, the share of
        the object among all pixels that were no seeds before.
    """
    known = (mask != VOID) & (mask == YES).any(2, keepdim=True).any(1, keepdim=True)
    truth, free = mask == YES, known & ~before
    gained = free & after
    return {
        "area": share(gained, known),
        "on": share(gained & truth, gained),
        "chance": share(free & truth, free),
    }


def share(part: Tensor, whole: Tensor) -> float | None:
    """Return the number of pixels of a part as a share of the whole's; None of nothing."""
    return float(part.sum() / whole.sum()) if whole.any() else None


def mean(values: Tensor) -> float | None:
    """Return the mean of the values that are numbers; None of none. A map of zeros has no precision."""
    values = values[values.isfinite()]
    return float(values.double().mean()) if len(values) else None


# Output ---------------------------------------------------------------------------------------------------


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return the results as text of at most 80 columns; shares in percent."""
    lines = []
    for name, rows in results.items():
        last = rows[-1]
        keys = ("loss_am", "whole", "remaining", "drop", "drop_first")
        lines += [f"{name}: {last['pairs']} pairs with masks; percent but for norms and cosine", ""]
        lines.append(line("epoch", "L_am", "whole", "left", "drop", "first", "maps", "judge", "share", "cos"))
        for row in rows:
            norms = [f"{row[key]:.2g}" for key in ("norm_maps", "norm_judge")]
            figures = [*map(percent, (row[key] for key in keys)), *norms]
            lines.append(line(row["epoch"], *figures, percent(row["share_maps"]), f"{row['cosine']:.2f}"))
        lines += ["", line("epoch", "area", "T", "flat", "prec.", "recall", "gained", "on", "chance")]
        for row in rows:
            found = [row[key] for key in ("area", "erased", "flat", "precision", "recall")]
            found += [(row["gained"] or {}).get(key) for key in ("area", "on", "chance")]
            lines.append(line(row["epoch"], *map(percent, found)))
        lines += ["", line("sigma", *SIGMAS)]
        for key in ("erased", "remaining"):
            found = [last["by_sigma"][str(sigma)][key] for sigma in SIGMAS]
            lines.append(line("left" if key == "remaining" else key, *map(percent, found)))
        lines += ["", "precision and recall, first to last checkpoint"]
        for kind in ("by_size", "by_class"):
            for group, found in last[kind].items():
                ends = [
                    percent(end[kind][group][key])
                    for key in ("precision", "recall")
                    for end in (rows[0], last)
                ]
                lines.append(
                    f"{group[:12]:<12}{found['pairs']:>6}  {ends[0]:>5} -> {ends[1]:>5}  {ends[2]:>5} -> {ends[3]:>5}"
                )
        lines.append("")
    return "\n".join(lines)


def line(head: Any, *cells: Any) -> str:
    """Return a row of the table."""
    return f"{head!s:<8}" + "".join(f"{cell!s:>8}" for cell in cells)


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return "-" if value is None else f"{100 * value:.1f}"


def figures(results: dict[str, list[dict[str, Any]]]) -> dict[str, bytes]:
    """Return the figures as SVG by name: curves over the training, and against sigma at its end."""
    drawn = {}
    for key, title in CURVES.items():
        lines = {name: points([(row["epoch"], row[key]) for row in rows]) for name, rows in results.items()}
        drawn[key] = curves_figure(lines, title, "epoch", dots=True)
    last = {name: rows[-1]["by_sigma"] for name, rows in results.items()}
    for key, title in (
        ("remaining", "Probability on the erased image"),
        ("erased", "Share of the image erased"),
    ):
        lines = {
            name: points([(float(sigma), found[key]) for sigma, found in by_sigma.items()])
            for name, by_sigma in last.items()
        }
        drawn[f"{key}_by_sigma"] = curves_figure(lines, f"{title} (%)", "threshold sigma of Eq. 4", dots=True)
    return drawn


def points(pairs: list[tuple[float, float | None]]) -> np.ndarray:
    """Return the points of a line, in percent, as :func:`curves_figure` takes them, without a band, ``(4, points)``."""
    known = [(x, 100 * y) for x, y in pairs if y is not None]
    x, y = np.array(known, dtype=float).reshape(-1, 2).T
    return np.stack([x, y, y, y])


if __name__ == "__main__":
    main()
