"""The count scene of shapes: how many boats are there? In training, as many as buoys.

Boats are striped bodies on water, dim and hard to learn; buoys are small, bright and easy to count. In training there
is one buoy for every boat, so counting buoys answers the question; in the test set their numbers are independent. For
``task: regression``: the label is the number of boats. Image ``index`` of a split depends on (seed, split, index)
alone.
"""

import numpy as np

from gain_lightning.datasets.boxes import Boxes, box_of
from gain_lightning.datasets.shapes.picture import SIZE, XX, YY, Picture

CLASSES = ("boat",)
# An amount is no class that could make groups.
GROUPS = ()
SPLITS = ("train", "val", "test")
# A picture has one to so many boats, and one to so many buoys.
MOST = 5

_BUOY = np.array([250, 140, 30], np.float32)
# The centres of two objects are at least so many pixels apart.
_GAP = 19


def draw_picture(index: int, split: str, *, seed: int = 0, bias: float = 1.0) -> Picture:
    """Make picture ``index`` of a split.

    Args:
        index: Number of the picture, any size.
        split: ``train`` or ``val`` (biased), or ``test``: as many buoys as chance has it.
        seed: Seed of the data set.
        bias: Share of the biased splits' pictures that have a buoy for every boat. The others have any number.

    Returns:
        The picture; its label is the number of boats.

    Raises:
        ValueError: If there is no such split, or ``bias`` is not between 0 and 1.

    Example:
        >>> picture = draw_picture(0, "train")
        >>> picture.label.tolist() == [len(picture.boxes.class_idx)]
        True
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not 0 <= bias <= 1:
        raise ValueError(f"bias is {bias}, expected a share between 0 and 1")
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    num_boats, at_random = rng.integers(1, MOST + 1, 2)
    num_buoys = num_boats if split != "test" and rng.random() < bias else at_random
    image = _draw_water(rng)
    centres = _draw_centres(rng, num_boats + num_buoys)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    bodies = [_draw_boat(rng, image, centre) for centre in centres[:num_boats]]
    for body in bodies:
        mask[body] = 1
    for x, y in centres[num_boats:]:
        image[(XX - x) ** 2 + (YY - y) ** 2 < rng.uniform(3, 4) ** 2] = _BUOY + rng.normal(0, 8, 3)
    image += rng.normal(0, 6, image.shape).astype(np.float32)
    boxes = Boxes(np.zeros(num_boats, np.int64), np.stack([box_of(body) for body in bodies]))
    label = np.array([num_boats], np.uint8)
    return Picture(np.clip(image, 0, 255).astype(np.uint8), label, mask, boxes, "")


def _draw_water(rng: np.random.Generator) -> np.ndarray:
    """Draw level waves, ``(96, 96, 3)`` float32."""
    colour = np.array([60, 105, 150], np.float32) + rng.normal(0, 14, 3)
    angle = rng.uniform(-0.3, 0.3)
    wave = np.sin(
        2 * np.pi / rng.uniform(8, 12) * (YY * np.cos(angle) + XX * np.sin(angle)) + rng.uniform(0, 6.3)
    )
    return (colour + 12 * wave[..., None]).astype(np.float32)


def _draw_centres(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw centres (x, y), ``(count, 2)``, of which no two come too close to each other."""
    while True:
        centres: list[np.ndarray] = []
        for centre in rng.uniform(10, SIZE - 10, (200, 2)):
            if all(np.hypot(*(centre - other)) > _GAP for other in centres):
                centres.append(centre)
            if len(centres) == count:
                return np.array(centres)


def _draw_boat(rng: np.random.Generator, image: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Paint a boat with upright stripes into ``image``; return its pixels, ``(96, 96)`` bool."""
    dx, dy = XX - centre[0], YY - centre[1]
    body = np.abs(dx / rng.uniform(8, 9.5)) ** 3 + np.abs(dy / rng.uniform(6, 8)) ** 3 < 1
    stripes = np.sign(np.sin(2 * np.pi * dx[body] / rng.uniform(4, 6) + rng.uniform(0, 6.3)))
    image[body] = rng.uniform(60, 150, 3) + rng.uniform(14, 24) * stripes[:, None]
    return body
