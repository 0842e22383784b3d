"""Imperfect marks: what a hasty annotator makes of an image's masks, to see what guidance bears.

Each function changes the marks of one object and is pure. Lengths are shares of the object's size, the root of its
area, so that a small object and a large one are marked equally badly. What an :class:`Annotator` draws depends on its
seed and on the image's name: the same image is marked the same in every epoch and beside any others.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.boxes import box_of
from gain_lightning.datasets.class_masks import ClassMasks


@dataclass(frozen=True)
class MaskNoise:
    """How the masks that guide a training differ from what is there. Several of these add up, in this order.

    Args:
        wrong_class: Chance of an image that its marks bear wrong names: the marked classes change places, and a class
            that is alone is called any other, so that nothing is known of the true one.
        grow: Share of an object's size by which its border lies outside of it, or inside where this is negative;
            its innermost pixels always stay.
        missing: Share of an object's pixels that is not marked: what lies to one side, any, of a straight line.
        shift: Share of an object's size by which its marks lie beside it, in any direction.
        as_boxes: Whether an object's box is marked in place of its outline.

    Raises:
        ValueError: If a number is out of range.
    """

    wrong_class: float = 0.0
    grow: float = 0.0
    missing: float = 0.0
    shift: float = 0.0
    as_boxes: bool = False

    def __post_init__(self) -> None:
        for name, low in (("wrong_class", 0), ("grow", -1), ("missing", 0), ("shift", 0)):
            if not low <= getattr(self, name) <= 1:
                raise ValueError(
                    f"data.mask_noise.{name} is {getattr(self, name)}, expected a number from {low} to 1"
                )
        if self.missing == 1:
            raise ValueError("data.mask_noise.missing is 1, expected a share below 1")


@dataclass(frozen=True)
class Annotator:
    """Who marks images for a training.

    Args:
        noise: How the marks differ from what is there.
        void_border: Pixels on either side of every border of a class about which the marks say nothing.
        num_classes: C, among which a wrong one is chosen.
        seed: The seed of what is drawn.
    """

    noise: MaskNoise
    void_border: int
    num_classes: int
    seed: int

    def __call__(self, masks: ClassMasks, name: str) -> ClassMasks:
        """Return the masks of the image ``name`` as this annotator draws them."""
        rng = np.random.default_rng((self.seed, *name.encode()))
        class_idx = masks.class_idx
        if rng.random() < self.noise.wrong_class:
            class_idx = wrong_classes(class_idx, self.num_classes, rng)
        marked = [void_band(mark_objects(mask, self.noise, rng), self.void_border) for mask in masks.mask]
        return ClassMasks(class_idx, np.stack(marked) if marked else masks.mask)


def wrong_classes(class_idx: np.ndarray, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Give each of an image's marked classes the name of the next; one that is alone gets any other.

    Args:
        class_idx: The marked classes, each once, ``(M,)``.
        num_classes: C; a single class has no other and keeps its name.
        rng: Draws the other class.

    Example:
        >>> wrong_classes(np.array([0, 2, 3]), 5, np.random.default_rng(0)).tolist()
        [2, 3, 0]
    """
    if len(class_idx) == 1 and num_classes > 1:
        return (class_idx + rng.integers(1, num_classes)) % num_classes
    return np.roll(class_idx, -1)


def mark_objects(mask: np.ndarray, noise: MaskNoise, rng: np.random.Generator) -> np.ndarray:
    """Mark every object of one class anew; pixels of one object touch each other, at least by a corner.

    Args:
        mask: 1 the class, 0 not the class, 255 unknown, ``(H, W)`` uint8.
        noise: How the marks differ from it.
        rng: Draws the directions.

    Returns:
        The mask with other marks. Pixels that are not marked any more are not the class; nothing else changes.
    """
    body = mask == YES
    marked = np.zeros_like(body)
    count, number = cv2.connectedComponents(body.astype(np.uint8), connectivity=8)
    for one in range(1, count):
        marked |= _mark_object(number == one, noise, rng)
    return np.where(marked, YES, np.where(body, NO, mask)).astype(np.uint8)


