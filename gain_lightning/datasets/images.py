"""Pictures and masks are read from files; one that cannot be read is an error with its name.

:func:`load_picture` is the one way from a file to what the network sees. Training, validation and tests,
``gain predict``, ``gain seeds`` and notebooks all take it, so that a file has the same scores everywhere.
"""

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from gain_lightning.constants import NEUTRAL
from gain_lightning.datasets.resize import Frame, frame_of, resize_image

# MPO, of cameras that keep several pictures in a file, opens as JPEG.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
# An intact file ends so.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
# Each of these turns undoes a value of EXIF's tag Orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow raises these for damaged files; anything else is no fault of the file.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
# These are tags of TIFF.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_REMEDY = "write all pictures anew at 8 bits, by one factor for all of them"
# Pillow spreads the values of a grey PNG of 2 or 4 bits over 0..255, in such steps.
_STEPS = {"L;2": 85, "L;4": 17}
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def load_picture(path: Path | str, size: int, resize: str = "squash") -> np.ndarray:
    """Load a picture as the network sees it, in training and everywhere else.

    It is decoded and turned (:func:`read_image`), resized by an antialiased bilinear filter
    (:func:`~gain_lightning.datasets.resize.resize_image`), and put where
    :func:`~gain_lightning.datasets.resize.frame_of` says. A JPEG that is much larger is decoded at a half to an eighth
    of its size, see :func:`_reduction`.

    Args:
        path: The file.
        size: Height and width of the result, pixels; a network's is ``model.hparams.image_size``.
        resize: What becomes of the picture's aspect: ``squash`` gives it up, ``letterbox`` keeps it between borders of
            the mean colour, ``crop`` cuts off what is too long; a network's is ``model.hparams.resize``.

    Returns:
        ``(size, size, 3)`` uint8, RGB. ``backbone.normalize`` makes float32 of a batch of these.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a picture that is taken; it names the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "green.png")
        ...     Image.new("RGB", (300, 200), (0, 255, 0)).save(path)
        ...     picture = load_picture(path, 96)
        >>> picture.shape, picture[0, 0].tolist()
        ((96, 96, 3), [0, 255, 0])
    """
    return load_framed(path, size, resize)[0]


def load_framed(path: Path | str, size: int, resize: str) -> tuple[np.ndarray, Frame]:
    """Load a picture as :func:`load_picture` does, and tell where in its square it lies."""
    pixels = _decode(Path(path), size, resize)
    frame = frame_of(pixels.shape[:2], size, resize)
    return frame.put(resize_image(pixels, (frame.height, frame.width)), NEUTRAL), frame


def read_image(path: Path) -> np.ndarray:
    """Read a picture as RGB at the size of its file, turned as EXIF says.

    Grey, palettes and CMYK become RGB. Transparency and colour profiles are dropped. Of several pages or frames the
    first is taken, and of 16 bits the upper 8 are kept.

    Args:
        path: The file.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, truncated or no picture, if its samples are signed, fractions or wider than 16
            bits, or if it uses at most the lower 14 of 16 bits, whose upper 8 would show next to nothing.
    """
    return _decode(path, None)


class Header(NamedTuple):
    """What the header of a picture says.

    Attributes:
        size: Height and width of the picture as EXIF turns it, pixels.
        orientation: How EXIF has it turned or mirrored, 1 (as stored) to 8.
    """

    size: tuple[int, int]
    orientation: int


def check_header(path: Path) -> Header:
    """Look at a picture's header and end; kinds other than JPEG and PNG of 8 bits are decoded.

    Damage inside a JPEG that has its end is not found: decoders fill it with grey.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture that :func:`read_image` takes, as far as that shows.
    """
    with _opened(path) as image:
        width, height = image.size
        orientation = _orientation(image)
        is_whole = image.format in _ENDS and _bits(image) == 8 and _ENDS[image.format] in _tail(image)
    if not is_whole:
        height, width = read_image(path).shape[:2]
    elif orientation >= 5:
        height, width = width, height
    return Header((height, width), orientation)


def check_image(path: Path) -> tuple[int, int]:
    """Look at a picture as :func:`check_header` does.

    Returns:
        Height and width of the picture as EXIF turns it, pixels.
    """
    return check_header(path).size


