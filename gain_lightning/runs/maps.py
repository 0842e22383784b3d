"""``maps.npz`` of a run: the first test images with their masks and attention maps."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gain_lightning.runs.errors import RunError
from gain_lightning.support.files import written_whole
from gain_lightning.support.masks import index_to_class_mask

MAPS = "maps.npz"
# A report shows those of them that change most.
NUM_KEPT_MAPS = 32

# What NumPy and zipfile raise on a foreign or broken .npz.
_UNREADABLE = (
    *(OSError, EOFError, KeyError, AttributeError, TypeError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class Maps(NamedTuple):
    """Test images and the attention maps of their P (image, class) pairs, as ``maps.npz`` has them."""

    ids: np.ndarray  # (N,) str
    image: np.ndarray  # (N, H, W, 3) uint8
    mask: np.ndarray  # (N, H, W) uint8, class indices to look at
    pair_image: np.ndarray  # (P,) index of the image
    pair_class: np.ndarray  # (P,) index of the class
    pair_mask: np.ndarray  # (P, H, W) uint8: 1 the class, 0 not the class, 255 unknown
    map: np.ndarray  # (P, H, W), scaled
    class_names: np.ndarray  # (C,) str
    map_max: np.ndarray | None = None  # (P,) maximum before scaling; None of runs made before it was kept
    pair_box: np.ndarray | None = (
        None  # (P, H, W) as pair_mask: filled boxes; None where no box judged the maps
    )
    window: np.ndarray | None = (
        None  # (N, 4) xmin, ymin, xmax, ymax: what an image shows of its picture; None without borders
    )


def write_maps(run_dir: Path, batches: Sequence[Maps]) -> None:
    """Write ``maps.npz``: the first :data:`NUM_KEPT_MAPS` images of some batches, with all their pairs."""
    offsets = np.cumsum([0, *(len(batch.ids) for batch in batches)])[:-1]
    pair_image = np.concatenate(
        [batch.pair_image + offset for batch, offset in zip(batches, offsets, strict=True)]
    )
    is_kept = pair_image < NUM_KEPT_MAPS
    # NumPy types its keywords as its own settings
    arrays: dict[str, Any] = {"pair_image": pair_image[is_kept], "class_names": batches[0].class_names}
    framed = [] if batches[0].window is None else ["window"]
    for field in ("ids", "image", "mask", *framed):
        arrays[field] = np.concatenate([getattr(batch, field) for batch in batches])[:NUM_KEPT_MAPS]
    boxed = [] if batches[0].pair_box is None else ["pair_box"]
    for field in ("pair_class", "pair_mask", "map", "map_max", *boxed):
        arrays[field] = np.concatenate([getattr(batch, field) for batch in batches])[is_kept]
    # an opened file, for NumPy adds .npz to a path that ends otherwise
    with written_whole(run_dir / MAPS) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_maps(path: str | Path) -> Maps | None:
    """Read ``maps.npz``; None if the run kept no maps.

    Raises:
        RunError: If its arrays are unreadable or do not fit together.
    """
    name = Path(path, MAPS)
    if not name.exists():
        return None
    try:
        with name.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            fields = {field: arrays[field] for field in Maps._fields if field in arrays}
        num_images, height, width, _ = fields["image"].shape
        pair_image, pair_class = fields["pair_image"], fields["pair_class"]
        if not (
            pair_image.shape == pair_class.shape
            and pair_image.dtype.kind in "iu"
            and pair_class.dtype.kind in "iu"
            and fields["mask"].shape == (num_images, height, width)
            and ((pair_image >= 0) & (pair_image < num_images)).all()
            and ((pair_class >= 0) & (pair_class < len(fields["class_names"]))).all()
        ):
            raise ValueError("its pairs do not fit its images and classes")
        maps = Maps(**{"pair_mask": _pair_masks(fields), **fields})
        fits = (
            maps.image.shape[3] == 3
            and maps.image.dtype == maps.mask.dtype == np.uint8
            and maps.map.shape == maps.pair_mask.shape == (len(maps.pair_image), height, width)
            and maps.ids.shape == (num_images,)
            and (maps.pair_box is None or maps.pair_box.shape == maps.pair_mask.shape)
            and (maps.window is None or maps.window.shape == (num_images, 4))
        )
        if not fits:
            raise ValueError("its arrays do not fit together")
        return maps._replace(map=np.nan_to_num(maps.map.astype(np.float32), posinf=0, neginf=0))
    except _UNREADABLE as error:
        raise RunError(f"{name}: unreadable ({error})") from error


def require_maps(run_dir: Path) -> Maps:
    """The maps of a tested run.

    Raises:
        FileNotFoundError: If there is no such folder.
        RunError: If the run kept no map, or its maps are unreadable.
    """
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir}: no such folder")
    maps = read_maps(str(run_dir))
    if maps is None or not len(maps.pair_image):
        raise RunError(f"{run_dir}: has no maps.npz with maps, expected the folder of a tested run")
    return maps


def _pair_masks(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Each pair's mask, of runs that kept one mask of class indices for all classes of an image."""
    mask = fields["mask"][fields["pair_image"]]
    return index_to_class_mask(mask, fields["pair_class"][:, None, None])
