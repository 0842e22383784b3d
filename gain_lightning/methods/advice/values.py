"""The value that each policy gives to the P pairs of images that may be marked: the highest is chosen.

Axis letters: N images that may be marked, M marked ones, P pairs of the former and Q of the latter, K channels.
"""

from collections.abc import Callable, Sequence

import numpy as np

from gain_lightning.methods.advice.look import Seen

# Takes what the network says of images that may be marked, the same of those that are, the images chosen so far, and a
# seed; returns a value of each pair, (P,).
Values = Callable[[Seen, Seen | None, Sequence[int], int], np.ndarray]


def drawn(pool: Seen, marked: Seen | None, chosen: Sequence[int], seed: int) -> np.ndarray:
    """Value each image by a random number, whatever it shows."""
    number: np.ndarray = np.random.default_rng(seed).random(len(pool.feature))[pool.image]
    return number


def uncertainty(pool: Seen, marked: Seen | None, chosen: Sequence[int], seed: int) -> np.ndarray:
    """Value a pair by the entropy of its prediction.

    Raises:
        ValueError: If the network predicts amounts.
    """
    if np.isnan(pool.uncertainty).any():
        raise ValueError("policy uncertainty: amounts have no probability, expected another policy")
    return pool.uncertainty


def disagreement(pool: Seen, marked: Seen | None, chosen: Sequence[int], seed: int) -> np.ndarray:
    """Value a pair by how much its map changes in other views, see :class:`~.look.Seen`."""
    assert pool.disagreement is not None
    return pool.disagreement


def spread(pool: Seen, marked: Seen | None, chosen: Sequence[int], seed: int) -> np.ndarray:
    """Value an image by the distance of its features to the nearest that is marked or chosen.

    Taking the farthest each time is k-center greedy (Sener and Savarese, *Active Learning for Convolutional Neural
    Networks: A Core-Set Approach*, ICLR 2018). As long as nothing is taken, the image nearest to the mean is first.
    """
    centres = pool.feature[list(chosen)]
    if marked is not None:
        centres = np.concatenate([marked.feature, centres])
    if not len(centres):
        centres = pool.feature.mean(0, keepdims=True)
        near_the_mean: np.ndarray = -_distance(pool.feature, centres).min(1)[pool.image]
        return near_the_mean
    nearest: np.ndarray = _distance(pool.feature, centres).min(1)[pool.image]
    return nearest


def unlike_marked(pool: Seen, marked: Seen | None, chosen: Sequence[int], seed: int) -> np.ndarray:
    """Value a pair by how far what its map shows lies from what all marks of its class show.

    Features under marks are what the network has been taught to look at. A class without a mark is farthest of all.

    Raises:
        ValueError: If nothing is marked.
    """
    if marked is None or not len(marked.image):
        raise ValueError(
            "policy unlike_marked: no image is marked yet, expected another policy to begin with"
        )
    # two vectors of length 1 are at most so far apart
    value = np.full(len(pool.image), 2.0)
    for class_idx in np.unique(marked.class_idx):
        rows = pool.class_idx == class_idx
        if rows.any():
            own = marked.attended[marked.class_idx == class_idx]
            value[rows] = _distance(pool.attended[rows], own).min(1)
    return value


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances of vectors of any length, ``(N, K)`` and ``(M, K)`` to ``(N, M)``."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    distance: np.ndarray = np.sqrt(np.maximum(squares, 0))
    return distance


VALUES: dict[str, Values] = {
    "random": drawn,
    "by_class": drawn,
    "uncertainty": uncertainty,
    "disagreement": disagreement,
    "spread": spread,
    "unlike_marked": unlike_marked,
}
