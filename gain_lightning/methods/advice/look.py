"""What a network says of images that may be marked, and of those that are: scores, features, maps in other views.

Axis letters: N images, P (image, class) pairs, C classes, K channels, H W image, h w map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from gain_lightning.attention import (
    EPS,
    Pairs,
    erase,
    even_cells,
    place_maps,
    pool_to_cells,
    resize_antialiased,
    scale_maps,
    soft_mask,
)
from gain_lightning.constants import YES
from gain_lightning.datasets.sample import Batch, PictureSet, Sample, collate
from gain_lightning.methods.borders import clear_cells, clear_pixels, inside_of, normalized
from gain_lightning.methods.classifier import Classifier

# Sizes at which maps are compared with those of the image itself, as factors.
SCALES = (0.75, 1.25)
# Pixels of an image that a pixel of a compared map is wide.
_PIXELS = 4


@dataclass(frozen=True)
class Seen:
    """What a network says of N images and of the P pairs of their labels.

    Attributes:
        image: The number of each pair's image, ``(P,)``.
        class_idx: The class of each pair, ``(P,)``.
        score: The probability of each pair, or its amount, ``(P,)``.
        uncertainty: The entropy of its prediction, 0 to 1, ``(P,)``.
        strength: The maximum of its map before scaling, ``(P,)``.
        feature: The mean of each image's features, of length 1, ``(N, K)``.
        attended: The mean of the features where each pair's map looks, or its mask lies, of length 1, ``(P, K)``.
        disagreement: By how much each pair's map changes in other views, 0 to 1, ``(P,)``; None if nobody asked.
    """

    image: np.ndarray
    class_idx: np.ndarray
    score: np.ndarray
    uncertainty: np.ndarray
    strength: np.ndarray
    feature: np.ndarray
    attended: np.ndarray
    disagreement: np.ndarray | None = None


def look(
    model: Classifier,
    images: PictureSet,
    rows: Sequence[int] | np.ndarray,
    *,
    by_mask: bool = False,
    with_views: bool = False,
    batch_size: int = 16,
) -> Seen:
    """Show some images to a network.

    Args:
        model: A classifier in evaluation mode.
        images: The images, not varied.
        rows: The numbers of those that are shown.
        by_mask: Whether features are taken where masks lie, instead of where maps look; pairs without a mask are left
            out.
        with_views: Whether maps are compared with those of other views, which takes five times as long.
        batch_size: The number of images at a time.
    """
    shown: Any = Subset(cast("Dataset[Sample]", images), list(rows))
    loader: DataLoader[Any] = DataLoader(shown, batch_size, collate_fn=collate)
    parts, first = [], 0
    for batch in tqdm(loader, "images", leave=False, disable=None):
        part = _look_at(model, batch, by_mask=by_mask, with_views=with_views)
        part["image"] = part["image"] + first
        first += len(batch["id"])
        parts.append({key: value.cpu().numpy() for key, value in part.items()})
    return Seen(**{key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def _look_at(model: Classifier, batch: Batch, *, by_mask: bool, with_views: bool) -> dict[str, Tensor]:
    """Return the fields of :class:`Seen` for one batch."""
    batch = {**batch, "image": batch["image"].to(model.device)}
    image, inside = normalized(model.backbone, batch), inside_of(batch)
    label = _masked_labels(batch) if by_mask else model.multi_hot(batch["label"])
    label = label.to(model.device)
    with torch.no_grad():
        features = model.backbone.features(image)
    logits, maps, pairs = model.attend_features(features, label)
    maps = clear_cells(maps, pairs, inside, model.backbone.cells(image.shape[2:]))
    score = model.scores(logits)
    weight = scale_maps(maps)
    if by_mask:
        cells = model.backbone.cells(image.shape[2:])
        weight = pool_to_cells(_masks(batch, pairs).to(maps), maps.shape[2:], cells)
    found = {
        "image": pairs.image,
        "class_idx": pairs.label,
        "score": score[pairs.image, pairs.label],
        "uncertainty": _entropy(model, score)[pairs.image, pairs.label],
        "strength": maps.flatten(1).amax(1) if len(maps) else maps.new_zeros(0),
        "feature": F.normalize(features.detach().float().mean((2, 3))),
        "attended": _attended(features.detach().float(), weight, pairs),
    }
    if with_views:
        found["disagreement"] = _disagreement(model, image, label, maps, pairs, found["score"], inside)
    return found


def _masked_labels(batch: Batch) -> Tensor:
    """Return 1 for the classes that have a mask, ``(N, C)``."""
    label = torch.zeros_like(batch["label"])
    label[batch["mask_image"], batch["mask_class"]] = 1
    return label


def _masks(batch: Batch, pairs: Pairs) -> Tensor:
    """Return 1 where the mask of each pair is its class, else 0, ``(P, 1, H, W)``."""
    order = {
        (int(image), int(class_idx)): row
        for row, (image, class_idx) in enumerate(zip(batch["mask_image"], batch["mask_class"], strict=True))
    }
    rows = [order[pair] for pair in zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)]
    return (batch["mask"][rows] == YES).unsqueeze(1)


def _entropy(model: Classifier, score: Tensor) -> Tensor:
    """Return the entropy of predictions, as a share of the largest that it may be, ``(N, C)``.

    With a single label it is that of all classes together, otherwise that of each class.
    """
    if model.task.has_amounts:
        return torch.full_like(score, torch.nan)
    if model.task.name == "single_label":
        whole: Tensor = torch.special.entr(score).sum(1, keepdim=True) / np.log(max(score.shape[1], 2))
        return whole.expand_as(score)
    of_each: Tensor = (torch.special.entr(score) + torch.special.entr(1 - score)) / np.log(2)
    return of_each


def _attended(features: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
    """Return the mean of features ``(N, K, h, w)`` by weights ``(P, 1, h, w)``, of length 1, ``(P, K)``.

    Weights that are 0 throughout take the mean of the whole image.
    """
    weight = torch.where(weight.amax((2, 3), keepdim=True) > EPS, weight, 1.0) if len(weight) else weight
    mean = torch.einsum("pkhw,phw->pk", features[pairs.image], weight[:, 0])
    return F.normalize(mean)


def _disagreement(
    model: Classifier,
    image: Tensor,
    label: Tensor,
    maps: Tensor,
    pairs: Pairs,
    score: Tensor,
    inside: Tensor | None = None,
) -> Tensor:
    """Return by how much maps change in other views of their images, 0 to 1, ``(P,)``.

    It is the mean of three: how little the maps of the mirrored image and of other sizes share with the image's own
    (1 less their common part as a share of their union), and how much of the score is left on the erased image, Eq. 3.

    Args:
        model: The classifier.
        image: Normalised images, ``(N, 3, H, W)``.
        label: 1 for every class, ``(N, C)``.
        maps: Their maps before scaling, ``(P, 1, h, w)``.
        pairs: Their pairs.
        score: The score of each pair, ``(P,)``.
        inside: 1 where an image shows its picture and 0 in its border, ``(N, 1, H, W)``; None without borders.
    """
    size = tuple(image.shape[2:])
    shown = None if inside is None else inside[pairs.image]
    own = _on_grid(model, maps, size, size, shown)
    mirrored = model.attend(image.flip(3), label)[1]
    # a border is as wide on the left as on the right
    mirrored = _on_grid(model, mirrored, size, size, shown).flip(3)
    apart = []
    for scale in SCALES:
        view = resize_antialiased(image, [round(scale * side) for side in size])
        other = _on_grid(model, model.attend(view, label)[1], tuple(view.shape[2:]), size, shown)
        apart.append(1 - shared(own, other))
    left = _left_on_erased(model, image, maps, pairs, score, inside)
    return torch.stack([1 - shared(own, mirrored), torch.stack(apart).mean(0), left]).mean(0)


def _on_grid(
    model: Classifier, maps: Tensor, seen: tuple[int, ...], size: tuple[int, ...], inside: Tensor | None
) -> Tensor:
    """Draw the maps of images that were ``seen`` at some size on a grid that is the same for all sizes, scaled.

    They are 0 in borders, ``inside`` ``(P, 1, H, W)``.
    """
    grid = tuple(-(-side // _PIXELS) for side in size)
    placed = place_maps(maps, grid, model.backbone.cells(seen).relative_to(even_cells(grid, seen)))
    if inside is not None:
        placed = placed * F.interpolate(inside, size=grid, mode="area")
    return scale_maps(placed) if len(placed) else placed


def shared(one: Tensor, other: Tensor) -> Tensor:
    """Return the common part of maps ``(P, 1, h, w)`` as a share of their union, ``(P,)``; 1 where both are 0.

    Example:
        >>> one, other = torch.tensor([[[[1.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
        >>> shared(one, other), shared(one, one)
        (tensor([0.5000]), tensor([1.]))
    """
    union = torch.maximum(one, other).sum((1, 2, 3))
    share = torch.minimum(one, other).sum((1, 2, 3)) / union.clamp_min(EPS)
    return torch.where(union > EPS, share, 1.0)


def _left_on_erased(
    model: Classifier, image: Tensor, maps: Tensor, pairs: Pairs, score: Tensor, inside: Tensor | None = None
) -> Tensor:
    """Return the share of each pair's score that is left once its image is erased where the map looks, ``(P,)``."""
    if not len(maps):
        return score
    settings = {key: model.hparams[key] for key in ("sigma", "omega") if key in model.hparams}
    mask = soft_mask(model.place(scale_maps(maps), tuple(image.shape[2:])), **settings)
    mask = clear_pixels(mask, pairs, inside)
    with torch.no_grad():
        erased = model.scores(model(erase(image[pairs.image], mask)))
    left = erased[torch.arange(len(score), device=score.device), pairs.label]
    return (left / score.clamp_min(EPS)).clamp(0, 1)
