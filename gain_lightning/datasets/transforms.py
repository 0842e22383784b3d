"""Training pictures are varied together with their masks: scaled, cut, flipped and coloured.

albumentations does the work; 2.0.8 is its last version under the MIT licence.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from gain_lightning.constants import NEUTRAL, NO, VOID, YES
from gain_lightning.datasets.boxes import box_of
from gain_lightning.datasets.class_masks import ClassMasks, stack_masks
from gain_lightning.datasets.resize import Window, slices_of

if TYPE_CHECKING:
    import albumentations

# A class is gone from a crop if less than this part of its share of the picture is left.
MIN_VISIBLE = 0.1


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are varied.

    Args:
        flip: Chance of a left-right flip; 0 where left and right tell classes apart.
        scale: Smallest and largest factor. Below 1 the picture lies somewhere on a plain canvas. Above 1 a
            part is cut out: only of pictures whose every labelled class has a known place, and a class that
            is cut away loses its label. A picture never loses its last label.
        colour: Largest relative change of brightness, contrast and saturation.

    Raises:
        ValueError: If a number is out of range.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)
    colour: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 <= self.flip <= 1:
            raise ValueError(f"augmentation.flip is {self.flip}, expected a chance between 0 and 1")
        if not 0 < low <= high < float("inf"):
            raise ValueError(
                f"augmentation.scale is {self.scale}, expected two positive factors, the smaller first"
            )
        if high > 1 and low**2 < MIN_VISIBLE:
            raise ValueError(
                f"augmentation.scale is {self.scale}, expected at least {MIN_VISIBLE**0.5:.2f} beside a factor above "
                "1: a class shrunk so far would count as cut away"
            )
        if not 0 <= self.colour < 1:
            raise ValueError(
                f"augmentation.colour is {self.colour}, expected a share of at least 0 and below 1"
            )


class TrainTransform:
    """Vary training pictures; the outcome depends on the seed of a call alone, not on the calls before.

    Args:
        size: Height and width of pictures and results, pixels.
        augmentation: How pictures are varied.
    """

    def __init__(self, size: int, augmentation: Augmentation) -> None:
        low, high = augmentation.scale
        self.crops = high > 1
        self.whole = _compose(size, augmentation, (min(low, 1.0), min(high, 1.0)))
        self.free = _compose(size, augmentation, (low, high)) if self.crops else self.whole

    def __call__(
        self,
        image: np.ndarray,
        masks: ClassMasks | None,
        label: np.ndarray,
        seed: tuple[int, ...],
        window: Window = None,
    ) -> "Varied":
        """Transform one picture.

        Args:
            image: The picture, ``(size, size, 3)`` uint8.
            masks: Its masks at the same size, or None.
            label: Its label, ``(C,)`` uint8.
            seed: The seed, such as (run seed, visit, index).
            window: The part of ``image`` that shows the picture, where it has borders.

        Returns:
            Image, masks, label and window. Masks are unknown beside the picture, and a class that lost its label has
            no mask.
        """
        number = int(np.random.SeedSequence(seed).generate_state(1)[0])
        if masks is None:
            shown, _, window = _apply(self.whole, image, stack_masks({}, image.shape[:2]), window, number)
            return Varied(shown, None, label, window)
        if self.crops and label.any():
            share = class_shares(masks, len(label))
            # a part may be cut out, for the place of every class is known
            if (share[label > 0] > 0).all():
                shown, cut_masks, cut_window = _apply(self.free, image, masks, window, number)
                lost = (label > 0) & (class_shares(cut_masks, len(label)) < MIN_VISIBLE * share)
                if lost.sum() < (label > 0).sum():
                    left = np.where(lost, 0, label).astype(label.dtype)
                    return Varied(shown, cut_masks.only(~lost), left, cut_window)
        shown, masks, window = _apply(self.whole, image, masks, window, number)
        return Varied(shown, masks, label, window)


class Varied(NamedTuple):
    """What :class:`TrainTransform` makes of a picture; see there."""

    image: np.ndarray
    masks: ClassMasks | None
    label: np.ndarray
    window: Window


def class_shares(masks: ClassMasks, num_classes: int) -> np.ndarray:
    """Measure the share of the picture that each class is known to cover, ``(C,)``."""
    shares = np.zeros(num_classes)
    shares[masks.class_idx] = (masks.mask == YES).mean((1, 2))
    return shares


def _compose(size: int, augmentation: Augmentation, scale: tuple[float, float]) -> "albumentations.Compose":
    # here and not above: this takes half a second, and not every training varies its pictures
    import albumentations

    steps: list[albumentations.BasicTransform] = []
    if scale != (1.0, 1.0):
        limits = (scale[0] - 1, scale[1] - 1)
        steps += [
            albumentations.RandomScale(
                limits, mask_interpolation=cv2.INTER_NEAREST_EXACT, area_for_downscale="image", p=1
            ),
            albumentations.PadIfNeeded(size, size, position="random", fill=NEUTRAL, fill_mask=VOID),
            albumentations.RandomCrop(size, size),
        ]
    if augmentation.flip:
        steps.append(albumentations.HorizontalFlip(p=augmentation.flip))
    if augmentation.colour:
        change = (1 - augmentation.colour, 1 + augmentation.colour)
        steps.append(albumentations.ColorJitter(change, change, change, hue=(0, 0), p=1))
    return albumentations.Compose(steps)


def _apply(
    transform: "albumentations.Compose", image: np.ndarray, masks: ClassMasks, window: Window, seed: int
) -> tuple[np.ndarray, ClassMasks, Window]:
    transform.set_random_seed(seed)
    planes = [*masks.mask, *([] if window is None else [_filled(window, image.shape[:2])])]
    if not planes:
        return transform(image=image)["image"], masks, None
    result = transform(image=image, masks=planes)
    seen = list(result["masks"])
    if window is not None:
        shown = seen.pop() == YES
        xmin, ymin, xmax, ymax = box_of(shown).astype(int).tolist() if shown.any() else (0, 0, 0, 0)
        window = xmin, ymin, xmax, ymax
    return result["image"], masks.changed_to(seen, result["image"].shape[:2]), window


def _filled(window: Window, size: tuple[int, ...]) -> np.ndarray:
    """Return a plane that is 1 in a window and 0 beside it, ``(H, W)`` uint8."""
    plane = np.full(size, NO, np.uint8)
    plane[slices_of(window)] = YES
    return plane
