"""SEC's losses against slow loops written from the paper, and their gradients by finite differences."""

import math

import numpy as np
import pytest
import torch

from gain_lightning.constants import VOID
from gain_lightning.segmentation.losses import (
    constrain_loss,
    expansion_loss,
    log_probabilities,
    rank_pool,
    seeding_loss,
)

N, C, H, W = 3, 4, 5, 6


@pytest.fixture
def scores(generator):
    return 2 * torch.randn(N, 1 + C, H, W, generator=generator, dtype=torch.double)


@pytest.fixture
def cues(generator):
    """A third of the pixels; the last image has none."""
    cues = torch.randint(0, 1 + C, (N, H, W), generator=generator)
    cues[torch.rand(N, H, W, generator=generator) > 0.33] = VOID
    cues[-1] = VOID
    return cues


LABEL = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])  # some, none, all


def slow_probabilities(scores) -> np.ndarray:
    scores = np.asarray(scores)
    result = np.zeros_like(scores)
    for n, y, x in np.ndindex(N, H, W):
        powers = [math.exp(s - max(scores[n, :, y, x])) for s in scores[n, :, y, x]]
        floored = [power / sum(powers) + 1e-4 for power in powers]
        result[n, :, y, x] = [value / sum(floored) for value in floored]
    return result


def slow_seeding(probability, cues) -> float:
    total = 0.0
    for n in range(N):
        logs = [
            math.log(probability[n, cues[n, y, x], y, x])
            for y, x in np.ndindex(H, W)
            if cues[n, y, x] != VOID
        ]
        total -= sum(logs) / len(logs) if logs else 0
    return total / N


def slow_rank_pool(values, decay) -> float:
    falling = sorted(values, reverse=True)
    weights = [decay**j for j in range(len(falling))]
    return sum(w * v for w, v in zip(weights, falling, strict=True)) / sum(weights)


def slow_expansion(probability, label) -> float:
    total = 0.0
    for n in range(N):
        present = [
            -math.log(slow_rank_pool(probability[n, 1 + c].flatten(), 0.996)) for c in range(C) if label[n, c]
        ]
        absent = [-math.log(1 - probability[n, 1 + c].max()) for c in range(C) if not label[n, c]]
        total += sum(present) / len(present) if present else 0
        total += sum(absent) / len(absent) if absent else 0
        total -= math.log(slow_rank_pool(probability[n, 0].flatten(), 0.999))
    return total / N


def slow_constrain(probability, crf) -> float:
    total = 0.0
    for n, c, y, x in np.ndindex(N, 1 + C, H, W):
        ratio = min(max(crf[n, c, y, x] / probability[n, c, y, x], 1 / 20), 20)
        total += crf[n, c, y, x] * math.log(ratio)
    return total / (N * H * W)


def test_probabilities_equal_the_loops(scores):
    np.testing.assert_allclose(log_probabilities(scores).exp(), slow_probabilities(scores), atol=1e-12)


def test_no_probability_is_below_the_floor():
    least = log_probabilities(torch.tensor([-1e4, 0.0, 1e4]).view(1, 3, 1, 1)).exp().min()
    assert float(least) == pytest.approx(1e-4 / (1 + 3e-4), rel=1e-4)


def test_seeding_equals_the_loops(scores, cues):
    loss = seeding_loss(log_probabilities(scores), cues)
    assert loss.item() == pytest.approx(slow_seeding(slow_probabilities(scores), cues.numpy()), abs=1e-6)


def test_expansion_equals_the_loops(scores):
    loss = expansion_loss(log_probabilities(scores), LABEL)
    assert loss.item() == pytest.approx(slow_expansion(slow_probabilities(scores), LABEL.numpy()), abs=1e-6)


def test_constrain_equals_the_loops(scores, generator):
    crf = torch.randn(N, 1 + C, H, W, generator=generator, dtype=torch.double).mul(3).softmax(1)
    loss = constrain_loss(log_probabilities(scores), crf)
    assert loss.item() == pytest.approx(slow_constrain(slow_probabilities(scores), crf.numpy()), abs=1e-6)


def test_constrain_is_zero_where_the_network_agrees_and_positive_elsewhere(scores, generator):
    log_probs = log_probabilities(scores)
    assert constrain_loss(log_probs, log_probs.exp()).item() == pytest.approx(0, abs=1e-12)
    other = torch.randn(scores.shape, generator=generator, dtype=torch.double).softmax(1)
    assert constrain_loss(log_probs, other) > 0


@pytest.mark.parametrize("name", ["seed", "expand", "constrain"])
def test_gradients_equal_finite_differences(scores, cues, generator, name):
    crf = torch.randn(scores.shape, generator=generator, dtype=torch.double).softmax(1)
    losses = {
        "seed": lambda s: seeding_loss(log_probabilities(s), cues),
        "expand": lambda s: expansion_loss(log_probabilities(s), LABEL),
        "constrain": lambda s: constrain_loss(log_probabilities(s), crf),
    }
    assert torch.autograd.gradcheck(losses[name], (scores.clone().requires_grad_(),), atol=1e-7)


def test_no_gradient_passes_through_the_crf(scores):
    log_probs = log_probabilities(scores)
    crf = log_probs.exp().clone().requires_grad_()
    constrain_loss(log_probs.detach().requires_grad_(), crf).backward()
    assert crf.grad is None


def test_rank_pool_lies_between_mean_and_maximum(generator):
    values = torch.rand(2, 7, 7, generator=generator)
    torch.testing.assert_close(rank_pool(values, 1.0), values.mean((1, 2)))
    torch.testing.assert_close(rank_pool(values, 0.0), values.amax((1, 2)))
    between = rank_pool(values, 0.9)
    assert ((values.mean((1, 2)) < between) & (between < values.amax((1, 2)))).all()


def test_cues_and_labels_of_another_shape_are_refused(scores):
    log_probs = log_probabilities(scores)
    with pytest.raises(ValueError, match=r"cues are \(3, 4, 6\), expected"):
        seeding_loss(log_probs, torch.zeros(N, H - 1, W, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"a cue is of class 5, expected at most 4"):
        seeding_loss(log_probs, torch.full((N, H, W), 5))
    with pytest.raises(ValueError, match=r"label is \(3, 5\), expected \(3, 4\)"):
        expansion_loss(log_probs, torch.zeros(N, C + 1))
    with pytest.raises(ValueError, match=r"crf_probs is \(3, 4, 5, 6\), expected \(3, 5, 5, 6\)"):
        constrain_loss(log_probs, log_probs[:, 1:])
