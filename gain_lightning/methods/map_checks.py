"""Check whether a run's maps show what its network decides by: the work of ``gain check-maps``."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gain_lightning.attention import EPS, Pairs, label_pairs, scale_maps
from gain_lightning.constants import VOID, YES
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.load import load_classifier
from gain_lightning.metrics import center_gaussian
from gain_lightning.metrics.displacement import displacements
from gain_lightning.metrics.faithfulness import (
    FILLS,
    deletion_and_insertion,
    rank_correlation,
    with_random_weights,
)
from gain_lightning.metrics.resampling import draw_images, mean_interval
from gain_lightning.runs.checkpoints import tested_checkpoint
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.maps import Maps, require_maps
from gain_lightning.support.files import write_json

MAP_TITLES = {"attention": "attention", "center": "centre", "random": "random order", "mask": "mask"}
_BATCH = 16
# Deletion and insertion move an image's pixels in this many parts.
_STEPS = 10


def check_run(run: Path, seed: int, num_draws: int) -> str:
    """Check the maps of a run and write ``map_checks.json``.

    Args:
        run: The run folder, with ``maps.npz`` and a checkpoint.
        seed: See :func:`check_maps`.
        num_draws: See :func:`check_maps`.

    Returns:
        A table of the results.

    Raises:
        RunError: If the maps are of other classes than the checkpoint, or of no class that is scored.
    """
    maps = require_maps(run)
    model = load_classifier(tested_checkpoint(run)).eval()
    if maps.class_names.tolist() != list(model.hparams.class_names):
        raise RunError(
            f"{run}: maps.npz is of the classes {', '.join(maps.class_names.tolist())}, its checkpoint of "
            f"{', '.join(model.hparams.class_names)}: expected the same"
        )
    if not np.isin(maps.pair_class, model.scored).any():
        raise RunError(
            f"{run}: maps.npz has no map of {', '.join(model.hparams.score_classes)}, the classes that are scored"
        )
    result = check_maps(model, maps, seed, num_draws=num_draws)
    write_json(run / "map_checks.json", result)
    return _table(str(run), result)


def check_maps(model: Classifier, maps: Maps, seed: int, *, num_draws: int = 3) -> dict[str, Any]:
    """Measure deletion, insertion, random weights and displacement on kept test images.

    Args:
        model: A classifier in evaluation mode.
        maps: Images, masks and pairs of a run; the maps of the classes that are scored are computed anew.
        seed: Seed of the random weights, the order of equal pixels, and noise.
        num_draws: Number of draws of noise; the other fills have one draw.

    Returns:
        Results by name; None stands where nothing can be said.

        - ``num_images``, ``num_pairs``, and ``num_zero``, the number of pairs whose map is zero everywhere.
        - ``fills``: for every key of :data:`~gain_lightning.metrics.faithfulness.FILLS`, for ``deletion`` and
          ``insertion``, and for every map (``attention``, ``center``, ``random``, ``mask``): the ``mean`` over
          pairs, its 95 % ``interval``, and ``attention_less``, the interval of the attention map's mean less this
          one. Values of the mask are over pairs with a mask.
        - ``rank_correlation`` with random weights of the ``classifier`` and of ``all`` layers.
        - ``mirror_shift`` and ``mask_shift``, see :func:`displacements`.
        - ``deletion`` by the mean colour and ``insertion`` into a blur once more, as Petsiuk et al. have them and
          as files of former versions do.
    """
    image, label, scored = _pairs_to_check(model, maps)
    attention, pairs = _attend(model, image, label)
    mirrored = _attend(model, image.flip(3), label)[0]
    correlation = _correlation_with_random_weights(model, image, label, attention, seed)
    size, generator = image.shape[2:], torch.Generator().manual_seed(seed)
    pair_mask = torch.from_numpy(maps.pair_mask[scored])
    mask = pair_mask == YES
    placed = model.place(scale_maps(attention), size)
    kinds = {
        "attention": placed,
        "center": center_gaussian(size).expand(len(attention), -1, -1, -1),
        "random": torch.rand(len(attention), 1, *size, generator=generator),
        "mask": mask.unsqueeze(1).float(),
    }
    weight = draw_images(pairs, seed)
    fills = {
        fill: _of_fill(model, image, kinds, pairs, generator, weight, fill=fill, num_draws=num_draws)
        for fill in FILLS
    }
    return {
        "num_images": len(image),
        "num_pairs": len(attention),
        "num_zero": int((attention.amax((1, 2, 3)) <= EPS).sum()),
        "seed": seed,
        "num_draws": num_draws,
        "population": "intervals: 95 %, over images drawn like these, of this one network",
        "fills": fills,
        "deletion": {name: entry["mean"] for name, entry in fills["mean"]["deletion"].items()},
        "insertion": {name: entry["mean"] for name, entry in fills["blur"]["insertion"].items()},
        "rank_correlation": correlation,
        **displacements(
            placed.squeeze(1),
            model.place(scale_maps(mirrored), size).squeeze(1).flip(2),
            mask,
            pair_mask != VOID,
            weight,
        ),
    }


def _pairs_to_check(model: Classifier, maps: Maps) -> tuple[Tensor, Tensor, np.ndarray]:
    """Return the images and pairs to check.

    Returns:
        Normalised images ``(N, 3, H, W)``, labels of the scored classes ``(N, C)``, and an array that is true for
        the pairs of these classes.
    """
    image = model.backbone.normalize(torch.from_numpy(maps.image.transpose(0, 3, 1, 2).copy()))
    label = torch.zeros(len(image), len(model.hparams.class_names))
    scored = np.isin(maps.pair_class, model.scored)
    label[maps.pair_image[scored], maps.pair_class[scored]] = 1
    return image, label, scored


def _correlation_with_random_weights(
    model: Classifier, image: Tensor, label: Tensor, attention: Tensor, seed: int
) -> dict[str, float | None]:
    """Return the mean rank correlation with maps of networks whose last layer, or all layers, are drawn anew."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        others = {
            "classifier": with_random_weights(model, part=model.backbone.classifier),
            "all": with_random_weights(model),
        }
    found = {name: rank_correlation(attention, _attend(m, image, label)[0]) for name, m in others.items()}
    return {name: _mean(values) for name, values in found.items()}


