"""Saliency maps of images, one file each, as saliency networks and detectors leave them in a folder."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gain_lightning.support.walk import files_below

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SUFFIXES = (*_PICTURES, ".npy")
# The values that stand for the most salient pixel: of shares, of 8 and of 16 bits.
_TOPS = (1.0, 255.0, 65535.0)
# Rounding may put a value this far outside of its range.
_SLACK = 1e-3
# The channels of a grey JPEG in colours differ by no more than this.
_GREY = 8
# A map lies on its side if its sides are those of its image exchanged, to within this factor.
_TURNED = 1.05


class SaliencyMaps:
    """A folder of saliency maps of images.

    A map is called like its image, up to an ending that all maps share (``NAME.png``, ``NAME_sal.jpg``,
    ``NAME.jpg.png``), and has any size. Its values go from 0 to 1, to 255 or to 65535: the highest value of all maps of
    one type says which.

    Args:
        folder: The folder.
        names: The images, without ending; those in folders have their maps in folders.

    Raises:
        FileNotFoundError: If there is no folder, or an image has no map.
        ValueError: If an image has two maps, or a map is unfit.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.paths = _find(folder, names)

    @cached_property
    def sha256(self) -> str:
        """The hash of all maps' files, in the order of the images."""
        digest = hashlib.sha256()
        for path in self.paths.values():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @cached_property
    def tops(self) -> dict[np.dtype, float]:
        """The value of the most salient pixel, by the type of the values."""
        highest: dict[np.dtype, float] = {}
        for path in self.paths.values():
            values = _read(path)
            highest[values.dtype] = max(highest.get(values.dtype, 0), float(values.max()))
        return {
            kind: next((top for top in _TOPS if value <= top + _SLACK), value)
            for kind, value in highest.items()
        }

    def read(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """Read the map of an image, at its own size.

        Args:
            name: The image.
            size: The image's height and width, by which a map that lies on its side is told.

        Returns:
            Saliency in [0, 1], ``(h, w)`` float32.

        Raises:
            ValueError: If the map lies on its side.
        """
        values = _read(self.paths[name])
        (height, width), stretch = values.shape, size[0] / size[1]
        is_turned = 1 / _TURNED < stretch * height / width < _TURNED
        if is_turned and not 1 / _TURNED < stretch < _TURNED:
            raise ValueError(
                f"{self.paths[name]}: a map of {height} x {width} pixels (height x width), but its image has "
                f"{size[0]} x {size[1]}: expected one that is not on its side"
            )
        return np.clip(values.astype(np.float32) / self.tops[values.dtype], 0, 1)


def _find(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the path of every image's map; a folder that lacks one is refused."""
    if not folder.is_dir():
        raise FileNotFoundError(f"--saliency {folder}: no such folder, expected saliency maps of the images")
    found: dict[str, list[Path]] = {}
    for path in files_below(folder):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(str(path.relative_to(folder).with_suffix("")), []).append(path)
    ending = _shared_ending(found, names)
    missing = [name for name in names if f"{name}{ending}" not in found]
    if missing:
        raise FileNotFoundError(
            f"--saliency {folder}: {len(missing)} of {len(names)} images have no saliency map, the first "
            f"{missing[0]}: expected {missing[0]}{ending}.png, or another of {', '.join(SUFFIXES)}"
        )
    paths = {name: found[f"{name}{ending}"] for name in names}
    if double := [name for name in names if len(paths[name]) > 1]:
        listed = " and ".join(path.name for path in paths[double[0]])
        raise ValueError(
            f"--saliency {folder}: {len(double)} of {len(names)} images have several maps, the first "
            f"{double[0]} ({listed}): expected one for each image"
        )
    return {name: of_name[0] for name, of_name in paths.items()}


def _shared_ending(stems: Iterable[str], names: Sequence[str]) -> str:
    """Return what most files are called beyond the name of their image.

    Example:
        >>> _shared_ending(["1_sal", "10_sal", "x"], ["1", "10"])
        '_sal'
    """
    images: set[str] = set(names)
    endings: Counter[str] = Counter()
    for stem in stems:
        length = next((length for length in range(len(stem), 0, -1) if stem[:length] in images), None)
        if length is not None:
            endings[stem[length:]] += 1
    return max(endings, key=lambda ending: (endings[ending], ending == ""), default="")


def _read(path: Path) -> np.ndarray:
    """Read the values of a map as they are stored, ``(h, w)``.

    Raises:
        ValueError: If the file is unreadable, in colours or not finite, or has negative values.
    """
    # A foreign file may make its reader raise anything.
    try:
        values = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else _read_picture(path)
    except Exception as error:
        raise ValueError(f"{path}: not a readable saliency map ({error})") from error
    values = values.squeeze() if values.ndim > 2 else values
    if values.ndim != 2 or not values.size or values.dtype.kind not in "buif":
        raise ValueError(f"{path}: {values.dtype} {values.shape}, expected a saliency map (h, w) of numbers")
    # Booleans are shares, and negative or other numbers are no saliency.
    values = values.astype(np.float32) if values.dtype.kind == "b" else values
    if not np.isfinite(values).all() or values.min() < -_SLACK:
        raise ValueError(f"{path}: has values that are negative or not finite, expected saliency from 0 on")
    return values


def _read_picture(path: Path) -> np.ndarray:
    """Read a grey picture of any depth as it is meant to be seen."""
    with Image.open(path) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
    if image.mode in ("L", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    colours = np.asarray(image.convert("RGB"))
    if int((colours.max(2) - colours.min(2)).max()) > _GREY:
        raise ValueError("it is in colours, expected grey values")
    return colours[:, :, 0]
