"""What marks can do against a bias at all: linear classifiers on a pretrained network's features, group by group.

    python benchmarks/ceilings.py WATERBIRDS --group_by place --supervision box

The network stays as it is and a linear layer is trained on its features, so this takes minutes and says beforehand what
a map of the last layer, or a mark, has to offer. Rows of the table:

- ``all``: features of the whole picture are averaged, as a plain classifier does;
- ``cells inside``: the average over the cells that lie in the marks alone, of every picture. This is perfect attention
  of the last layer. Cells see beyond their place, so they may still know the ground;
- ``pixels inside``: what lies outside the marks is erased before the network sees it. This is perfect attention of the
  input; only the ground within the marks is left;
- ``all, balanced``: the layer is trained on the pictures of ``val`` instead, where every group counts alike (Kirichenko
  et al., ICLR 2023): what the features know of the class, whatever the bias.
"""

import argparse

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gain_lightning.attention import pool_to_cells
from gain_lightning.backbones import Backbone, build_backbone
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.sample import collate

BATCH = 64
# Settings of the linear layer; its features have unit variance.
DECAY, STEPS = 0.01, 200


def features_of(network: Backbone, pictures: ImageSet) -> dict[str, Tensor]:
    """Compute every picture's averaged features, ``(n, K)`` each: of all, of the cells and of the pixels inside."""
    rows: dict[str, list[Tensor]] = {"all": [], "cells inside": [], "pixels inside": []}
    for start in range(0, len(pictures), BATCH):
        numbers = range(start, min(start + BATCH, len(pictures)))
        batch = collate([pictures[number] for number in numbers])
        image = network.normalize(batch["image"])
        inside = torch.zeros(len(image), *image.shape[2:])
        inside.index_add_(0, batch["mask_image"], (batch["mask"] == 1).float())
        inside = inside.clamp(max=1).unsqueeze(1)  # (N, 1, H, W)
        with torch.no_grad():
            features, alone = network.features(image), network.features(image * inside)
        cells = pool_to_cells(inside, features.shape[2:], network.cells(image.shape[2:]))
        rows["all"].append(features.mean((2, 3)))
        rows["cells inside"].append((features * cells).sum((2, 3)) / cells.sum((2, 3)).clamp_min(1e-6))
        rows["pixels inside"].append(alone.mean((2, 3)))
    return {name: torch.cat(parts) for name, parts in rows.items()}


def linear(features: Tensor, label: Tensor, weight: Tensor) -> torch.nn.Linear:
    """Train a linear layer by cross-entropy with weight decay.

    Args:
        features: Of unit variance, ``(n, K)``.
        label: Class indices, ``(n,)``.
        weight: How much each picture counts, ``(n,)``.
    """
    layer = torch.nn.Linear(features.shape[1], int(label.max()) + 1)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(STEPS):
        losses = F.cross_entropy(layer(features), label, reduction="none")
        loss = (losses * weight).sum() / weight.sum() + DECAY * layer.weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layer


def balanced(groups: np.ndarray) -> Tensor:
    """Return weights by which every group counts alike, ``(n,)``."""
    return torch.from_numpy(1 / np.bincount(groups)[groups])


def table(features: dict[str, dict[str, Tensor]], sets: dict[str, ImageSet], names: tuple[str, ...]) -> str:
    """Train a layer on each kind of features, and write the accuracies of the test's groups in percent.

    Args:
        features: Of the splits ``train``, ``val`` and ``test``, by kind.
        sets: Their pictures.
        names: Names of the groups.
    """
    label = {split: torch.from_numpy(pictures.labels.argmax(1)) for split, pictures in sets.items()}
    groups = {split: np.asarray(pictures.groups) for split, pictures in sets.items()}
    rows = [(kind, kind, "train", torch.ones(len(label["train"]))) for kind in features["train"]]
    rows.append(("all, balanced", "all", "val", balanced(groups["val"])))
    lines = [f"| features | {' | '.join(names)} | worst | mean |", "|---" * (3 + len(names)) + "|"]
    for title, kind, split, weight in rows:
        spread = features["train"][kind].std(0)
        # A feature that is the same in every picture tells nothing.
        spread = torch.where(spread > 1e-6, spread, torch.inf)
        layer = linear(features[split][kind] / spread, label[split], weight)
        with torch.no_grad():
            is_right = layer(features["test"][kind] / spread).argmax(1) == label["test"]
        accuracy = [
            100 * float(is_right[groups["test"] == group].float().mean()) for group in range(len(names))
        ]
        cells = [f"{value:.1f}" for value in (*accuracy, min(accuracy), sum(accuracy) / len(accuracy))]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", help="a folder with groups and marks")
    parser.add_argument("--group_by", nargs="+", help="columns that make groups")
    parser.add_argument("--supervision", choices=["mask", "box"], default="mask")
    parser.add_argument("--image_size", type=int, default=112)
    parser.add_argument("--backbone", default="lite0")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--output_stride", type=int, default=16)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    data = FolderDataModule(root=args.root, image_size=args.image_size, group_by=args.group_by)
    if not data.group_names:
        parser.error(f"{args.root} has no groups: expected --group_by")
    network = build_backbone(
        args.backbone, len(data.class_names), weights=args.weights, output_stride=args.output_stride
    ).eval()
    options = {"image_size": args.image_size, "supervision": args.supervision}
    sets = {split: ImageSet(data.contents.of(split), **options) for split in ("train", "val", "test")}
    features = {split: features_of(network, pictures) for split, pictures in sets.items()}
    print(table(features, sets, data.group_names))


if __name__ == "__main__":
    main()