def turned(mask: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a mask of a picture as it is stored, ``(H, W)`` uint8, to the picture as EXIF has it turned or mirrored.

    Example:
        >>> turned(np.array([[1, 2]], np.uint8), 6).tolist(), turned(np.array([[1, 2]], np.uint8), 1).tolist()
        ([[1], [2]], [[1, 2]])
    """
    if orientation not in _TURNS:
        return mask
    return np.array(Image.fromarray(mask).transpose(_TURNS[orientation]))


def read_orientation(path: Path) -> int:
    """Read how EXIF has a picture turned or mirrored, 1 (as stored) to 8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture that :func:`read_image` takes, as far as its header shows.
    """
    with _opened(path) as image:
        return _orientation(image)


def _decode(path: Path, size: int | None, resize: str = "squash") -> np.ndarray:
    """Decode a picture and turn it, ``(H, W, 3)`` uint8; a large JPEG is reduced if only ``size`` is needed."""
    with _opened(path) as image:
        bits, orientation = _bits(image), _orientation(image)
        if size is not None and image.format in ("JPEG", "MPO"):
            reduction = _reduction(*image.size, size, resize)
            image.draft(None, (image.width // reduction, image.height // reduction))
        image.load()
        is_black = False
        # Pillow itself keeps the upper 8 bits of several channels, whose lower 8 are then not known
        if bits > 8 and len(image.getbands()) == 1:
            samples = np.asarray(image)
            is_black = not samples.any()
            picture = Image.fromarray((samples >> (bits - 8)).astype(np.uint8)).convert("RGB")
        else:
            picture = image if image.mode == "RGB" else image.convert("RGB")
        # Pillow turns TIFF itself
        if image.format != "TIFF" and orientation in _TURNS:
            picture = picture.transpose(_TURNS[orientation])
        pixels = np.array(picture)
    if bits == 16 and not is_black and pixels.max() < 64:
        used = 8 + int(pixels.max()).bit_length()
        raise ValueError(
            f"{path}: not a readable picture (no value needs more than the lower {used} of its 16 bits, expected "
            f"values up to 65535, as the upper 8 bits are taken and this would be nearly black: {_REMEDY})"
        )
    return pixels


def _reduction(width: int, height: int, size: int, resize: str = "squash") -> int:
    """Choose by how much a JPEG is reduced while it is decoded, which leaves its high frequencies uncomputed.

    This is faster and changes next to nothing, for the filter that follows still halves what is left, and each
    pixel of it stands for whole pixels of the file.

    Example:
        >>> _reduction(4000, 3000, 224), _reduction(500, 375, 224), _reduction(4001, 3000, 224)
        (4, 1, 1)
        >>> _reduction(4000, 3000, 224, "letterbox")
        8
    """
    # of a picture that keeps its aspect, the side that becomes ``size`` is as fine as the other
    fitted = max(width, height) if resize == "letterbox" else min(width, height)
    fits = [n for n in (8, 4, 2) if width % n == height % n == 0 and fitted >= 2 * n * size]
    return fits[0] if fits else 1


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture and read its header alone; whatever is wrong with it is an error with its name."""
    with open(path, "rb") as file:
        try:
            with Image.open(file, formats=_FORMATS) as image:
                problem = _unfit_samples(image)
                if problem is None:
                    yield image
        except UnidentifiedImageError:
            problem = _unknown_kind(path)
        except DAMAGE as error:
            raise ValueError(f"{path}: not a readable picture ({error})") from error
    if problem:
        raise ValueError(f"{path}: not a readable picture ({problem})")


def _unknown_kind(path: Path) -> str:
    """Say why a file is none of the pictures that are taken."""
    with contextlib.suppress(*DAMAGE), Image.open(path) as image:
        return f"of format {image.format}, expected {', '.join(_FORMATS)}"
    with open(path, "rb") as file:
        is_tiff = file.read(2) in (b"II", b"MM")
    if is_tiff:
        return (
            "a TIFF that is broken or has other samples than 1 to 16 bits without sign, such as fractions: "
            f"{_REMEDY}"
        )
    return f"{os.path.getsize(path)} bytes of no known kind"


def _unfit_samples(image: Image.Image) -> str | None:
    """Say what is wrong with the numbers of a TIFF, if anything is; those of the other kinds are all known."""
    if image.format != "TIFF":
        return None
    bits = _bits(image)
    kind = _tags(image).get(_SAMPLE_FORMAT, (1,))[0]
    if kind != 1 or bits > 16:
        name = {1: "unsigned", 2: "signed", 3: "fractional"}.get(kind, "unknown")
        return (
            f"samples of {bits} bits, {name}, expected unsigned ones of 8 or 16 bits, as nothing says which values "
            f"of these are black and white: {_REMEDY}"
        )
    if bits > 8 and (_tags(image).get(_PLANAR) == 2 or _tags(image).get(_PHOTOMETRIC) == 0):
        return f"16 bits in separate planes or with white as 0, which are not read: {_REMEDY}"
    return None


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF by their numbers."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _bits(image: Image.Image) -> int:
    """Return the bits of a sample in the file; the picture must not be loaded yet."""
    if image.format == "TIFF":
        return max(_tags(image).get(_BITS_PER_SAMPLE, (1,)))
    is_deep = image.format == "PNG" and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return 16 if is_deep else 8


def _orientation(image: Image.Image) -> int:
    """Return EXIF's tag Orientation, 1 to 8; neither XMP nor EXIF behind the pixels of a PNG is read."""
    exif = Image.Exif()
    # a damaged block turns nothing
    with contextlib.suppress(*DAMAGE):
        exif.load(image.info.get("exif", b""))
    value = exif.get(274, 1)
    return value if value in _TURNS else 1


def _tail(image: Image.Image) -> bytes:
    """Read the last 64 bytes of a picture's file; intact files seldom carry more after their end."""
    # Pillow does not say that it has one
    file: BinaryIO = vars(image)["fp"]
    file.seek(max(file.seek(0, os.SEEK_END) - 64, 0))
    return file.read()


def _reason(error: Exception, path: Path) -> str:
    """Say what an error says, without the name of an object in memory."""
    if isinstance(error, UnidentifiedImageError):
        return f"{os.path.getsize(path)} bytes of no known kind"
    return str(error)


def read_mask(path: Path) -> np.ndarray:
    """Read the palette indices or the grey values of a PNG as class indices, ``(H, W)`` uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is unreadable or no PNG, or holds colours and not indices.
    """
    try:
        with Image.open(path) as image:
            # a JPEG's losses would be pixels of any class
            if image.format != "PNG":
                raise ValueError(f"{path}: a mask of format {image.format}, expected PNG")
            step = max((_STEPS.get(str(tile[3]), 1) for tile in getattr(image, "tile", ())), default=1)
            image.load()
            if image.mode not in ("P", "L", "1"):
                raise ValueError(
                    f"{path}: mask of mode {image.mode}, expected class indices (palette or grey PNG)"
                )
            return np.array(image, dtype=np.uint8) // step
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable mask ({_reason(error, path)})") from error
