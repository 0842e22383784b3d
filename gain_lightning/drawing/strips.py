"""Strips of pictures, a segmentation beside its ground truth: runs write them, reports read them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from gain_lightning.constants import VOID
from gain_lightning.drawing.maps import colour_mask
from gain_lightning.drawing.text import write_caption

# Strips are drawn of so many first images of a set.
NUM_STRIPS = 16
IMAGE = "image"
TRUTH = "ground truth"
# Pixels between pictures, and the height of the caption above them.
_GAP, _BAR = 6, 18


def save_strip(path: Path, picture: np.ndarray, masks: Mapping[str, np.ndarray]) -> None:
    """Write a picture and masks side by side, each under its caption.

    Args:
        path: The file, PNG; its folder is made.
        picture: Picture, ``(H, W, 3)`` uint8.
        masks: Class indices by caption, ``(H, W)`` integers, 255 void. A mask that is void throughout stays white.
    """
    height, width = picture.shape[:2]
    tiles = {IMAGE: picture}
    for caption, mask in masks.items():
        tiles[caption] = np.full_like(picture, 255) if (mask == VOID).all() else colour_mask(mask)
    strip = Image.new("RGB", (len(tiles) * (width + _GAP) - _GAP, _BAR + height), "white")
    draw = ImageDraw.Draw(strip)
    for number, (caption, tile) in enumerate(tiles.items()):
        left = number * (width + _GAP)
        write_caption(draw, (left, 1), caption, width)
        strip.paste(Image.fromarray(tile), (left, _BAR))
    info = PngInfo()
    info.add_text("captions", json.dumps(list(tiles)))
    path.parent.mkdir(parents=True, exist_ok=True)
    strip.save(path, pnginfo=info)


def read_strip(path: Path) -> dict[str, np.ndarray]:
    """Read the pictures of a strip by caption, each ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the file is no strip.
    """
    try:
        with Image.open(path) as file:
            strip, captions = np.asarray(file.convert("RGB")), json.loads(file.info["captions"])
        step = (strip.shape[1] + _GAP) // len(captions)
        return {
            caption: strip[_BAR:, number * step : (number + 1) * step - _GAP]
            for number, caption in enumerate(captions)
        }
    # Pillow raises SyntaxError for a broken PNG.
    except (OSError, KeyError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a strip of pictures ({type(error).__name__}: {error})") from error
