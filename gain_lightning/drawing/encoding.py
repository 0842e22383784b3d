"""Write pictures as bytes: PNG files, and data URIs of a page."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from gain_lightning.drawing.palette import voc_palette
from gain_lightning.support.files import written_whole


def save_png(path: Path, image: np.ndarray) -> None:
    """Write an RGB picture ``(H, W, 3)`` uint8."""
    Image.fromarray(image).save(path)


def data_uri(picture: np.ndarray | bytes, *, lossy: bool = False) -> str:
    """Return a picture as text that a page holds.

    Args:
        picture: Picture, ``(H, W, 3)`` uint8, or the bytes of an SVG file.
        lossy: Whether an array becomes a JPEG, which suits photographs and is a fifth of the PNG that it is otherwise.
    """
    if isinstance(picture, bytes):
        return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
    file, kind = io.BytesIO(), "jpeg" if lossy else "png"
    Image.fromarray(picture).save(file, format=kind, **({"quality": 88} if lossy else {}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def shrink(picture: np.ndarray, side: int, *, smooth: bool = True) -> np.ndarray:
    """Return a picture or a map with no side longer than ``side``.

    Without ``smooth`` its colours stay exact, as masks need.
    """
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return picture
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    method = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, method))


def save_indexed(path: Path, mask: np.ndarray) -> None:
    """Write class indices as a PNG with VOC's palette; a killed process leaves no half of it."""
    picture = Image.fromarray(mask).convert("P")
    picture.putpalette(voc_palette().tobytes())
    with written_whole(path) as part:
        picture.save(part, format="PNG")
