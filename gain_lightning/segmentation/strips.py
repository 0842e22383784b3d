"""Strips of equal pictures, of a segmentation beside what it should be: written by runs, read by reports."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gain_lightning.plotting import colour_mask

NUM_STRIPS = 16  # of the first images of a set


def save_strip(path: Path, picture: np.ndarray, masks: Sequence[np.ndarray]) -> None:
    """Write a picture and masks side by side, as a PNG that says how many they are.

    Args:
        path: The file; its folder is made.
        picture: Shape ``(H, W, 3)`` uint8.
        masks: Of class indices, shape ``(H, W)`` uint8, 255 void.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = PngInfo()
    count.add_text("pictures", str(1 + len(masks)))
    strip = np.concatenate([picture, *map(colour_mask, masks)], axis=1)
    Image.fromarray(strip).save(path, pnginfo=count)


def read_strip(path: Path) -> list[np.ndarray]:
    """The pictures of a strip, each ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the file is no strip.
    """
    try:
        with Image.open(path) as file:
            return np.split(np.asarray(file.convert("RGB")), int(file.info["pictures"]), axis=1)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a strip of pictures ({error})") from error
