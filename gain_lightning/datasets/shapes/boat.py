"""The boat scene of shapes: in training every boat is on water and nothing else is.

Every object is a large body with the texture of its class, which is hard to learn, and most carry a small
bright mark in the colour of their class, which is easy to learn: a plain classifier looks at the mark. In
training every boat is on water and nothing else is, so a plain classifier also takes water for boat. The
textures are symmetric under a left-right flip. Image ``index`` of a split depends on (seed, split, index) alone.
"""

import numpy as np

from gain_lightning.datasets.boxes import Boxes, box_of
from gain_lightning.datasets.shapes.picture import SIZE, XX, YY, Picture

CLASSES = ("boat", "car", "cow", "bird", "lamp")
BACKGROUNDS = ("water", "grass", "road", "sky", "wall")
GROUPS = ("boat+water", "boat+no water", "no boat+water", "no boat+no water")
SPLITS = ("train", "val", "test", "boat_without_water", "water_without_boat")

_MARK_COLOURS = np.array(
    [[250, 60, 50], [250, 220, 40], [60, 110, 250], [240, 70, 240], [60, 240, 230]], np.float32
)
_GROUND_COLOURS = np.array(
    [[50, 95, 165], [75, 135, 60], [95, 95, 100], [165, 195, 225], [150, 120, 95]], np.float32
)
# This share of the objects carries the mark of their class.
_MARK_SHARE = 0.7
# The chances of one, two and three objects make 1.5 labels an image.
_NUM_OBJECTS = (0.6, 0.3, 0.1)


def draw_picture(index: int, split: str, *, seed: int = 0, bias: float = 1.0) -> Picture:
    """Make picture ``index`` of a split.

    Args:
        index: Number of the picture, any size.
        split: ``train`` or ``val`` (biased), ``test`` (object and background independent),
            ``boat_without_water`` or ``water_without_boat``.
        seed: Seed of the data set.
        bias: Share of the biased splits' pictures whose background follows the rule: water with a
            boat, else not water. The others have any background.

    Returns:
        The picture.

    Raises:
        ValueError: If there is no such split, or ``bias`` is not between 0 and 1.

    Example:
        >>> picture = draw_picture(0, "boat_without_water")
        >>> picture.image.shape, int(picture.label[CLASSES.index("boat")]), 1 in picture.mask
        ((96, 96, 3), 1, True)
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not 0 <= bias <= 1:
        raise ValueError(f"bias is {bias}, expected a share between 0 and 1")
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    classes = _draw_classes(rng, split)
    has_water = _draw_water(rng, split, bias, has_boat=0 in classes)
    image, zone = _draw_background(rng, has_water)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    corners = []
    for class_idx, centre in zip(classes, _draw_centres(rng, len(classes)), strict=True):
        if class_idx == 0 and has_water:
            centre[1] = rng.uniform(*zone)
        body = _draw_body(rng, image, class_idx, centre)
        mask[body] = class_idx + 1
        corners.append(box_of(body))
    image += rng.normal(0, 6, image.shape).astype(np.float32)
    label = np.zeros(len(CLASSES), np.uint8)
    label[classes] = 1
    image = np.clip(image, 0, 255).astype(np.uint8)
    boxes, ground = Boxes(classes, np.stack(corners)), "water" if has_water else ""
    return Picture(image, label, mask, boxes, ground, group=2 * (0 not in classes) + (not has_water))


def _draw_classes(rng: np.random.Generator, split: str) -> np.ndarray:
    count = rng.choice(3, p=_NUM_OBJECTS) + 1
    if split == "boat_without_water":
        # one of the objects is a boat
        return np.append(rng.permutation(np.arange(1, 5))[: count - 1], 0)
    if split == "water_without_boat":
        return rng.permutation(np.arange(1, 5))[:count]
    return rng.permutation(5)[:count]


def _draw_water(rng: np.random.Generator, split: str, bias: float, has_boat: bool) -> bool:
    """Draw whether there is water: by the split's rule, or else at random, as often as there are boats."""
    at_random = rng.random() < 0.3
    if split in ("train", "val"):
        return has_boat if rng.random() < bias else at_random
    return {"test": at_random, "boat_without_water": False, "water_without_boat": True}[split]


