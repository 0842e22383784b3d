"""A last layer trained anew on features that stay: sparse logistic regression on balanced groups, as DFR asks.

Pure functions. Axis letters: n images, K features, C classes, G groups.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gain_lightning.losses import classification_loss

# The weights have converged when a step moves none of them by more.
_TOLERANCE = 1e-6


class LastLayer(NamedTuple):
    """A linear layer.

    Attributes:
        weight: ``(C, K)``.
        bias: ``(C,)``.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return logits ``(n, C)`` of features ``(n, K)``."""
        return features @ self.weight.T + self.bias


class Retrained(NamedTuple):
    """The result of :func:`retrain`.

    Attributes:
        layer: The new layer.
        strength: The strength that was chosen.
        worst_group: Its share of right decisions in the worst group of the half that was held out.
        per_group: Images of each group that a draw was trained on.
    """

    layer: LastLayer
    strength: float
    worst_group: float
    per_group: int


def fit_sparse(
    features: Tensor, label: Tensor, *, strength: float, task: str, max_steps: int = 2000
) -> LastLayer:
    """Train a linear layer: mean logistic loss plus ``strength`` times the sum of the weights' absolute values.

    The loss is cross-entropy for a single label, and a logistic loss for each class, summed, for many. Biases cost
    nothing. scikit-learn's ``C`` is ``1 / (n strength)``.

    Args:
        features: ``(n, K)``, best with mean 0 and variance 1.
        label: 1 where the class is present, else 0, ``(n, C)``.
        strength: Price of the weights.
        task: ``single_label`` or ``multi_label``.
        max_steps: Steps at most.

    Returns:
        The layer.

    Source:
        FISTA, with a fresh start where its momentum points uphill: Beck & Teboulle, SIAM J. Imaging Sciences 2009;
        O'Donoghue & Candès, *Adaptive Restart for Accelerated Gradient Schemes*, 2015.

    Example:
        >>> features = torch.tensor([[-1.0, 0.1], [1.0, -0.1], [-1.0, -0.1], [1.0, 0.1]])
        >>> layer = fit_sparse(features, torch.eye(2)[[0, 1, 0, 1]], strength=0.1, task="single_label")
        >>> (layer.weight[:, 1] == 0).all(), (layer(features).argmax(1) == torch.tensor([0, 1, 0, 1])).all()
        (tensor(True), tensor(True))
    """
    extended = torch.cat([features, features.new_ones(len(features), 1)], 1)  # (n, K + 1)
    # the curvature of either loss is at most that of a softmax, 1/2 of the features' own
    size = 1 / (0.5 * _largest_eigenvalue(extended) + 1e-12)
    now = ahead = features.new_zeros(label.shape[1], extended.shape[1])
    momentum = 1.0
    for _ in range(max_steps):
        with torch.enable_grad():
            ahead = ahead.detach().requires_grad_()
            loss = classification_loss(extended @ ahead.T, label, task=task)
            (slope,) = torch.autograd.grad(loss, ahead)
        ahead = ahead.detach()
        moved = ahead - size * slope
        shrunk = moved[:, :-1].sign() * (moved[:, :-1].abs() - size * strength).clamp_min(0)
        new = torch.cat([shrunk, moved[:, -1:]], 1)
        step = new - now
        is_uphill = ((ahead - new) * step).sum() > 0
        following = 1.0 if is_uphill else (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new if is_uphill else new + (momentum - 1) / following * step
        now, momentum = new, following
        if step.abs().max() < _TOLERANCE:
            break
    return LastLayer(now[:, :-1], now[:, -1])


def _largest_eigenvalue(features: Tensor, steps: int = 100) -> Tensor:
    """Return the largest eigenvalue of the features' mean product, by power iteration, and a tenth more."""
    vector = features.new_ones(features.shape[1])
    for _ in range(steps):
        product = features.T @ (features @ vector) / len(features)
        vector = product / product.norm().clamp_min(1e-12)
    return 1.1 * (features @ vector).square().mean()


def balanced_rows(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many rows of each group as the smallest has, in random order.

    Example:
        >>> groups = np.array([0, 0, 0, 1, 0, 1])
        >>> sorted(groups[balanced_rows(groups, np.random.default_rng(0))].tolist())
        [0, 0, 1, 1]
    """
    numbers, counts = np.unique(groups, return_counts=True)
    drawn = [rng.permutation(np.flatnonzero(groups == number))[: counts.min()] for number in numbers]
    return rng.permutation(np.concatenate(drawn))


def decides_rightly(logits: Tensor, label: Tensor, task: str) -> Tensor:
    """Tell which images are decided rightly, ``(n,)`` bool: by their likeliest class, or in every one of many.

    Example:
        >>> logits, label = torch.tensor([[2.0, 1.0], [-1.0, -2.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> decides_rightly(logits, label, "single_label"), decides_rightly(logits, label, "multi_label")
        (tensor([True, True]), tensor([False, False]))
    """
    if task == "single_label":
        return logits.argmax(1) == label.argmax(1)
    return ((logits > 0) == (label > 0)).all(1)


def retrain(
    features: Tensor,
    label: Tensor,
    groups: np.ndarray,
    *,
    task: str,
    strengths: Sequence[float],
    draws: int,
    seed: int,
) -> Retrained:
    """Train a last layer on balanced groups, averaged over draws; the strength is chosen on a half that is held out.

    Args:
        features: Features of the images, ``(n, K)``.
        label: Their labels, ``(n, C)``.
        groups: The group of each image, ``(n,)``; every group has at least two images.
        task: As of :func:`fit_sparse`.
        strengths: The strengths to choose from; of equally good ones, the largest.
        draws: Number of balanced draws that the layer is the mean of.
        seed: Seed of all draws.

    Source:
        Kirichenko et al., *Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations*, ICLR 2023,
        Section 4 and Appendix B: DFR on the validation data.
    """
    rng = np.random.default_rng(seed)
    mean, scale = features.mean(0), features.std(0, correction=0)
    # a feature that never changes says nothing
    scale = torch.where(scale > 1e-8, scale, torch.inf)
    scaled = (features - mean) / scale

    def fitted(rows: np.ndarray, strength: float) -> LastLayer:
        chosen = torch.as_tensor(rows)
        return fit_sparse(scaled[chosen], label[chosen], strength=strength, task=task)

    def worst(layer: LastLayer, rows: np.ndarray) -> float:
        right = decides_rightly(layer(scaled[rows]), label[rows], task).cpu().numpy()
        return min(float(right[groups[rows] == number].mean()) for number in np.unique(groups))

    halves = [
        np.array_split(rng.permutation(np.flatnonzero(groups == group)), 2) for group in np.unique(groups)
    ]
    training, held_out = (np.concatenate(half) for half in zip(*halves, strict=True))
    balanced = training[balanced_rows(groups[training], rng)]
    found = {
        strength: worst(fitted(balanced, strength), held_out) for strength in sorted(strengths, reverse=True)
    }
    strength = max(found, key=found.__getitem__)

    rows = [balanced_rows(groups, rng) for _ in range(draws)]
    layers = [fitted(drawn, strength) for drawn in rows]
    weight = torch.stack([layer.weight for layer in layers]).mean(0) / scale
    bias = torch.stack([layer.bias for layer in layers]).mean(0) - weight @ mean
    per_group = len(rows[0]) // len(np.unique(groups))
    return Retrained(LastLayer(weight, bias), strength, found[strength], per_group)