def _mark_object(body: np.ndarray, noise: MaskNoise, rng: np.random.Generator) -> np.ndarray:
    # Both are always drawn, so that noise of another strength has the same directions.
    side, direction = rng.uniform(0, 2 * np.pi, 2)
    size = float(np.sqrt(body.sum()))
    marked = cut(grow(body, noise.grow * size), noise.missing, side)
    marked = shift(marked, noise.shift * size, direction)
    return fill_box(marked) if noise.as_boxes else marked


def grow(body: np.ndarray, pixels: float) -> np.ndarray:
    """Move a body's border outwards, or inwards where ``pixels`` is negative; its innermost pixels stay.

    The picture's edge is no border.

    Args:
        body: At least one true pixel, ``(H, W)`` bool.
        pixels: How far, as the Euclidean distance between the centres of pixels.

    Example:
        >>> grow(np.array([[False, True, False, False]]), 1).tolist()
        [[True, True, True, False]]
    """
    if pixels > 0:
        return _distance_to(body) <= pixels
    depth = _distance_to(~body)
    return body & ((depth > -pixels) | (depth == depth.max()))


def cut(body: np.ndarray, share: float, angle: float) -> np.ndarray:
    """Cut off the ``share`` of a body's pixels that lies farthest in a direction.

    Args:
        body: At least one true pixel, ``(H, W)`` bool.
        share: Below 1, so that at least a pixel stays.
        angle: 0 cuts from the right, pi / 2 from below.

    Example:
        >>> cut(np.array([[True, True, True, True]]), 0.5, 0.0).tolist()
        [[True, True, False, False]]
    """
    y, x = np.nonzero(body)
    order = np.argsort(np.cos(angle) * x + np.sin(angle) * y, kind="stable")
    kept = order[: len(order) - int(share * len(order))]
    left = np.zeros_like(body)
    left[y[kept], x[kept]] = True
    return left


def shift(body: np.ndarray, pixels: float, angle: float) -> np.ndarray:
    """Move a body; a part that leaves the picture is lost, and a body that would leave it wholly stays in place.

    Args:
        body: ``(H, W)`` bool.
        pixels: How far, rounded to whole rows and columns.
        angle: 0 moves to the right, pi / 2 downwards.

    Example:
        >>> shift(np.array([[True, True, False, False]]), 1, 0.0).tolist()
        [[False, True, True, False]]
    """
    y, x = np.nonzero(body)
    y, x = y + round(pixels * np.sin(angle)), x + round(pixels * np.cos(angle))
    is_inside = (y >= 0) & (y < body.shape[0]) & (x >= 0) & (x < body.shape[1])
    moved = np.zeros_like(body)
    moved[y[is_inside], x[is_inside]] = True
    return moved if is_inside.any() else body


def fill_box(body: np.ndarray) -> np.ndarray:
    """Fill the smallest box around a body.

    Example:
        >>> fill_box(np.array([[False, True], [True, False]])).tolist()
        [[True, True], [True, True]]
    """
    left, top, right, bottom = box_of(body).astype(int)
    box = np.zeros_like(body)
    box[top:bottom, left:right] = True
    return box


def void_band(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Say nothing about the pixels on either side of a class's border, as VOC's masks do.

    Args:
        mask: 1 the class, 0 not the class, 255 unknown, ``(H, W)`` uint8.
        pixels: Width on each side, as the Euclidean distance to the nearest pixel across the border; 0 leaves the
            mask as it is.

    Example:
        >>> void_band(np.array([[0, 0, 0, 1, 1, 1, 255]], np.uint8), 1).tolist()
        [[0, 0, 255, 255, 1, 1, 255]]
    """
    if not pixels:
        return mask
    across = np.where(mask == YES, _distance_to(mask == NO), _distance_to(mask == YES))
    return np.where(across <= pixels, VOID, mask).astype(np.uint8)


def _distance_to(body: np.ndarray) -> np.ndarray:
    """Measure the Euclidean distance of every pixel to the body's nearest one, infinite without any, ``(H, W)``."""
    if not body.any():
        return np.full(body.shape, np.inf)
    return cv2.distanceTransform((~body).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
