"""The camera scene of shapes: two orientations told apart by small marks, on telling backgrounds.

Stands in for the industrial camera of the paper's section 5, whose pictures are not public. The body looks
the same from both sides save for small slots around the lens: they lie in orientation ``a`` and stand in
``b``. In training, ``a`` always lies on the bench and ``b`` on the belt; a plain mat under the
camera keeps both grounds out of its box. Image ``index`` of a split
depends on (seed, split, index) alone.
"""

import numpy as np

from gain_lightning.datasets.boxes import Boxes, box_of
from gain_lightning.datasets.shapes.picture import SIZE, XX, YY, Picture

CLASSES = ("a", "b")
GROUNDS = ("bench", "belt")
GROUPS = ("a+bench", "a+belt", "b+bench", "b+belt")
SPLITS = ("train", "val", "test", "other_grounds")

_GROUND_COLOURS = np.array([[150, 112, 72], [92, 118, 112]], np.float32)


def draw_picture(index: int, split: str, *, seed: int = 0, bias: float = 1.0) -> Picture:
    """Make picture ``index`` of a split; classes alternate.

    Args:
        index: Number of the picture, any size.
        split: ``train``, ``val`` or ``test`` (biased), or ``other_grounds``: backgrounds drawn without
            regard to the class, and seen from farther and nearer and more askew.
        seed: Seed of the data set.
        bias: Share of the biased splits' pictures that lie on the ground of their class. The others lie
            on either.

    Returns:
        The picture.

    Raises:
        ValueError: If there is no such split, or ``bias`` is not between 0 and 1.

    Example:
        >>> picture = draw_picture(0, "train")
        >>> picture.label.tolist(), picture.ground
        ([1, 0], 'bench')
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not 0 <= bias <= 1:
        raise ValueError(f"bias is {bias}, expected a share between 0 and 1")
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    class_idx = index % 2
    at_random = int(rng.integers(2))
    keeps_rule = split != "other_grounds" and rng.random() < bias
    ground = class_idx if keeps_rule else at_random
    image = _draw_ground(rng, ground)
    body = _draw_camera(rng, image, class_idx, other_views=split == "other_grounds")
    image += rng.normal(0, 6, image.shape).astype(np.float32)
    boxes = Boxes(np.array([class_idx]), box_of(body)[None])
    mask = np.where(body, class_idx + 1, 0).astype(np.uint8)
    label = np.eye(2, dtype=np.uint8)[class_idx]
    image = np.clip(image, 0, 255).astype(np.uint8)
    return Picture(image, label, mask, boxes, GROUNDS[ground], group=2 * class_idx + ground)


def _draw_ground(rng: np.random.Generator, ground: int) -> np.ndarray:
    """Draw wood with its grain, or a ribbed belt, ``(96, 96, 3)`` float32."""
    colour = _GROUND_COLOURS[ground] + rng.normal(0, 14, 3)
    angle = rng.uniform(-0.4, 0.4)
    along = XX * np.cos(angle) + YY * np.sin(angle)
    across = YY * np.cos(angle) - XX * np.sin(angle)
    if ground == 0:
        wave = np.sin(
            2 * np.pi * (across + 3 * np.sin(along / 15)) / rng.uniform(9, 14) + rng.uniform(0, 6.3)
        )
    else:
        wave = np.sign(np.sin(2 * np.pi * along / rng.uniform(9, 14) + rng.uniform(0, 6.3)))
    return (colour + 14 * wave[..., None]).astype(np.float32)


def _draw_camera(
    rng: np.random.Generator, image: np.ndarray, class_idx: int, other_views: bool
) -> np.ndarray:
    """Paint the camera into ``image``; return its pixels, ``(96, 96)`` bool."""
    scale = rng.uniform(0.8, 1.25) if other_views else rng.uniform(0.9, 1.1)
    tilt = rng.uniform(-0.4, 0.4) if other_views else rng.uniform(-0.2, 0.2)
    margin = 30 * scale
    centre = rng.uniform(margin, SIZE - margin, 2)
    dx = (XX - centre[0]) * np.cos(tilt) + (YY - centre[1]) * np.sin(tilt)
    dy = (YY - centre[1]) * np.cos(tilt) - (XX - centre[0]) * np.sin(tilt)
    dx, dy = dx / scale, dy / scale
    body = np.abs(dx / 26) ** 5 + np.abs(dy / 18) ** 5 < 1
    mat = np.abs(dx / 38) ** 5 + np.abs(dy / 30) ** 5 < 1
    image[mat] = rng.uniform(120, 200) + rng.normal(0, 8, 3)
    shade = rng.uniform(45, 105)
    image[body] = shade + rng.normal(0, 6, 3)
    distance = np.hypot(dx, dy)
    # the lens is a light ring around a dark glass
    image[distance < 9] = shade + 60
    image[distance < 6] = 25
    half_width, half_height = (3.5, 1.2) if class_idx == 0 else (1.2, 3.5)
    for x, y in ((-17, -9), (0, -13), (17, -9), (-17, 9), (0, 13), (17, 9)):
        image[(np.abs(dx - x) < half_width) & (np.abs(dy - y) < half_height)] = (235, 225, 200)
    return body
