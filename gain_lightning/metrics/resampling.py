"""95 % intervals over the draw of images, by a bootstrap, of values that the pairs of one network have.

Images are drawn, each with all of its pairs, since the maps of one image are not independent. Axis letters:
P (image, class) pairs, N images, R resamples.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Pairs

# The two ends of an interval, or None where nothing can be said.
Interval = list[float] | None


def draw_images(pairs: Pairs, seed: int, *, resamples: int = 2000) -> Tensor:
    """Draw N images R = ``resamples`` times, and return the times that each pair counts, ``(R, P)`` float64."""
    share = np.full(pairs.num_images, 1 / pairs.num_images)
    drawn = np.random.default_rng(seed).multinomial(pairs.num_images, share, resamples)
    return torch.from_numpy(drawn)[:, pairs.image].double()


def mean_interval(values: Tensor, weight: Tensor) -> Interval:
    """Return the interval of the mean over pairs.

    Args:
        values: Values of the pairs, ``(P,)``; nan where a pair cannot be judged.
        weight: Times that each pair counts, ``(R, P)``.
    """
    judged = ~values.isnan()
    weight = weight[:, judged]
    return interval((weight @ values[judged].double() / weight.sum(1)).tolist())


def mean_of_pairs(values: Tensor) -> float | None:
    """Return the mean of the values ``(P,)`` that are not nan, rounded; None where none is.

    Example:
        >>> mean_of_pairs(torch.tensor([1.0, torch.nan, 2.0])), mean_of_pairs(torch.tensor([torch.nan]))
        (1.5, None)
    """
    values = values[~values.isnan()]
    return round(float(values.mean()), 6) if len(values) else None


def paired_summary(values: Tensor, attention: Tensor, weight: Tensor) -> dict[str, Any]:
    """Summarise values of pairs beside those of the attention map.

    Args:
        values: Values of the pairs, ``(P,)``; nan where a pair cannot be judged.
        attention: Values that the attention map has, ``(P,)``.
        weight: Times that each pair counts, ``(R, P)``.

    Returns:
        The ``mean`` over pairs, its ``interval``, and ``attention_less``, the interval of the attention map's mean
        less this one on the same pairs.
    """
    return {
        "mean": mean_of_pairs(values),
        "interval": mean_interval(values, weight),
        "attention_less": mean_interval(attention - values, weight),
    }


def interval(values: Iterable[float]) -> Interval:
    """Return the central 95 % of resampled values, those that are nan left out; None where none remains.

    Example:
        >>> interval([float(value) for value in range(1001)] + [float("nan")])
        [25.0, 975.0]
    """
    values = [value for value in values if value == value]
    return [round(float(value), 6) for value in np.quantile(values, (0.025, 0.975))] if values else None
