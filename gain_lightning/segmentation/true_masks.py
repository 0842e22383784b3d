"""The masks that seeds are scored against: a folder of PNG files, or the annotations of another tool."""

from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from gain_lightning.constants import VOID
from gain_lightning.datasets.check import stop_at
from gain_lightning.datasets.images import read_mask
from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.annotations import Asked, formats_of


class TrueMasks(Protocol):
    """Masks by the names of their images, which are paths without suffix."""

    @property
    def class_names(self) -> list[str] | None:
        """The names of classes 1, 2, ...; None where nothing names them."""

    def find(self, name: str, num_classes: int) -> np.ndarray | Path:
        """Return a mask, ``(H, W)`` uint8: 0 background, 1..C class, 255 unknown; or where there is none."""


def open_masks(masks: Path, names: list[str] | None, images: Path | None = None) -> TrueMasks:
    """Open the masks of a folder of PNG files, or of annotations.

    Args:
        masks: The folder, or a file or folder of annotations.
        names: The names of classes 1, 2, ... of the seeds; None takes the masks' own.
        images: The folder of the pictures that annotations name.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If something is wrong with the annotations, or they have a class that is not among ``names``.
    """
    if formats_of(masks):
        return _Annotations(masks, names, images)
    if not masks.is_dir():
        raise FileNotFoundError(f"--masks {masks}: no such folder, expected masks NAME.png, or annotations")
    return _Folder(masks)


class _Folder:
    class_names = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str, num_classes: int) -> np.ndarray | Path:
        path = self.folder / f"{name}.png"
        return read_indices(path, num_classes) if path.is_file() else path


class _Annotations:
    def __init__(self, root: Path, names: list[str] | None, images: Path | None) -> None:
        # a picture that nobody looked at has no mask, and neither has a negative that nothing is drawn on
        asked = Asked(images, "leave_out")
        contents = reader_of(root, asked=asked).read(root)
        stop_at(contents.problems, root)
        self.listings = list(contents.listings.values())
        own = list(self.listings[0].class_names) if self.listings else []
        self.class_names = own if names is None else names
        if unknown := [name for name in own if name not in self.class_names]:
            raise ValueError(f"{root}: class {unknown[0]!r}, expected one of {', '.join(self.class_names)}")
        # background and void keep their indices
        self.index = np.full(VOID + 1, VOID, np.uint8)
        self.index[0] = 0
        for place, name in enumerate(own[: VOID - 1], start=1):
            self.index[place] = self.class_names.index(name) + 1
        self.root = root
        self.rows = {
            str(PurePosixPath(name).with_suffix("")): (number, row)
            for number, listing in enumerate(self.listings)
            for row, name in enumerate(listing.ids.tolist())
        }

    def find(self, name: str, num_classes: int) -> np.ndarray | Path:
        number, row = self.rows.get(name, (0, -1))
        mask = None
        if row >= 0:
            mask = self.listings[number].mask(row, tuple(self.listings[number].size[row].tolist()))
        return self.root / name if mask is None else self.index[mask]


def read_indices(path: Path, num_classes: int) -> np.ndarray:
    """Read a mask, ``(H, W)`` uint8, and refuse a class index that no class has."""
    mask = read_mask(path)
    highest = int(mask[mask != VOID].max(initial=0))
    if highest > num_classes:
        raise ValueError(f"{path}: shows class {highest}, but there are {num_classes}")
    return mask
