"""A picture, as every scene of shapes draws it."""

from dataclasses import dataclass

import numpy as np

from gain_lightning.datasets.boxes import Boxes

SIZE = 96  # pixels, height and width
YY, XX = np.mgrid[:SIZE, :SIZE].astype(np.float32)


@dataclass(frozen=True)
class Picture:
    """One made picture with C classes.

    Attributes:
        image: ``(96, 96, 3)`` uint8.
        label: 1 where the class is present, or the amount of it, ``(C,)`` uint8.
        mask: 0 background, 1..C class, ``(96, 96)`` uint8.
        boxes: The box of each object, what another object hides of it included.
        ground: The name of the background that the training set ties to a class, or ``""``.
        group: The number of its group, by the scene's ``GROUPS``; -1 in a scene without groups.
    """

    image: np.ndarray
    label: np.ndarray
    mask: np.ndarray
    boxes: Boxes
    ground: str
    group: int = -1