def _of_fill(
    model: Classifier,
    image: Tensor,
    kinds: dict[str, Tensor],
    pairs: Pairs,
    generator: torch.Generator,
    weight: Tensor,
    *,
    fill: str,
    num_draws: int,
) -> dict[str, dict[str, Any]]:
    """Measure deletion and insertion for every kind of map, with one fill in place of pixels."""
    areas = {
        name: _areas(
            model, image[pairs.image], kind, pairs, generator, fill=fill, num_draws=num_draws, name=name
        )
        for name, kind in kinds.items()
    }
    # Nothing is known of a pair without a mask.
    areas["mask"][:, ~kinds["mask"].flatten(1).any(1)] = torch.nan
    return {
        score: {name: _summary(area[row], areas["attention"][row], weight) for name, area in areas.items()}
        for row, score in enumerate(("deletion", "insertion"))
    }


def _attend(model: Classifier, image: Tensor, label: Tensor) -> tuple[Tensor, Pairs]:
    """Compute maps before scaling, ``(P, 1, h, w)``, and their pairs."""
    parts = zip(image.split(_BATCH), label.split(_BATCH), strict=True)
    return torch.cat([model.attend(*part)[1] for part in parts]), label_pairs(label)


def _areas(
    model: Classifier,
    image: Tensor,
    maps: Tensor,
    pairs: Pairs,
    generator: torch.Generator,
    *,
    fill: str,
    num_draws: int,
    name: str,
) -> Tensor:
    """Return deletion and insertion, ``(2, P)``, as means over draws; a terminal shows the progress."""

    @torch.no_grad()
    def predict(image: Tensor) -> Tensor:
        return model.scores(model(image))

    def draw() -> Tensor:
        parts = list(zip(image.split(_BATCH), maps.split(_BATCH), pairs.label.split(_BATCH), strict=True))
        shown = tqdm(parts, f"{FILLS[fill].title}, {MAP_TITLES[name]}", leave=False, disable=None)
        return torch.cat(
            [
                torch.stack(deletion_and_insertion(predict, *part, generator, fill=fill, steps=_STEPS))
                for part in shown
            ],
            1,
        )

    return torch.stack([draw() for _ in range(num_draws if FILLS[fill].is_random else 1)]).mean(0)


def _summary(values: Tensor, attention: Tensor, weight: Tensor) -> dict[str, Any]:
    """Summarise values of pairs.

    Returns:
        The mean over pairs, its interval, and the interval of the attention map's mean less this one on the same
        pairs.
    """
    return {
        "mean": _mean(values),
        "interval": mean_interval(values, weight),
        "attention_less": mean_interval(attention - values, weight),
    }


def _mean(values: Tensor) -> float | None:
    values = values[~values.isnan()]
    return round(float(values.mean()), 6) if len(values) else None


def _table(run: str, result: dict[str, Any]) -> str:
    zero = f", {result['num_zero']} of them zero everywhere" if result["num_zero"] else ""
    lines = [f"{run}: {result['num_pairs']} maps of {result['num_images']} images{zero}"]
    for score, good in (("deletion", "low"), ("insertion", "high")):
        lines.append(f"  {score}, {good}: good")
        lines.append(f"  {'pixels by':12}" + "".join(f"{title:>16}" for title in MAP_TITLES.values()))
        for fill, scores in result["fills"].items():
            cells = [_cell(scores[score][name]) for name in MAP_TITLES]
            lines.append(f"  {FILLS[fill].title:12}" + "".join(f"{cell:>16}" for cell in cells))
    lines.append("  beside each mean its interval; * the attention map's differs (paired, 95 %)")
    lines.append(f"  {result['population']}")
    lines.append("  rank correlation with the maps of random weights, near 0: good")
    for key, name in (("classifier", "classifier"), ("all", "all layers")):
        value = result["rank_correlation"][key]
        lines.append(f"  {name:12}{'none' if value is None else f'{value:.3f}':>16}")
    lines.append("  displacement")
    for key in ("mirror_shift", "mask_shift"):
        if result[key]:
            lines += textwrap.wrap(result[key]["words"], 76, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(line.rstrip() for line in lines)


def _cell(entry: dict[str, Any]) -> str:
    """Write a mean and its interval in 15 letters, with a star where the attention map's mean differs."""
    if entry["mean"] is None:
        return "none"
    low, high = entry["interval"]
    less = entry["attention_less"]
    star = "*" if less[0] > 0 or less[1] < 0 else " "
    return f"{_short(entry['mean'])} {_short(low)}-{_short(high)}{star}"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.3g}"
