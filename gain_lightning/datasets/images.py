"""Read pictures and masks from files; an unreadable one is an error with its name."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

# How an intact file ends: OpenCV fills the rest of a truncated one with grey and says nothing.
_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_image(path: Path) -> np.ndarray:
    """Read a picture as RGB, ``(H, W, 3)`` uint8; grey becomes RGB, EXIF rotation is applied.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, truncated or not a picture.
    """
    data = path.read_bytes()
    for start, end in _ENDS.items():
        if data.startswith(start) and end not in data[-64:]:
            _check_complete(path)  # rarely, intact files carry more after their end
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise ValueError(f"{path}: not a readable picture ({len(data)} bytes)")
    return image


def _check_complete(path: Path) -> None:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture after EXIF rotation, from its header.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(274, 1) >= 5  # tag Orientation
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error
    return (width, height) if sideways else (height, width)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as class indices, ``(H, W)`` uint8: the palette or grey values of a PNG.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is unreadable, or holds colours and not indices.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode not in ("P", "L", "1"):
                raise ValueError(
                    f"{path}: mask of mode {image.mode}, expected class indices (palette or grey PNG)"
                )
            return np.array(image, dtype=np.uint8)
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable mask ({error})") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: not a readable mask ({error})") from error
