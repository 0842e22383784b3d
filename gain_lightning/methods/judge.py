"""The judge of S_am: the network that says whether an erased image still shows its class."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gain_lightning.backbones import Backbone

JUDGES = ("shared", "frozen", "average")


class Judge:
    """A copy of the network that judges erased images and is never taught by them.

    On shared weights, as in the paper, L_am also teaches the judge to deny what an erased image still shows. A copy
    cannot learn that: only the maps can lower the loss.

    Args:
        kind: ``frozen``, the network as it was when guidance began, an ordinary classifier (Kweon et al., *Unlocking
            the Potential of Ordinary Classifier*, ICCV 2021); or ``average``, the running mean of its weights
            (Tarvainen and Valpola, *Mean teachers*, NIPS 2017).
        momentum: Share of the running mean that a step keeps.

    Attributes:
        network: The copy; None until guidance begins. It is no module of the model, so it is neither trained nor
            synchronised, and those who load the model for its maps do not load it.
    """

    def __init__(self, kind: str, momentum: float) -> None:
        self.kind = kind
        self.momentum = momentum
        self.network: Backbone | None = None
        self.weights: Mapping[str, Tensor] | None = None

    def of(self, backbone: Backbone) -> Backbone:
        """Return the copy, which is made of the network at the first call: when guidance begins.

        Args:
            backbone: The network that trains.
        """
        if self.network is None:
            self.network = copy.deepcopy(backbone).eval().requires_grad_(False)
            # A training that goes on keeps the judge that it had.
            self.network.load_state_dict(self.weights or {}, strict=self.weights is not None)
        return self.network

    def follow(self, backbone: Backbone) -> None:
        """Move a running mean after a step; a frozen copy stays as it is.

        Args:
            backbone: The network after the step.
        """
        if self.network is None or self.kind != "average":
            return
        with torch.no_grad():
            for mean, weight in zip(self.network.parameters(), backbone.parameters(), strict=True):
                mean.lerp_(weight, 1 - self.momentum)
            for copied, buffer in zip(self.network.buffers(), backbone.buffers(), strict=True):
                copied.copy_(buffer)

    def state(self) -> Mapping[str, Tensor] | None:
        """Return the copy's weights for a checkpoint; None before guidance begins."""
        return self.weights if self.network is None else self.network.state_dict()

    def restore(self, weights: Mapping[str, Tensor] | None) -> None:
        """Take the weights of a checkpoint, for a training that goes on."""
        self.network, self.weights = None, weights


def new_judge(settings: Any) -> Judge | None:
    """Return the judge, or None if the network judges itself.

    Args:
        settings: The model's settings.
    """
    return None if settings.judge == "shared" else Judge(settings.judge, settings.judge_momentum)
