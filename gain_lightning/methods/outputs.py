"""What a classifier's steps give, and what those who record it may ask of the classifier."""

from typing import Any, Protocol, TypedDict

from torch import Tensor

from gain_lightning.attention import Pairs
from gain_lightning.backbones import Backbone
from gain_lightning.methods.tasks import MultiLabel


class Predicted(TypedDict):
    """What a network says of N images.

    Attributes:
        score: Probability of every class, or its amount, ``(N, C)``.
        logit: Log-odds of every class, ``(N, C)``.
    """

    score: Tensor
    logit: Tensor


class Scored(Predicted):
    """The same of labelled images, with their maps.

    Attributes:
        maps: Placed, before scaling, ``(P, 1, H, W)``.
        mask: Of every pair: 1 the class, 0 not the class, 255 unknown, ``(P, H, W)``.
        pairs: The P pairs of the labels.
    """

    maps: Tensor
    mask: Tensor
    pairs: Pairs


class Attends(Protocol):
    """A classifier with maps, as far as its recorders know it."""

    hparams: Any
    task: MultiLabel
    backbone: Backbone
    class_scores: dict[str, list[float]]

    def attend(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Pairs]:
        """Logits ``(N, C)``, maps before scaling ``(P, 1, h, w)``, and their pairs."""
        ...
