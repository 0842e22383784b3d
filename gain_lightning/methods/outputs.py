"""Types of the results of a classifier's steps, and of the classifier as its recorders use it."""

from typing import Any, Protocol, TypedDict

from torch import Tensor

from gain_lightning.attention import Pairs
from gain_lightning.backbones import Backbone
from gain_lightning.methods.tasks import MultiLabel
from gain_lightning.metrics import PairBoxes
from gain_lightning.runs.groups import GroupTable


class Predicted(TypedDict):
    """Predictions for N images.

    Attributes:
        score: Probability of every class, or in a regression its amount, ``(N, C)``.
        logit: Log-odds of every class, ``(N, C)``.
    """

    score: Tensor
    logit: Tensor


class _Boxed(TypedDict, total=False):
    boxes: PairBoxes | None


class Scored(Predicted, _Boxed):
    """Predictions for labelled images, and the maps of their labels.

    Attributes:
        maps: Placed maps before scaling, ``(P, 1, H, W)``.
        mask: The mask of every pair: 1 the class, 0 not the class, 255 unknown, ``(P, H, W)``.
        pairs: The P pairs of the labels.
        boxes: The boxes of the pairs in a set that is judged by boxes, else None.
    """

    maps: Tensor
    mask: Tensor
    pairs: Pairs


class Attends(Protocol):
    """The part of a classifier with maps that its recorders use."""

    hparams: Any
    task: MultiLabel
    backbone: Backbone
    class_scores: dict[str, list[float]]
    group_tables: dict[str, GroupTable]

    def attend(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Pairs]:
        """Return the logits ``(N, C)``, the maps before scaling ``(P, 1, h, w)``, and the pairs of the maps."""
        ...
