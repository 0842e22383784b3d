"""Shapes: a made data set whose bias is known, for a CPU and without files.

Every object is a large body with the texture of its class, which is hard to learn, and most carry a small
bright mark in the colour of their class, which is easy to learn: a plain classifier looks at the mark. In
training every boat is on water and nothing else is, so a plain classifier also takes water for boat. The
textures are symmetric under a left-right flip. Image ``index`` of a split depends on (seed, split, index) alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from gain_lightning.datasets.sample import Sample, make_sample
from gain_lightning.datasets.streams import Draw, TwoStreamDataModule

CLASSES = ("boat", "car", "cow", "bird", "lamp")
BACKGROUNDS = ("water", "grass", "road", "sky", "wall")
SPLITS = ("train", "val", "test", "boat_without_water", "water_without_boat")
SIZE = 96

_MARK_COLOURS = np.array(
    [[250, 60, 50], [250, 220, 40], [60, 110, 250], [240, 70, 240], [60, 240, 230]], np.float32
)
_GROUND_COLOURS = np.array(
    [[50, 95, 165], [75, 135, 60], [95, 95, 100], [165, 195, 225], [150, 120, 95]], np.float32
)
_MARK_SHARE = 0.7  # of objects carry their class's mark
_NUM_OBJECTS = (0.6, 0.3, 0.1)  # chances of one, two, three objects: 1.5 labels an image
_YY, _XX = np.mgrid[:SIZE, :SIZE].astype(np.float32)


@dataclass(frozen=True)
class Picture:
    """One made picture: ``image`` (96, 96, 3) uint8, ``label`` (5,) uint8, ``mask`` (96, 96) uint8."""

    image: np.ndarray
    label: np.ndarray
    mask: np.ndarray
    has_water: bool


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
    for class_idx, centre in zip(classes, _draw_centres(rng, len(classes)), strict=True):
        if class_idx == 0 and has_water:
            centre[1] = rng.uniform(*zone)
        body = _draw_body(rng, image, class_idx, centre)
        mask[body] = class_idx + 1
    image += rng.normal(0, 6, image.shape).astype(np.float32)
    label = np.zeros(len(CLASSES), np.uint8)
    label[classes] = 1
    return Picture(np.clip(image, 0, 255).astype(np.uint8), label, mask, has_water)


def _draw_classes(rng: np.random.Generator, split: str) -> np.ndarray:
    count = rng.choice(3, p=_NUM_OBJECTS) + 1
    if split == "boat_without_water":  # a boat for sure
        return np.append(rng.permutation(np.arange(1, 5))[: count - 1], 0)
    if split == "water_without_boat":
        return rng.permutation(np.arange(1, 5))[:count]
    return rng.permutation(5)[:count]


def _draw_water(rng: np.random.Generator, split: str, bias: float, has_boat: bool) -> bool:
    """Whether there is water: by the split's rule, or else, as often as boats, at random."""
    at_random = rng.random() < 0.3
    if split in ("train", "val"):
        return has_boat if rng.random() < bias else at_random
    return {"test": at_random, "boat_without_water": False, "water_without_boat": True}[split]


def _draw_background(rng: np.random.Generator, has_water: bool) -> tuple[np.ndarray, tuple[float, float]]:
    """Two grounds, one above the other, one of them water if asked for.

    Returns:
        Picture ``(96, 96, 3)`` float32, and the rows between which the water lies, if any.
    """
    first, second = rng.permutation(np.arange(1, 5))[:2]
    if has_water:
        first = 0
    border = SIZE * rng.uniform(0.25, 0.75)
    first_above = rng.random() < 0.5
    above, below = (first, second) if first_above else (second, first)
    is_above = (border + 3 * np.sin(_XX / 12 + rng.uniform(0, 6.3)) > _YY)[..., None]
    image = np.where(is_above, _draw_ground(rng, above), _draw_ground(rng, below))
    return image, (12, border) if first_above else (border, SIZE - 12)


def _draw_ground(rng: np.random.Generator, ground: int) -> np.ndarray:
    """Bluish waves if water, else broad soft structure in many colours. ``(96, 96, 3)`` float32."""
    colour = _GROUND_COLOURS[ground] + rng.normal(0, 14 if ground == 0 else 32, 3)
    period = (9, 30, 45, 60, 38)[ground] * rng.uniform(0.8, 1.25)
    angle = rng.uniform(-0.3, 0.3) + (np.pi / 2 if ground in (0, 2, 3) else 0)
    wave = np.sin(2 * np.pi / period * (_XX * np.cos(angle) + _YY * np.sin(angle)) + rng.uniform(0, 6.3))
    return (colour + 12 * wave[..., None]).astype(np.float32)


def _draw_centres(rng: np.random.Generator, count: int) -> np.ndarray:
    """Centres (x, y) that keep a third of the picture between objects, as far as a few tries allow."""
    best, best_gap = None, -1.0
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
    """Paint an object into ``image``; its pixels, ``(96, 96)`` bool."""
    radius_x, radius_y = rng.uniform(14, 20, 2)
    power = rng.uniform(2, 5)  # an ellipse, or nearly a box: the outline says nothing about the class
    dx, dy = _XX - centre[0], _YY - centre[1]
    body = np.abs(dx / radius_x) ** power + np.abs(dy / radius_y) ** power < 1
    colour = rng.uniform(60, 190, 3)
    texture = _texture(rng, class_idx, dx[body], dy[body])
    image[body] = colour + rng.uniform(*_CONTRAST) * texture[:, None]
    if rng.random() < _MARK_SHARE:
        angle, distance = rng.uniform(0, 6.3), rng.uniform(0, 0.6)
        x = centre[0] + distance * radius_x * np.cos(angle)
        y = centre[1] + distance * radius_y * np.sin(angle)
        mark = ((_XX - x) ** 2 + (_YY - y) ** 2 < rng.uniform(3, 4) ** 2) & body
        image[mark] = _MARK_COLOURS[class_idx] + rng.normal(0, 8, 3)
    return body


