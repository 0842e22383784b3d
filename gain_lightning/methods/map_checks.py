"""Check whether a run's maps show what its network decides by: the work of ``gain check-maps``."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gain_lightning.attention import EPS, Pairs, scale_maps
from gain_lightning.constants import VOID, YES
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.kept_pairs import attend, inside_of_kept, pairs_to_check
from gain_lightning.methods.load import load_classifier
from gain_lightning.methods.map_check_table import MAP_TITLES, text_table
from gain_lightning.methods.second_opinion import second_opinion
from gain_lightning.metrics import center_gaussian
from gain_lightning.metrics.displacement import displacements
from gain_lightning.metrics.faithfulness import (
    FILLS,
    deletion_and_insertion,
    rank_correlation,
    with_random_weights,
)
from gain_lightning.metrics.resampling import draw_images, mean_of_pairs, paired_summary
from gain_lightning.runs.checkpoints import tested_checkpoint
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.map_checks import write_map_checks
from gain_lightning.runs.maps import Maps, require_maps

_BATCH = 16
# Deletion and insertion move an image's pixels in this many parts.
_STEPS = 10


def check_run(run: Path, seed: int, num_draws: int, num_images: int) -> str:
    """Check the maps of a run and write ``map_checks.json``.

    Args:
        run: The run folder, with ``maps.npz`` and a checkpoint.
        seed: See :func:`check_maps`; it also draws the images of the second opinion.
        num_draws: See :func:`check_maps`.
        num_images: Number of images of the second opinion, see :func:`second_opinion`; 0 leaves it out.

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
    if num_images:
        began = time.perf_counter()
        opinion = second_opinion(model, maps, seed, num_images=num_images)
        if opinion is not None:
            opinion["seconds_per_image"] = round((time.perf_counter() - began) / opinion["num_images"], 3)
        result["second_opinion"] = opinion
    write_map_checks(run, result)
    return text_table(str(run), result)


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
    image, label, scored = pairs_to_check(model, maps)
    inside = inside_of_kept(maps)
    attention, pairs = attend(model, image, label, inside)
    mirrored = attend(model, image.flip(3), label, None if inside is None else inside.flip(3))[0]
    correlation = _correlation_with_random_weights(model, image, label, attention, seed, inside)
    size, generator = image.shape[2:], torch.Generator().manual_seed(seed)
    pair_mask = torch.from_numpy(maps.pair_mask[scored])
    mask = pair_mask == YES
    placed = model.place(scale_maps(attention), size)
    kinds = _kinds(placed, mask, generator, None if inside is None else inside[pairs.image] == 0)
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


def _kinds(
    placed: Tensor, mask: Tensor, generator: torch.Generator, border: Tensor | None
) -> dict[str, Tensor]:
    """Return what names the pixels of every pair, each ``(P, 1, H, W)``: its map, and what that is set beside.

    A ``border`` is below every pixel of its picture, so that it is taken away last, whatever names the pixels.
    """
    kinds = {
        "attention": placed,
        "center": center_gaussian(placed.shape[2:]).expand(len(placed), -1, -1, -1),
        "random": torch.rand(placed.shape, generator=generator),
        "mask": mask.unsqueeze(1).float(),
    }
    if border is None:
        return kinds
    return {name: kind.masked_fill(border, -1) for name, kind in kinds.items()}


def _correlation_with_random_weights(
    model: Classifier, image: Tensor, label: Tensor, attention: Tensor, seed: int, inside: Tensor | None
) -> dict[str, float | None]:
    """Return the mean rank correlation with maps of networks whose last layer, or all layers, are drawn anew."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        others = {
            "classifier": with_random_weights(model, part=model.backbone.classifier),
            "all": with_random_weights(model),
        }
    found = {
        name: rank_correlation(attention, attend(m, image, label, inside)[0]) for name, m in others.items()
    }
    return {name: mean_of_pairs(values) for name, values in found.items()}


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
    areas["mask"][:, ~(kinds["mask"] > 0).flatten(1).any(1)] = torch.nan
    return {
        score: {
            name: paired_summary(area[row], areas["attention"][row], weight) for name, area in areas.items()
        }
        for row, score in enumerate(("deletion", "insertion"))
    }


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
