"""Image and mask together, by albumentations (2.0.8, the last under MIT): resize, scale, crop, flip, colour."""

from dataclasses import dataclass

import albumentations
import cv2
import numpy as np

from gain_lightning import VOID

MIN_VISIBLE = 0.1  # of a class's share of the picture: with less left in a crop it is gone
_NEAREST = cv2.INTER_NEAREST_EXACT  # plain NEAREST lies up and left of the picture by half a pixel
_FILL = (124, 116, 104)  # ImageNet's mean colour


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
    """Vary a training picture; the outcome depends on ``seed`` alone, not on who calls when.

    Args:
        size: Height and width of the result, pixels; the picture's aspect is not kept.
        augmentation: How.
    """

    def __init__(self, size: int, augmentation: Augmentation) -> None:
        low, high = augmentation.scale
        self.crops = high > 1
        self.whole = _compose(size, augmentation, (min(low, 1.0), min(high, 1.0)))
        self.free = _compose(size, augmentation, (low, high)) if self.crops else self.whole

    def __call__(
        self, image: np.ndarray, mask: np.ndarray | None, label: np.ndarray, seed: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Transform one picture.

        Args:
            image: ``(H, W, 3)`` uint8.
            mask: ``(H, W)`` uint8, or None.
            label: ``(C,)`` uint8.
            seed: E.g. (run seed, visit, index).

        Returns:
            Image, mask and label; the mask is 255 beside the picture and where a class lost its label.
        """
        number = int(np.random.SeedSequence(seed).generate_state(1)[0])
        if self.crops and mask is not None:
            share = class_shares(mask, len(label))
            if label.any() and (share[label > 0] > 0).all():  # every class's place is known
                cut = _apply(self.free, image, mask, number)
                lost = (label > 0) & (class_shares(cut[1], len(label)) < MIN_VISIBLE * share)
                if not lost.any():
                    return *cut, label
                if lost.sum() < (label > 0).sum():
                    cut[1][np.isin(cut[1], np.flatnonzero(lost) + 1)] = VOID
                    return *cut, np.where(lost, 0, label)
        return *_apply(self.whole, image, mask, number), label


def class_shares(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Share of a mask's pixels that each class covers, ``(C,)``."""
    return np.bincount(mask.ravel(), minlength=256)[1 : num_classes + 1] / mask.size


def resize(image: np.ndarray, mask: np.ndarray | None, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Image and mask at ``size`` x ``size``, as validation sees them: bilinear, and the mask's nearest pixel."""
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image, None if mask is None else cv2.resize(mask, (size, size), interpolation=_NEAREST)


def _resize(size: int) -> albumentations.Resize:
    return albumentations.Resize(size, size, interpolation=cv2.INTER_LINEAR, mask_interpolation=_NEAREST)


def _compose(size: int, augmentation: Augmentation, scale: tuple[float, float]) -> albumentations.Compose:
    steps: list[albumentations.BasicTransform] = [_resize(size)]
    if scale != (1.0, 1.0):
        limits = (scale[0] - 1, scale[1] - 1)
        steps += [
            albumentations.RandomScale(limits, mask_interpolation=_NEAREST, p=1),
            albumentations.PadIfNeeded(size, size, position="random", fill=_FILL, fill_mask=VOID),
            albumentations.RandomCrop(size, size),
        ]
    if augmentation.flip:
        steps.append(albumentations.HorizontalFlip(p=augmentation.flip))
    if augmentation.colour:
        change = (1 - augmentation.colour, 1 + augmentation.colour)
        steps.append(albumentations.ColorJitter(change, change, change, hue=(0, 0), p=1))
    return albumentations.Compose(steps)


def _apply(
    transform: albumentations.Compose, image: np.ndarray, mask: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    transform.set_random_seed(seed)
    if mask is None:
        return transform(image=image)["image"], None
    result = transform(image=image, mask=mask)
    return result["image"], result["mask"]
