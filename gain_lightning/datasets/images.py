"""Read pictures and masks from files; an unreadable one is an error with its name."""

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

# How an intact file ends: OpenCV fills the rest of a truncated one with grey and says nothing.
_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP", "TIFF")
_FLAGS = {  # the bit of a size and the bit of the colour; OpenCV's names join a size with grey or BGR
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def files_below(folder: Path) -> list[Path]:
    """Every file in a folder and those below, sorted; links to folders outside are followed, each folder once.

    Links to nothing are among them, so that whoever reads them says so.

    Raises:
        OSError: If a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    root = os.path.realpath(folder)
    found, seen = [], {root}
    for at, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        found += [path for name in files if (path := Path(at, name)).is_file() or path.is_symlink()]
        inside = []
        for name in folders:
            path = os.path.join(at, name)
            target = os.path.realpath(path)
            leads_back = os.path.islink(path) and Path(target).is_relative_to(root)
            if not leads_back and target not in seen:
                seen.add(target)
                inside.append(name)
        folders[:] = inside
    return sorted(found)


def read_image(path: Path, *, reduce: int = 1) -> np.ndarray:
    """Read a picture as RGB, ``(H, W, 3)`` uint8; grey becomes RGB, EXIF rotation is applied.

    Args:
        path: The file.
        reduce: Decode at 1 / ``reduce`` of its size (1, 2, 4 or 8), rounded up: a JPEG's frequencies are cut
            before they are computed, which is faster and does not alias.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, truncated or not a picture.
    """
    with open(path, "rb") as file:
        data = file.read()
    for start, end in _ENDS.items():
        if data.startswith(start) and end not in data[-64:]:
            _check_complete(path)  # rarely, intact files carry more after their end
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[reduce]) if data else None
    if image is None:
        raise ValueError(f"{path}: not a readable picture ({len(data)} bytes)")
    return image


def _check_complete(path: Path) -> None:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error


def check_image(path: Path) -> tuple[int, int]:
    """Look at a picture's header and end; kinds other than JPEG and PNG are decoded.

    A JPEG that is damaged inside but has its end is not found: decoders fill it with grey.

    Returns:
        Height and width after EXIF rotation, pixels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, truncated or not a picture that :func:`read_image` takes.
    """
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            if image.format not in _FORMATS:
                raise ValueError(
                    f"{path}: a picture of format {image.format}, expected {', '.join(_FORMATS)}"
                )
            ending = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}.get(image.format)
            if ending is None:
                return read_image(path).shape[:2]
            width, height = image.size
            exif = Image.Exif()  # of its own block alone, as OpenCV has it: Pillow's takes XMP too
            exif.load(image.info.get("exif", b""))
            sideways = 5 <= exif.get(274, 1) <= 8  # tag Orientation
            file.seek(max(os.fstat(file.fileno()).st_size - 64, 0))
            is_whole = ending in file.read()
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable picture ({_reason(error, path)})") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error
    if not is_whole:
        _check_complete(path)
    return (width, height) if sideways else (height, width)


def _reason(error: Exception, path: Path) -> str:
    """Without what names an object in memory."""
    if isinstance(error, UnidentifiedImageError):
        return f"{os.path.getsize(path)} bytes of no known kind"
    return str(error)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as class indices, ``(H, W)`` uint8: the palette or grey values of a PNG.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is unreadable or no PNG, or holds colours and not indices.
    """
    try:
        with Image.open(path) as image:
            if image.format != "PNG":  # a JPEG's losses are pixels of any class
                raise ValueError(f"{path}: a mask of format {image.format}, expected PNG")
            image.load()
            if image.mode not in ("P", "L", "1"):
                raise ValueError(
                    f"{path}: mask of mode {image.mode}, expected class indices (palette or grey PNG)"
                )
            return np.array(image, dtype=np.uint8)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable mask ({_reason(error, path)})") from error
