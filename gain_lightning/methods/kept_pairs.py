"""The pairs of a run's kept images whose maps are checked, and their maps, computed anew."""

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Pairs, inside_windows, label_pairs
from gain_lightning.methods.borders import clear_cells
from gain_lightning.methods.classifier import Classifier
from gain_lightning.runs.maps import Maps

_BATCH = 16


def inside_of_kept(maps: Maps, chosen: np.ndarray | slice = slice(None)) -> Tensor | None:
    """Return 1 where a kept image shows its picture and 0 in its border, ``(N, 1, H, W)``; None without borders.

    Args:
        maps: The kept images.
        chosen: The indices of the N images.
    """
    if maps.window is None:
        return None
    return inside_windows(torch.from_numpy(maps.window[chosen]), maps.image.shape[1:3])


def pairs_to_check(model: Classifier, maps: Maps) -> tuple[Tensor, Tensor, np.ndarray]:
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


def attend(
    model: Classifier, image: Tensor, label: Tensor, inside: Tensor | None = None
) -> tuple[Tensor, Pairs]:
    """Compute maps before scaling, ``(P, 1, h, w)``, and their pairs; cells that see no picture are 0."""
    parts = zip(image.split(_BATCH), label.split(_BATCH), strict=True)
    maps, pairs = torch.cat([model.attend(*part)[1] for part in parts]), label_pairs(label)
    return (
        maps if inside is None else clear_cells(maps, pairs, inside, model.backbone.cells(image.shape[2:]))
    ), pairs
