"""How far a value of the pairs of one network depends on which images were drawn: 95 % intervals by a bootstrap.

Images are drawn, each with all of its pairs, since the maps of one image are not independent. Axis letters: P (image,
class) pairs, N images, R resamples.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Pairs

Interval = list[float] | None  # the two ends


def draw_images(pairs: Pairs, seed: int, *, resamples: int = 2000) -> Tensor:
    """How often each pair counts, ``(R, P)`` float64, in ``resamples`` = R draws of N images."""
    share = np.full(pairs.num_images, 1 / pairs.num_images)
    drawn = np.random.default_rng(seed).multinomial(pairs.num_images, share, resamples)
    return torch.from_numpy(drawn)[:, pairs.image].double()


def mean_interval(values: Tensor, weight: Tensor) -> Interval:
    """Of the mean over pairs.

    Args:
        values: Of the pairs, ``(P,)``; nan where one cannot be judged.
        weight: How often each counts, ``(R, P)``.
    """
    judged = ~values.isnan()
    weight = weight[:, judged]
    return interval((weight @ values[judged].double() / weight.sum(1)).tolist())


def interval(values: Iterable[float]) -> Interval:
    """The central 95 % of resampled values, without those that are nan; None where there are none.

    Example:
        >>> interval([float(value) for value in range(1001)] + [float("nan")])
        [25.0, 975.0]
    """
    values = [value for value in values if value == value]
    return [round(float(value), 6) for value in np.quantile(values, (0.025, 0.975))] if values else None
