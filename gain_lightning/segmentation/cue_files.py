"""Read and write localisation cues and activation maps in the formats that others use.

Files are written whole or not at all, and files of others are read without running any code in them.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from gain_lightning.constants import VOID
from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.support.files import read_text, write_atomically, written_whole

SUFFIXES = (".npz", ".pickle")
# Height and width of SEC's cues.
_SIDE = 41
# Rounding may put a map this far outside of [0, 1].
_SLACK = 1e-3


def check_num_classes(what: str, num_classes: int) -> None:
    """Refuse more classes than files of class indices can hold: 0 is the background and 255 is no class.

    Raises:
        ValueError: If there are more; the error says that ``what`` has them.

    Example:
        >>> check_num_classes("runs/birds", 254)
        >>> check_num_classes("runs/birds", 255)
        Traceback (most recent call last):
        ValueError: runs/birds: 255 classes, but cues and masks of class indices hold at most 254
    """
    if num_classes >= VOID:
        raise ValueError(
            f"{what}: {num_classes} classes, but cues and masks of class indices hold at most {VOID - 1}"
        )


def file_name(image_id: str) -> str:
    """Return the name of an image's files, without ending.

    Example:
        >>> file_name("cats/1.jpg"), file_name("2007_000032")
        ('cats/1', '2007_000032')
    """
    path = PurePosixPath(image_id)
    return str(path.with_suffix("")) if path.suffix.lower() in PICTURE_SUFFIXES else image_id


def write_cues(folder: Path, cues: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
    """Write cues as ``cues.npz``, and as SEC's ``localization_cues.pickle`` with its ``input_list.txt``.

    Args:
        folder: The folder of the files.
        cues: Cues ``(h, w)`` uint8 by image name, as :func:`read_cues` gives them.
        labels: 1 where an image has the class, shape ``(N, C)``, in the order of ``cues``.
    """
    # np.savez takes no image called "file", so the archive is written here.
    with (
        written_whole(folder / "cues.npz") as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, cue in cues.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, cue, allow_pickle=False)
    sec: dict[str, np.ndarray] = {}
    for row, cue in enumerate(cues.values()):
        y, x = np.nonzero(cue != VOID)
        sec[f"{row}_labels"] = np.flatnonzero(labels[row]) + 1
        sec[f"{row}_cues"] = np.stack([cue[y, x].astype(np.int64), y, x])
    with written_whole(folder / "localization_cues.pickle") as part:
        # SEC's trainers run on Python 2.
        part.write_bytes(_pickled(sec, protocol=2))
    write_atomically(folder / "input_list.txt", "".join(f"{name} {row}\n" for row, name in enumerate(cues)))


def write_exchanged_maps(path: Path, content: Mapping[str, np.ndarray]) -> None:
    """Write maps so that :func:`read_exchanged_maps` and ``np.load(path, allow_pickle=True).item()`` read them."""
    with written_whole(path) as part, part.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(_pickled(np.array(dict(content), object), protocol=3))


def _pickled(content: Any, protocol: int) -> bytes:
    """Return a pickle that numpy 1 reads too; numpy 2 knows the old place of its functions, numpy 1 only that."""
    return pickle.dumps(content, protocol=protocol).replace(b"cnumpy._core.", b"cnumpy.core.")


def read_cues(path: Path, num_classes: int | None = None) -> dict[str, np.ndarray]:
    """Read cues by image name.

    Args:
        path: An ``.npz`` file that maps image names to ``(h, w)`` integers: 0 background, 1..C classes, 255 no cue. Or
            a ``.pickle`` file, as SEC's authors published theirs: ``<row>_cues`` ``(3, n)`` holds class, y and x on a
            grid of 41 x 41, and the last of two cues at one place counts. Beside it lies ``input_list.txt`` with a
            line ``name row`` for each image.
        num_classes: C; None takes any class.

    Returns:
        Cues ``(h, w)`` uint8 by image name, without ending.

    Raises:
        FileNotFoundError: If there is no such file, or no list beside a pickle.
        ValueError: If there are no cues, if they have several sizes or name an unknown class, or if C exceeds 254.
    """
    check_num_classes(str(path), num_classes or 0)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    cues = _read_pickle(path) if path.suffix == ".pickle" else _read_npz(path)
    if not cues:
        raise ValueError(f"{path}: holds no cues")
    shape = next(iter(cues.values())).shape
    for name, cue in cues.items():
        if cue.ndim != 2 or not np.issubdtype(cue.dtype, np.integer):
            raise ValueError(f"{path}: {name} is {cue.dtype} {cue.shape}, expected cues (h, w) uint8")
        if cue.shape != shape:
            raise ValueError(f"{path}: {name} is {cue.shape}, expected {shape} as the others")
        if cue.min(initial=0) < 0 or cue.max(initial=0) > VOID:
            raise ValueError(f"{path}: {name} has values {cue.min()} to {cue.max()}, expected 0 to {VOID}")
        cues[name] = cue = cue.astype(np.uint8, copy=False)
        highest = int(cue[cue != VOID].max(initial=0))
        if num_classes is not None and highest > num_classes:
            raise ValueError(f"{path}: {name} has a cue of class {highest}, but there are {num_classes}")
    return cues


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    # A foreign file may make its reader raise anything.
    except Exception as error:
        raise ValueError(
            f"{path}: not an .npz archive of plain arrays, image name to cues ({type(error).__name__})"
        ) from error


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    listing = path.with_name("input_list.txt")
    if not listing.is_file():
        raise FileNotFoundError(
            f"{listing}: no such file, expected the images of {path.name}, name and row a line"
        )
    try:
        with path.open("rb") as file:
            # Python 2 wrote these pickles.
            content = _ArraysOnly(file, encoding="latin1").load()
        cues: dict[str, np.ndarray] = {}
        for line in read_text(listing).splitlines():
            if line.strip():
                name, row = line.rsplit(None, 1)
                name = file_name(name.lstrip("/"))
                if name in cues:
                    raise ValueError(f"two images are called {name}")
                cue = np.full((_SIDE, _SIDE), VOID, np.uint8)
                index, y, x = np.asarray(content[f"{row}_cues"])
                if not ((index >= 0) & (index < VOID) & (y >= 0) & (x >= 0)).all():
                    raise ValueError(f"{row}_cues has a class or a place out of range")
                cue[y, x] = index
                cues[name] = cue
        return cues
    # A foreign file may make its reader raise anything.
    except Exception as error:
        raise ValueError(f"{path}: not SEC's cues of {listing} ({type(error).__name__}: {error})") from error


def read_exchanged_maps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read maps in the exchange format of weakly supervised segmentation, without running code that a file may hold.

    Args:
        path: A file ``NAME.npy`` with a pickled dict of ``keys`` (n,), classes from 0, and ``high_res`` (n, H, W) in
            [0, 1]; both are arrays or tensors.

    Returns:
        Classes ``(n,)`` int64, and maps ``(n, H, W)`` float32.

    Raises:
        ValueError: If the file is broken, holds other things, or names any code but that of arrays and tensors.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            shape, _, dtype = (
                np.lib.format.read_array_header_1_0(file)
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0(file)
            )
            if shape != () or dtype != np.dtype(object):
                raise ValueError(f"holds an array {dtype} {shape}")
            content = _ArraysOnly(file).load()
        content = content.item() if isinstance(content, np.ndarray) else content
        keys, maps = (np.asarray(content[key]) for key in ("keys", "high_res"))
        if maps.ndim != 3 or keys.shape != maps.shape[:1] or (keys < 0).any():
            raise ValueError(f"keys {keys.shape} and high_res {maps.shape} do not fit together")
        maps = maps.astype(np.float32)
        if not np.isfinite(maps).all():
            raise ValueError(f"high_res has {(~np.isfinite(maps)).sum()} values that are not finite")
        lowest, highest = maps.min(initial=0), maps.max(initial=0)
        if lowest < -_SLACK or highest > 1 + _SLACK:
            raise ValueError(
                f"high_res goes from {lowest:g} to {highest:g}, expected 0 to 1: each divided by its maximum"
            )
        if (keys != keys.astype(np.int64)).any():
            raise ValueError(f"keys are {keys.tolist()}, expected whole numbers")
        return keys.astype(np.int64), maps
    # A foreign file may make its reader raise anything.
    except Exception as error:
        raise ValueError(
            f"{path}: expected a dict with keys (n,) and high_res (n, H, W) ({error})"
        ) from error


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that makes arrays and tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the few functions that such files need, and refuse all others."""
        numpys = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric")
        if module in numpys and name in ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer"):
            return super().find_class(module, name)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return torch._utils._rebuild_tensor_v2
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda data: torch.load(io.BytesIO(data), weights_only=True)
        # Python 3 writes bytes for Python 2 by `encode`, and empty bytes by `bytes`.
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode("latin1")
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):
            return lambda: b""
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise ValueError(f"names {module}.{name}, which is neither array nor tensor")
