"""Masks that tools write as pixels become COCO's runs."""

import base64
import binascii
import io
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from gain_lightning.datasets.images import DAMAGE


def decode_png(text: str) -> np.ndarray:
    """Decode a PNG that stands in a text, as base64 or as an address that begins with ``data:``.

    Returns:
        Where it is not transparent, or without transparency not 0, ``(H, W)`` bool.

    Raises:
        ValueError: If it is none.

    Example:
        >>> decode_png("data:image/png;base64,eA==")
        Traceback (most recent call last):
        ValueError: not a PNG in base64 (1 bytes of another kind)
    """
    try:
        data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not a PNG in base64 ({error})") from error
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            pixels = np.array(image.getchannel("A") if "A" in image.getbands() else image)
    except UnidentifiedImageError as error:
        raise ValueError(f"not a PNG in base64 ({len(data)} bytes of another kind)") from error
    except DAMAGE as error:
        raise ValueError(f"not a PNG in base64 ({error})") from error
    return np.asarray(np.atleast_3d(pixels).astype(bool).any(2))


def runs_of(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Encode a mask that is cut out of its picture as COCO's runs; what lies beyond the picture is left out.

    Args:
        mask: The part, ``(h, w)``.
        corner: x and y of its upper left pixel.
        size: Height and width of the picture.

    Example:
        >>> runs = runs_of(np.ones((2, 2), bool), (-1, 1), (3, 3))
        >>> coco_mask.decode(runs).tolist()
        [[0, 0, 0], [1, 0, 0], [1, 0, 0]]
    """
    (x, y), (height, width) = corner, size
    whole = np.zeros(size, np.uint8, order="F")
    part = mask[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    top, left = max(y, 0), max(x, 0)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    runs: dict[str, Any] = coco_mask.encode(whole)
    return runs
