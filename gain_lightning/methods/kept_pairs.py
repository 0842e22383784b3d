"""The pairs of a run's kept images whose maps are checked, and their maps, computed anew."""

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Pairs, label_pairs
from gain_lightning.methods.classifier import Classifier
from gain_lightning.runs.maps import Maps

_BATCH = 16


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


def attend(model: Classifier, image: Tensor, label: Tensor) -> tuple[Tensor, Pairs]:
    """Compute maps before scaling, ``(P, 1, h, w)``, and their pairs."""
    parts = zip(image.split(_BATCH), label.split(_BATCH), strict=True)
    return torch.cat([model.attend(*part)[1] for part in parts]), label_pairs(label)
