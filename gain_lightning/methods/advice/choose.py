"""Choose images one after another: the stratum that has fewest, and in it the pair of the highest value."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Choice(NamedTuple):
    """An image that was chosen.

    Attributes:
        pair: The number of the pair that it was chosen for.
        value: The value of the pair at that time.
        num_left: The number of images that were left in the stratum, this one included.
    """

    pair: int
    value: float
    num_left: int


def choose(
    values: Callable[[Sequence[int]], np.ndarray],
    image: np.ndarray,
    stratum: np.ndarray,
    count: int,
    *,
    taken: np.ndarray,
    seed: int = 0,
) -> list[Choice]:
    """Choose images by their pairs.

    An image counts in the strata of all its pairs, for all of them are marked when it is.

    Args:
        values: Takes the images that were chosen so far and returns the value of each pair, ``(P,)``.
        image: The image of each pair, ``(P,)``.
        stratum: The stratum of each pair, 0..S-1, ``(P,)``.
        count: The number of images to choose.
        taken: The number of images that are marked already in each stratum, ``(S,)``.
        seed: Seed of the order of strata and pairs that are equal.

    Raises:
        ValueError: If there are fewer images.

    Example:
        >>> image, stratum = np.array([0, 1, 2, 2]), np.array([0, 0, 0, 1])
        >>> chosen = choose(lambda _: np.array([0.5, 0.9, 0.1, 0.1]), image, stratum, 2, taken=np.zeros(2, int))
        >>> sorted(image[one.pair].item() for one in chosen)
        [1, 2]
    """
    if count > (num_images := len(np.unique(image))):
        raise ValueError(
            f"asked for {count} images, but {num_images} can be marked; expected at most so many"
        )
    rng = np.random.default_rng(seed)
    order_of_strata, order_of_pairs = rng.permutation(len(taken)), rng.permutation(len(image))
    num_taken, is_free = taken.astype(int).copy(), np.ones(len(image), bool)
    chosen: list[Choice] = []
    while len(chosen) < count:
        left = np.bincount(stratum[is_free], minlength=len(num_taken))
        best = min(np.flatnonzero(left).tolist(), key=lambda s: (num_taken[s], order_of_strata[s]))
        value = values([int(image[one.pair]) for one in chosen])
        pairs = np.flatnonzero(is_free & (stratum == best))
        pair = max(pairs.tolist(), key=lambda p: (value[p], order_of_pairs[p]))
        chosen.append(Choice(pair, float(value[pair]), len(np.unique(image[pairs]))))
        of_image = image == image[pair]
        is_free &= ~of_image
        num_taken += np.bincount(np.unique(stratum[of_image]), minlength=len(num_taken))
    return chosen
