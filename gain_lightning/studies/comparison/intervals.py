"""The 95 % interval of the difference of two methods, and the population that the interval speaks of.

A training depends on its seed, and a score on the images that were drawn for the test. All networks of a study are
tested on the same images, so seeds and images are crossed. The difference of two methods with seed s is then a sum::

    d_s = difference of the methods + part of the images + part of the seed_s

The part of the images is the same for every seed. Therefore the scatter over seeds alone does not show it, and the
scatter over images alone does not show the part of the seeds. An interval about the methods needs both.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

# Differences that lie less than this apart are equal but for rounding.
_SAME = 1e-9


class Interval(NamedTuple):
    """The ends of a 95 % interval.

    It is taken ``over`` ``seeds and images``, ``seeds``, ``images`` or ``folds``.
    """

    low: float
    high: float
    over: str


def difference_interval(deltas: np.ndarray) -> Interval | None:
    """Return the 95 % interval of a mean difference, over seeds, images or both, as the values allow.

    The variance of the mean of n seeds is the sum of two estimates (Obuchowski and Rockette, Communications in
    Statistics 24, 1995, where readers judge the same cases as our networks judge the same images)::

        part of the seeds   s^2 / n, the variance between seeds
        part of the images  the mean covariance of two seeds' differences over images that are drawn anew

    The first has n - 1 degrees of freedom. The half width is the standard error times the mean of Student's t and of
    the normal quantile, weighted by the two parts (Cochran and Cox, Experimental Designs, 1957).
    Satterthwaite's degrees of freedom would cover 92 % with three seeds. Without images this is Student's interval;
    with one seed it is the interval of the bootstrap's standard error.

    Args:
        deltas: Differences of n pairs of runs, ``(n, 1 + R)``: on all images, then on R resamples of them, which are
            the same for every pair. R is 0 where there are no scores of single images.

    Returns:
        The interval around the mean of the first column. It is over seeds where n > 1, and over images where R > 1.
        It is None where nothing varies, because an interval of width 0 would pass for certainty: with one pair without
        images, with pairs without images that all differ by the same, and with a difference that is the same on every
        image.

    Example:
        >>> low, high, over = difference_interval(np.array([[0.01], [0.02], [0.03]]))
        >>> round(low, 4), round(high, 4), over  # 0.02 -+ 4.303 * 0.01 / sqrt(3)
        (-0.0048, 0.0448, 'seeds')
    """
    num_seeds = len(deltas)
    first, resampled = deltas[:, 0], deltas[:, 1:]
    # A draw without an image to judge says nothing.
    resampled = resampled[:, ~np.isnan(resampled).any(0)]
    has_images = resampled.shape[1] > 1
    covariance = np.atleast_2d(np.cov(resampled)) if has_images else np.zeros((num_seeds, num_seeds))
    of_one = covariance.trace() / num_seeds
    if num_seeds == 1:
        of_seeds, of_images, quantile = 0.0, of_one, ndtri(0.975)
    else:
        of_two = (covariance.sum() - covariance.trace()) / (num_seeds * (num_seeds - 1))
        of_images = max(of_two, 0.0)
        # Scores of few images are coarse, so all seeds may differ by the same although seeds do scatter. Then the
        # scatter that the images alone would give each seed stands in for it.
        spread = first.var(ddof=1) if np.ptp(first) > _SAME else max(of_one - of_two, 0.0)
        of_seeds = spread / num_seeds
        share = of_seeds / (of_seeds + of_images) if of_seeds else 0.0
        quantile = share * stdtrit(num_seeds - 1, 0.975) + (1 - share) * ndtri(0.975)
    if of_seeds + of_images < _SAME**2:
        return None
    mean, half = float(first.mean()), float(quantile * np.sqrt(of_seeds + of_images))
    parts = ["seeds"] * (num_seeds > 1) + ["images"] * has_images
    return Interval(mean - half, mean + half, " and ".join(parts))


def fold_interval(deltas: np.ndarray, num_folds: int) -> Interval | None:
    """Return the 95 % interval of a mean difference over folds, each of which is the test of one training.

    Folds share most of their training images, so that their scatter alone is too small. Nadeau and Bengio, *Inference
    for the Generalization Error*, Machine Learning 52, 2003, correct it: the variance of the mean of n differences is
    s^2 (1/n + test images / training images), and the latter ratio is 1 / (num_folds - 1). Student's t has n - 1
    degrees of freedom.

    Args:
        deltas: The difference in each of n folds, ``(n,)``, a mean over seeds.
        num_folds: The number of parts that the pictures were dealt into.

    Returns:
        The interval around the mean; None where there is one fold, or where all differ by the same.

    Example:
        >>> low, high, over = fold_interval(np.array([0.01, 0.02, 0.03]), 3)
        >>> round(low, 4), round(high, 4), over  # 0.02 -+ 4.303 * 0.01 * sqrt(1 / 3 + 1 / 2)
        (-0.0193, 0.0593, 'folds')
    """
    if len(deltas) < 2 or np.ptp(deltas) <= _SAME:
        return None
    error = deltas.std(ddof=1) * np.sqrt(1 / len(deltas) + 1 / (num_folds - 1))
    mean, half = float(deltas.mean()), float(stdtrit(len(deltas) - 1, 0.975) * error)
    return Interval(mean - half, mean + half, "folds")
