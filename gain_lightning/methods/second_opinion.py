"""A second opinion on a run's maps: where the evidence lies by attributions that nothing trained."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gain_lightning.attention import Pairs, pool_to_cells, scale_maps
from gain_lightning.constants import VOID, YES
from gain_lightning.methods.borders import clear_cells, clear_pixels
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.kept_pairs import attend, inside_of_kept, pairs_to_check
from gain_lightning.methods.scoring import SEED_THRESHOLD
from gain_lightning.metrics import energy_in_mask, seed_iou, with_mask
from gain_lightning.metrics.attributions import ATTRIBUTIONS
from gain_lightning.metrics.disagreement import disagreement
from gain_lightning.metrics.resampling import draw_images, paired_summary
from gain_lightning.runs.maps import Maps

_BATCH = 4


def second_opinion(model: Classifier, maps: Maps, seed: int, *, num_images: int) -> dict[str, Any] | None:
    """Judge a network by attributions that were not trained, beside its attention map.

    Attributions explain the very score that the map explains, and are seen as the map is: averaged over its cells, what
    speaks against the class left out, drawn where the cells lie. At the resolution of single pixels gradients are
    mostly noise, at that of the cells they find objects too (Rao et al., *Towards Better Understanding Attribution
    Methods*, CVPR 2022). Occlusion alone gives the verdict, see
    :func:`~gain_lightning.metrics.disagreement.disagreement`: the others take gradients, as Grad-CAM does, and a
    network can be given any gradient without changing a decision (``x - x.detach()``).

    Args:
        model: A classifier in evaluation mode.
        maps: Images, masks and pairs of a run.
        seed: Seed of the draw of images, and of the intervals.
        num_images: Number of images to draw among those with a mask; all if there are fewer.

    Returns:
        None if no image has a mask. Otherwise ``ids`` of the images and their number ``num_images``, ``num_pairs``, the
        ``area`` of masks, and ``passes_per_image``, how often the network saw a picture for each image. ``energy`` and
        ``iou`` have for the ``attention`` map and every key of
        :data:`~gain_lightning.metrics.attributions.ATTRIBUTIONS` what
        :func:`~gain_lightning.metrics.resampling.paired_summary` gives. The rest is the verdict,
        :func:`~gain_lightning.metrics.disagreement.disagreement`.
    """
    image, label, scored = pairs_to_check(model, maps)
    mask = torch.from_numpy(maps.pair_mask[scored])
    of_image, of_class = maps.pair_image[scored], maps.pair_class[scored]
    chosen = _draw(of_image[with_mask(mask).numpy()], seed, num_images)
    if not len(chosen):
        return None
    kept = with_mask(mask).numpy() & np.isin(of_image, chosen)
    label = torch.zeros_like(label)
    label[of_image[kept], of_class[kept]] = 1
    inside = inside_of_kept(maps, chosen)
    attention, pairs = attend(model, image[chosen], label[chosen], inside)
    mask, size = mask[kept], image.shape[2:]
    evidence, num_passes = _evidence(model, image[chosen], pairs)
    grid, cells = attention.shape[2:], model.backbone.cells(size)
    kinds = {"attention": attention} | {
        key: clear_cells(pool_to_cells(found, grid, cells).relu(), pairs, inside, cells)
        for key, found in evidence.items()
    }
    placed = {
        key: clear_pixels(model.place(scale_maps(kind), size), pairs, inside) for key, kind in kinds.items()
    }
    energy = {key: energy_in_mask(kind, mask) for key, kind in placed.items()}
    iou = {key: seed_iou(kind, mask, threshold=SEED_THRESHOLD) for key, kind in placed.items()}
    area = (mask == YES).flatten(1).sum(1) / (mask != VOID).flatten(1).sum(1)
    weight = draw_images(pairs, seed)
    return {
        "seed": seed,
        "num_images": len(chosen),
        "num_pairs": len(mask),
        "ids": maps.ids[chosen].tolist(),
        "area": round(float(area.mean()), 6),
        "passes_per_image": round(num_passes / len(chosen), 1),
        "energy": {key: paired_summary(value, energy["attention"], weight) for key, value in energy.items()},
        "iou": {key: paired_summary(value, iou["attention"], weight) for key, value in iou.items()},
        **disagreement(energy["attention"], energy["occlusion"], area, weight, len(chosen)),
    }


def _draw(images: np.ndarray, seed: int, num_images: int) -> np.ndarray:
    """Draw indices of images, in their order."""
    drawn = np.random.default_rng(seed).permutation(np.unique(images))[:num_images]
    return np.sort(drawn)


def _evidence(model: Classifier, image: Tensor, pairs: Pairs) -> tuple[dict[str, Tensor], int]:
    """Return every attribution ``(P, 1, H, W)`` by its key, and how many pictures the network saw for them."""
    num_passes = 0

    def score(image: Tensor) -> Tensor:
        nonlocal num_passes
        num_passes += len(image)
        return model.map_score(model(image))

    found = {}
    for key, kind in ATTRIBUTIONS.items():
        parts = list(zip(image[pairs.image].split(_BATCH), pairs.label.split(_BATCH), strict=True))
        shown = tqdm(parts, kind.title, leave=False, disable=None)
        found[key] = torch.cat([kind.attribute(score, *part) for part in shown])
    return found, num_passes
