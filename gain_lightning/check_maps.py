"""``gain check-maps``: whether a run's maps speak of its network."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gain_lightning.attention import EPS, Pairs, label_pairs, scale_maps
from gain_lightning.checkpoints import load_classifier
from gain_lightning.faithfulness import deletion_and_insertion, rank_correlation, with_random_weights
from gain_lightning.files import write_atomically
from gain_lightning.metrics import center_gaussian
from gain_lightning.module import GAIN
from gain_lightning.studies.runs import Maps, RunError, read_maps

DESCRIPTION = """\
Check the maps of runs on the test images that each keeps in maps.npz, and write RUN/map_checks.json:
  deletion    mean probability (or amount) of a class while its pixels go, brightest of the map first: low is good
  insertion   the same while they appear in a blurred image: high is good
  random weights  rank correlation of maps with those of random weights: near 0 is good, near 1 the map
              does not depend on what the network has learnt
The attention map stands beside a Gaussian at the image's centre, pixels in random order, and the class's mask.
"""
_BATCH = 16


def check_maps_main(argv: list[str]) -> int:
    """Run ``gain check-maps``.

    Args:
        argv: The words after ``check-maps``.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If there is no such folder, or it has no checkpoint.
        RunError: If a run has no maps.
    """
    parser = argparse.ArgumentParser(
        "gain check-maps", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--seed", type=int, default=0, help="draws random weights and orders (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    for run in args.runs:
        if not Path(run).is_dir():
            raise FileNotFoundError(f"{run}: no such folder")
        maps = read_maps(run)
        if maps is None or not len(maps.pair_image):
            raise RunError(f"{run}: has no maps.npz with maps, expected the folder of a tested run")
        model = load_classifier(Path(run) / "checkpoints" / "last.ckpt").eval()
        if maps.class_names.tolist() != list(model.hparams.class_names):
            raise RunError(
                f"{run}: maps.npz is of the classes {', '.join(maps.class_names.tolist())}, its checkpoint of "
                f"{', '.join(model.hparams.class_names)}: expected the same"
            )
        result = check_maps(model, maps, args.seed)
        write_atomically(Path(run) / "map_checks.json", json.dumps(result, indent=1) + "\n")
        print(_table(run, result))
    return 0


def check_maps(model: GAIN, maps: Maps, seed: int) -> dict[str, Any]:
    """Deletion, insertion and random weights on kept test images.

    Args:
        model: In evaluation mode.
        maps: Images, masks and pairs of a run; its maps are computed anew.
        seed: Draws random weights, and the order of equal pixels.

    Returns:
        ``num_pairs``, and ``num_zero`` of them whose map is zero everywhere; ``deletion`` and ``insertion``,
        each by map (``attention``, ``center``, ``random``, ``mask``), the last over pairs with a mask alone,
        None if there is none; ``rank_correlation`` with random weights of the ``classifier`` and of ``all``
        layers, None where every map is flat.
    """
    image = model.backbone.normalize(torch.from_numpy(maps.image.transpose(0, 3, 1, 2).copy()))
    label = torch.zeros(len(image), len(model.hparams.class_names))
    label[maps.pair_image, maps.pair_class] = 1
    attention, pairs = _attend(model, image, label)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        others = {
            "classifier": with_random_weights(model, part=model.backbone.classifier),
            "all": with_random_weights(model),
        }
    correlation = {
        name: rank_correlation(attention, _attend(m, image, label)[0]) for name, m in others.items()
    }

    size, generator = image.shape[2:], torch.Generator().manual_seed(seed)
    mask = torch.from_numpy(maps.mask)[pairs.image] == pairs.label.view(-1, 1, 1) + 1
    kinds = {
        "attention": model.place(scale_maps(attention), size),
        "center": center_gaussian(size).expand(len(attention), -1, -1, -1),
        "random": torch.rand(len(attention), 1, *size, generator=generator),
        "mask": mask.unsqueeze(1).float(),
    }
    areas = {
        name: _areas(model, image[pairs.image], kind, pairs, generator, name) for name, kind in kinds.items()
    }
    areas["mask"] = areas["mask"][:, mask.flatten(1).any(1)]
    return {
        "num_pairs": len(attention),
        "num_zero": int((attention.amax((1, 2, 3)) <= EPS).sum()),
        "seed": seed,
        "deletion": {name: _mean(area[0]) for name, area in areas.items()},
        "insertion": {name: _mean(area[1]) for name, area in areas.items()},
        "rank_correlation": {name: _mean(values) for name, values in correlation.items()},
    }


def _attend(model: GAIN, image: Tensor, label: Tensor) -> tuple[Tensor, Pairs]:
    """Maps before scaling, ``(P, 1, h, w)``."""
    parts = zip(image.split(_BATCH), label.split(_BATCH), strict=True)
    return torch.cat([model.attend(*part)[1] for part in parts]), label_pairs(label)


def _areas(
    model: GAIN, image: Tensor, maps: Tensor, pairs: Pairs, generator: torch.Generator, name: str
) -> Tensor:
    """Deletion and insertion, ``(2, P)``; a terminal shows how far it has come."""

    @torch.no_grad()
    def predict(image: Tensor) -> Tensor:
        return model.scores(model(image))

    parts = list(zip(image.split(_BATCH), maps.split(_BATCH), pairs.label.split(_BATCH), strict=True))
    parts = tqdm(parts, f"{name}: deletion, insertion", leave=False, disable=None)
    return torch.cat([torch.stack(deletion_and_insertion(predict, *part, generator)) for part in parts], 1)


def _mean(values: Tensor) -> float | None:
    values = values[~values.isnan()]
    return round(float(values.mean()), 6) if len(values) else None


def _table(run: str, result: dict[str, Any]) -> str:
    names = {"attention": "attention map", "center": "centre", "random": "random order", "mask": "mask"}

    def show(value: float | None) -> str:
        return f"{'none':>10}" if value is None else f"{value:10.3f}"

    zero = f", {result['num_zero']} of them zero everywhere" if result["num_zero"] else ""
    lines = [
        f"{run}: {result['num_pairs']} maps{zero}",
        f"  {'':16}{'deletion':>10}{'insertion':>12}",
        f"  {'':16}{'low: good':>10}{'high: good':>12}",
    ]
    for key, name in names.items():
        lines.append(f"  {name:16}{show(result['deletion'][key])}  {show(result['insertion'][key])}")
    correlation = result["rank_correlation"]
    lines.append("  rank correlation with the maps of random weights, near 0: good")
    lines.append(f"  {'classifier':16}{show(correlation['classifier'])}")
    lines.append(f"  {'all layers':16}{show(correlation['all'])}")
    return "\n".join(lines)