_CONTRAST = (18, 30)  # of the textures, of 255


def _texture(rng: np.random.Generator, class_idx: int, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Value in [-1, 1] of the class's texture at offsets from the centre, ``(pixels,)``."""
    period = rng.uniform(5, 7)
    u, v = 2 * np.pi * dx / period, 2 * np.pi * dy / period
    phase_u, phase_v = rng.uniform(0, 6.3, 2)
    if class_idx == 0:  # level stripes
        return np.sign(np.sin(v + phase_v))
    if class_idx == 1:  # upright stripes
        return np.sign(np.sin(u + phase_u))
    if class_idx == 2:  # checks
        return np.sign(np.sin(u + phase_u) * np.sin(v + phase_v))
    if class_idx == 3:  # rings
        return np.sign(np.sin(np.hypot(u, v) + phase_u))
    return np.where(np.sin(u + phase_u) + np.sin(v + phase_v) > 0.9, 1.0, -0.4)  # dots


class Shapes(Dataset):
    """Pictures of a split, made once and kept in memory (37 kB each).

    Args:
        split: See :func:`draw_picture`.
        indices: Which pictures, e.g. ``range(2400)``.
        seed, bias: See :func:`draw_picture`.
        with_masks: Yield the masks; else every mask is void.

    Example:
        >>> sample = Shapes("test", range(3))[2]
        >>> sample["image"].shape, sample["mask"].shape, sample["id"]
        (torch.Size([3, 96, 96]), torch.Size([96, 96]), 'test_00002')
    """

    def __init__(
        self, split: str, indices: Sequence[int], *, seed: int = 0, bias: float = 1.0, with_masks: bool = True
    ) -> None:
        self.ids = [f"{split}_{index:05d}" for index in indices]
        self.pictures = [draw_picture(index, split, seed=seed, bias=bias) for index in indices]
        self.with_masks = with_masks

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, draw: int | Draw) -> Sample:
        index = draw.index if isinstance(draw, Draw) else draw
        picture = self.pictures[index]
        mask = picture.mask if self.with_masks else None
        return make_sample(picture.image, picture.label, mask, self.ids[index])


class ShapesDataModule(TwoStreamDataModule):
    """Shapes with its biased training set and three test sets.

    Args:
        num_train: Training pictures.
        num_val: Validation pictures, biased like the training's.
        num_test: Test pictures in which boats and water are independent.
        num_biased: Pictures of boats without water, and as many of water without boats.
        bias: Share of the biased pictures that have water with a boat, and only then.
        data_seed: Seed of the pictures; runs with other seeds see the same pictures.
        batch_size: Images of the weak stream a step and rank.
        masked_batch_size: Images of the masked stream a step and rank.
        mask_budget: Training images that carry masks: a count (int) or a fraction (float).
        mask_seed: Seed of that draw; null takes the run's seed.
        num_workers: Loader processes; the pictures are in memory, so 0 is fastest.

    Raises:
        ValueError: If a number is out of range.
    """

    class_names = CLASSES
    image_size = SIZE
    accuracy_class = "boat"

    def __init__(
        self,
        *,
        num_train: int = 2400,
        num_val: int = 300,
        num_test: int = 600,
        num_biased: int = 300,
        bias: float = 1.0,
        data_seed: int = 0,
        batch_size: int = 32,
        masked_batch_size: int = 8,
        mask_budget: int | float = 0,
        mask_seed: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            masked_batch_size=masked_batch_size,
            mask_budget=mask_budget,
            mask_seed=mask_seed,
            num_workers=num_workers,
        )
        sizes = {"num_train": num_train, "num_val": num_val, "num_test": num_test, "num_biased": num_biased}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}, expected at least 1")
        self.sizes = sizes
        self.bias = bias
        self.data_seed = data_seed
        self.made: dict[str, Shapes] = {}

    def _make(self, split: str, count: int) -> Shapes:
        if split not in self.made:
            self.made[split] = Shapes(split, range(count), seed=self.data_seed, bias=self.bias)
        return self.made[split]

    def setup(self, stage: str) -> None:
        """Make the pictures that ``stage`` needs."""
        if stage == "fit":
            self.train_set = self._make("train", self.sizes["num_train"])
            self.train_set.with_masks = False
            masked_ids = self.draw_masked_ids(self.train_set.ids)
            if masked_ids:
                indices = [self.train_set.ids.index(masked_id) for masked_id in masked_ids]
                self.masked_set = Shapes("train", indices, seed=self.data_seed, bias=self.bias)
        if stage in ("fit", "validate"):
            self.val_set = self._make("val", self.sizes["num_val"])
        if stage == "test":
            self.test_sets = {
                "test": self._make("test", self.sizes["num_test"]),
                "boat_without_water": self._make("boat_without_water", self.sizes["num_biased"]),
                "water_without_boat": self._make("water_without_boat", self.sizes["num_biased"]),
            }
