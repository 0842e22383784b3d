"""The scene of two shortcuts of shapes: both the ground and a second object give the class away.

In training a boat is on water beside a buoy, and a car on a road beside a cone, so there are eight groups: class,
ground and companion. It is made after UrbanCars (Li et al., *A Whac-A-Mole Dilemma*, CVPR 2023), where methods that
are told of one shortcut lean on the other. A boat and a car have the same outlines and colours; the faint stripes of
a boat lie, and those of a car stand. A mask shows the body alone, so it forbids both shortcuts, unless the companion
is on the body, or its colour. Image ``index`` of a split depends on (seed, split, index) alone.
"""

from collections.abc import Collection, Mapping
from itertools import compress

import numpy as np

from gain_lightning.datasets.boxes import Boxes, box_of
from gain_lightning.datasets.shapes.picture import SIZE, XX, YY, Picture

CLASSES = ("boat", "car")
# Each shortcut has a value that goes with the first class, and one with the second.
SHORTCUTS = {"ground": ("water", "road"), "companion": ("buoy", "cone")}
GROUPS = tuple(
    f"{name}+{ground}+{companion}"
    for name in CLASSES
    for ground in SHORTCUTS["ground"]
    for companion in SHORTCUTS["companion"]
)
SPLITS = ("train", "val", "test")
PLACES = ("beside", "on_object", "colour")

# The companions have two colours each; the first is that of nearly all of it.
_COMPANION_COLOURS = np.array([[[225, 45, 60], [245, 245, 245]], [[250, 160, 30], [40, 40, 45]]], np.float32)
_GROUND_COLOURS = np.array([[50, 95, 165], [105, 100, 95]], np.float32)
# The stripes differ from the body's colour by so many of 255 grey values.
_CONTRAST = (12, 19)


def draw_picture(
    index: int,
    split: str,
    *,
    seed: int = 0,
    bias: float = 1.0,
    companion_bias: float | None = None,
    companion_place: str = "beside",
) -> Picture:
    """Make picture ``index`` of a split; classes alternate, and in the test all eight groups do.

    Args:
        index: Number of the picture, any size.
        split: ``train`` or ``val`` (biased), or ``test`` (eight groups of equal size).
        seed: Seed of the data set.
        bias: Share of the biased splits' pictures that lie on the ground of their class. The others lie on either.
        companion_bias: Share of them that have the companion of their class, whatever their ground. The others have
            either. None takes ``bias``.
        companion_place: Whether the companion lies ``beside`` the body or is painted on it, ``on_object``; or the body
            has its ``colour`` in place of any, and there is no other sign of it. Masks and boxes contain the last two.

    Returns:
        The picture.

    Raises:
        ValueError: If there is no such split or place, or a bias is not between 0 and 1.

    Example:
        >>> picture = draw_picture(5, "test")
        >>> picture.label.tolist(), GROUPS[picture.group]
        ([0, 1], 'car+water+cone')
    """
    biases = {"bias": bias, "companion_bias": bias if companion_bias is None else companion_bias}
    _check(split, companion_place, biases)
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    at_random, chances = rng.integers(2, size=2), rng.random(2)
    if split == "test":
        class_idx, ground, companion = (index % 8) // 4, (index % 4) // 2, index % 2
    else:
        class_idx = index % 2
        ground, companion = np.where(chances < list(biases.values()), class_idx, at_random).tolist()
    image = _draw_ground(rng, ground)
    # No body has the colour of a companion by chance.
    colour = rng.uniform(60, 160, 3)
    if companion_place == "colour":
        colour = _COMPANION_COLOURS[companion, 0]
    body, place = _draw_body(rng, image, class_idx, colour, on_object=companion_place == "on_object")
    if companion_place != "colour":
        _draw_companion(rng, image, companion, place)
    image += rng.normal(0, 6, image.shape).astype(np.float32)
    image = np.clip(image, 0, 255).astype(np.uint8)
    mask = np.where(body, class_idx + 1, 0).astype(np.uint8)
    boxes = Boxes(np.array([class_idx]), box_of(body)[None])
    label = np.eye(2, dtype=np.uint8)[class_idx]
    group = 4 * class_idx + 2 * ground + companion
    return Picture(image, label, mask, boxes, SHORTCUTS["ground"][ground], group)


def _check(split: str, companion_place: str, biases: Mapping[str, float]) -> None:
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if companion_place not in PLACES:
        raise ValueError(f"companion_place is {companion_place!r}, expected one of {', '.join(PLACES)}")
    for name, share in biases.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}, expected a share between 0 and 1")


def told_groups(shortcuts: Collection[str]) -> tuple[str, ...]:
    """Name each group of ``GROUPS`` by its class and some of the shortcuts alone.

    Example:
        >>> told_groups(["ground"])[:3]
        ('boat+water', 'boat+water', 'boat+road')
    """
    is_told = [True, *(name in shortcuts for name in SHORTCUTS)]
    return tuple("+".join(compress(group.split("+"), is_told)) for group in GROUPS)


def _draw_ground(rng: np.random.Generator, ground: int) -> np.ndarray:
    """Draw water with its waves, or a road with its broad lanes, ``(96, 96, 3)`` float32."""
    colour = _GROUND_COLOURS[ground] + rng.normal(0, 14, 3)
    angle = rng.uniform(0, np.pi)
    period = (9, 40)[ground] * rng.uniform(0.8, 1.25)
    wave = np.sin(2 * np.pi / period * (XX * np.cos(angle) + YY * np.sin(angle)) + rng.uniform(0, 6.3))
    return (colour + 12 * wave[..., None]).astype(np.float32)


def _draw_body(
    rng: np.random.Generator, image: np.ndarray, class_idx: int, colour: np.ndarray, *, on_object: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a boat or a car of a colour into ``image``.

    Returns:
        Its pixels, ``(96, 96)`` bool, and where its companion is, ``(x, y)``: on it, or clear of it.
    """
    radii = rng.uniform(15, 20, 2)
    centre = rng.uniform(24, SIZE - 24, 2)
    power = rng.uniform(2, 5)
    dx, dy = XX - centre[0], YY - centre[1]
    body = np.abs(dx / radii[0]) ** power + np.abs(dy / radii[1]) ** power < 1
    across = dy if class_idx == 0 else dx
    stripes = np.sign(np.sin(2 * np.pi * across / rng.uniform(5, 7) + rng.uniform(0, 6.3)))
    image[body] = colour + rng.uniform(*_CONTRAST) * stripes[body, None]
    if on_object:
        return body, centre + rng.uniform(-0.4, 0.4, 2) * radii
    # A companion reaches 7 pixels from its centre.
    beside = np.maximum(np.abs(dx) - radii[0], np.abs(dy) - radii[1])
    places = np.argwhere((beside > 9) & (np.minimum(XX, YY) >= 8) & (np.maximum(XX, YY) < SIZE - 8))
    y, x = places[rng.integers(len(places))]
    return body, np.array([x, y])


def _draw_companion(rng: np.random.Generator, image: np.ndarray, companion: int, place: np.ndarray) -> None:
    """Paint a red buoy, which is round and has a white band, or an orange cone with a dark foot."""
    dx, dy = XX - place[0], YY - place[1]
    if companion == 0:
        shape, trim = np.hypot(dx, dy) < 6.5, np.abs(dy) < 1.6
    else:
        shape, trim = (np.abs(dy) < 6.5) & (np.abs(dx) < (dy + 8) / 2.2), dy > 3.5
    image[shape], image[shape & trim] = _COMPANION_COLOURS[companion] + rng.normal(0, 8, (2, 3))
