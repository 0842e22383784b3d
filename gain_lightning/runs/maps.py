"""``maps.npz`` of a run: the first test images with their masks and attention maps."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gain_lightning.runs.errors import RunError
from gain_lightning.support.files import written_whole
from gain_lightning.support.masks import index_to_class_mask

NUM_KEPT_MAPS = 32  # test images whose maps are kept; a report shows those that change most


def save_maps(path: Path, kept: list[dict[str, Any]], class_names: list[str]) -> None:
    """Write the first ``NUM_KEPT_MAPS`` of the kept images to one ``.npz``, without half a file ever."""
    offsets = np.cumsum([0, *(len(batch["ids"]) for batch in kept)])
    pair_image = np.concatenate(
        [batch["pair_image"] + offset for batch, offset in zip(kept, offsets, strict=False)]
    )
    first = pair_image < NUM_KEPT_MAPS
    arrays = {
        key: np.concatenate([batch[key] for batch in kept])
        for key in ("image", "mask", "pair_class", "pair_mask", "map", "map_max")
    }
    # an opened file, for NumPy adds .npz to a path that ends otherwise
    with written_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            ids=np.array([image_id for batch in kept for image_id in batch["ids"]][:NUM_KEPT_MAPS]),
            image=arrays["image"][:NUM_KEPT_MAPS],
            mask=arrays["mask"][:NUM_KEPT_MAPS],
            pair_image=pair_image[first],
            pair_class=arrays["pair_class"][first],
            pair_mask=arrays["pair_mask"][first],
            map=arrays["map"][first],
            map_max=arrays["map_max"][first],
            class_names=np.array(class_names),
        )


# What NumPy and zipfile raise on a foreign or broken .npz.
_UNREADABLE = (
    *(OSError, EOFError, KeyError, AttributeError, TypeError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class Maps(NamedTuple):
    """``maps.npz``: the fixed test images and the raw attention maps of their P (image, class) pairs."""

    ids: np.ndarray  # (N,) str
    image: np.ndarray  # (N, H, W, 3) uint8
    mask: np.ndarray  # (N, H, W) uint8, class indices to look at
    pair_image: np.ndarray  # (P,) index of the image
    pair_class: np.ndarray  # (P,) index of the class
    pair_mask: np.ndarray  # (P, H, W) uint8: 1 the class, 0 not the class, 255 unknown
    map: np.ndarray  # (P, H, W)
    class_names: np.ndarray  # (C,) str


def read_maps(path: str) -> Maps | None:
    """Read ``maps.npz``; None if the run kept no maps.

    Raises:
        RunError: If its arrays are unreadable or do not fit together.
    """
    name = os.path.join(path, "maps.npz")
    if not os.path.exists(name):
        return None
    try:
        with open(name, "rb") as file, np.load(file, allow_pickle=False) as arrays:
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