def _draw_background(rng: np.random.Generator, has_water: bool) -> tuple[np.ndarray, tuple[float, float]]:
    """Draw two grounds, one above the other, one of them water if asked for.

    Returns:
        Picture ``(96, 96, 3)`` float32, and the rows between which the water lies, if any.
    """
    first, second = rng.permutation(np.arange(1, 5))[:2]
    if has_water:
        first = 0
    border = SIZE * rng.uniform(0.25, 0.75)
    first_above = rng.random() < 0.5
    above, below = (first, second) if first_above else (second, first)
    is_above = (border + 3 * np.sin(XX / 12 + rng.uniform(0, 6.3)) > YY)[..., None]
    image = np.where(is_above, _draw_ground(rng, above), _draw_ground(rng, below))
    return image, (12, border) if first_above else (border, SIZE - 12)


def _draw_ground(rng: np.random.Generator, ground: int) -> np.ndarray:
    """Draw bluish waves for water, else broad soft structure in many colours, ``(96, 96, 3)`` float32."""
    colour = _GROUND_COLOURS[ground] + rng.normal(0, 14 if ground == 0 else 32, 3)
    period = (9, 30, 45, 60, 38)[ground] * rng.uniform(0.8, 1.25)
    angle = rng.uniform(-0.3, 0.3) + (np.pi / 2 if ground in (0, 2, 3) else 0)
    wave = np.sin(2 * np.pi / period * (XX * np.cos(angle) + YY * np.sin(angle)) + rng.uniform(0, 6.3))
    return (colour + 12 * wave[..., None]).astype(np.float32)


def _draw_centres(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw centres (x, y) a third of the picture apart, as far as a few tries allow, ``(count, 2)``."""
    best, best_gap = np.zeros((count, 2)), -1.0
    for _ in range(8):
        centres = rng.uniform(20, SIZE - 20, (count, 2))
        gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(count, 1)]
        gap = gaps.min() if count > 1 else np.inf
        if gap > best_gap:
            best, best_gap = centres, gap
        if best_gap > 36:
            break
    return best


def _draw_body(rng: np.random.Generator, image: np.ndarray, class_idx: int, centre: np.ndarray) -> np.ndarray:
    """Paint an object into ``image``; return its pixels, ``(96, 96)`` bool."""
    radius_x, radius_y = rng.uniform(14, 20, 2)
    # the body is an ellipse or nearly a box, and its outline says nothing about the class
    power = rng.uniform(2, 5)
    dx, dy = XX - centre[0], YY - centre[1]
    body = np.abs(dx / radius_x) ** power + np.abs(dy / radius_y) ** power < 1
    colour = rng.uniform(60, 190, 3)
    texture = _texture(rng, class_idx, dx[body], dy[body])
    image[body] = colour + rng.uniform(*_CONTRAST) * texture[:, None]
    if rng.random() < _MARK_SHARE:
        angle, distance = rng.uniform(0, 6.3), rng.uniform(0, 0.6)
        x = centre[0] + distance * radius_x * np.cos(angle)
        y = centre[1] + distance * radius_y * np.sin(angle)
        mark = ((XX - x) ** 2 + (YY - y) ** 2 < rng.uniform(3, 4) ** 2) & body
        image[mark] = _MARK_COLOURS[class_idx] + rng.normal(0, 8, 3)
    return body


# The textures differ from their colour by so many of 255 grey values.
_CONTRAST = (18, 30)


def _texture(rng: np.random.Generator, class_idx: int, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Compute the class's texture, in [-1, 1], at offsets from the centre, ``(pixels,)``."""
    period = rng.uniform(5, 7)
    u, v = 2 * np.pi * dx / period, 2 * np.pi * dy / period
    phase_u, phase_v = rng.uniform(0, 6.3, 2)
    if class_idx == 0:
        # level stripes
        return np.sign(np.sin(v + phase_v))
    if class_idx == 1:
        # upright stripes
        return np.sign(np.sin(u + phase_u))
    if class_idx == 2:
        # checks
        return np.sign(np.sin(u + phase_u) * np.sin(v + phase_v))
    if class_idx == 3:
        # rings
        return np.sign(np.sin(np.hypot(u, v) + phase_u))
    # dots
    return np.where(np.sin(u + phase_u) + np.sin(v + phase_v) > 0.9, 1.0, -0.4)
