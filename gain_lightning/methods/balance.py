"""Weights without units: each term of the loss as a share of the classification's gradient at the features."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

# In every so many guided steps gradients are measured.
STEPS_BETWEEN = 16
# The share of a running mean that a measurement keeps.
MOMENTUM = 0.9

BALANCES = ("fixed", "gradient")


def strength(term: Tensor, features: Tensor) -> Tensor:
    """Return the mean norm of an image's gradient of a term at its features: the term's strength before any weight.

    The term is a mean over images, so the gradient of an image's own loss is as many times that of the term; the sum
    of the norms over images is therefore the mean of the former. It does not depend on the size of a batch.

    Args:
        term: A scalar in the graph of ``features``.
        features: Shape ``(N, K, h, w)``.

    Returns:
        Scalar.

    Example:
        >>> features = torch.ones(2, 1, 1, 1, requires_grad=True)
        >>> strength((3 * features).mean(), features)
        tensor(3.)
    """
    if not term.requires_grad:
        return features.new_zeros(())
    (gradient,) = torch.autograd.grad(term, features, retain_graph=True, allow_unused=True)
    norms: Tensor = features.new_zeros(()) if gradient is None else gradient.flatten(1).norm(dim=1)
    return norms.sum()


class GradientBalance:
    """Scales weights so that each says how strong its term pulls at the features beside L_cl.

    A weight of 0.5 then gives a term half the gradient of L_cl, whatever the task, the number of classes, the backbone
    and the size of pictures. As a classifier fits its images, L_cl's gradient falls and guidance falls with it, as
    in GradNorm (Chen et al., ICML 2018), whose norms are those of shared weights.

    Attributes:
        means: Running mean of the strength of each term, by name; ``loss_cl`` is one.
        steps: Number of steps in which each term was in force, by name.
        weights: The weights of the last step, by name.
    """

    def __init__(self) -> None:
        self.means: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}
        self.steps: dict[str, int] = {}

    def weigh(
        self,
        shares: Mapping[str, float],
        terms: Mapping[str, Tensor],
        features: Tensor,
        trainer: pl.Trainer | None = None,
    ) -> dict[str, Tensor]:
        """Turn shares into the weights that they mean now.

        Args:
            shares: Share of each term in force, by name.
            terms: The terms of this step, by name; among them ``loss_cl``.
            features: The features of this step, in whose graph the terms are.
            trainer: The trainer, over whose processes strengths are averaged; None is one process.

        Returns:
            Weights by name, without gradient.
        """
        due = [name for name in shares if self.steps.get(name, 0) % STEPS_BETWEEN == 0]
        for name in shares:
            self.steps[name] = self.steps.get(name, 0) + 1
        for name in ["loss_cl", *due] if due else []:
            found = strength(terms[name], features).detach().float()
            found = found if trainer is None else trainer.strategy.reduce(found, reduce_op="mean")
            # A term that pulls at nothing now, such as a batch without a pair, says nothing of its strength.
            if found > 0:
                self.means[name] = self.means.get(name, found).to(found.device).lerp(found, 1 - MOMENTUM)
        nothing = features.new_zeros((), dtype=torch.float32)
        mine = self.means.get("loss_cl", nothing)
        self.weights = {
            name: share * mine / self.means[name] if name in self.means else nothing
            for name, share in shares.items()
        }
        return self.weights

    def state(self) -> dict[str, Any]:
        """Return what a training that goes on needs."""
        return {"means": self.means, "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state of a checkpoint."""
        self.means, self.steps = dict(state["means"]), dict(state["steps"])


def new_balance(settings: Any) -> GradientBalance | None:
    """Return what scales the weights, or None if they are taken as they are.

    Args:
        settings: The model's settings.
    """
    return GradientBalance() if settings.balance == "gradient" else None
