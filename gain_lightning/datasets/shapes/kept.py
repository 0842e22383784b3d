"""The pictures of shapes are drawn once: large sets are kept in ``~/.cache/gain_lightning/shapes``.

A file holds the pictures of one split. Its name is a digest of what they depend on, the code that draws them included,
so that no file is ever out of date. The folder may be removed at any time.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from gain_lightning.datasets import boxes
from gain_lightning.datasets.boxes import Boxes
from gain_lightning.datasets.shapes import picture
from gain_lightning.datasets.shapes.picture import Picture
from gain_lightning.support.files import written_whole
from gain_lightning.support.home import cache_folder

# Fewer pictures are drawn in less time than a run takes to start.
KEPT_FROM = 200
# All files together hold so much; the pictures of one experiment take an eighth of it.
MOST_BYTES = 2**30


def draw_pictures(
    scene: ModuleType, split: str, indices: Sequence[int], *, seed: int = 0, **options: float | str
) -> list[Picture]:
    """Draw the pictures of a split, or read them where they are kept.

    Args:
        scene: A module with ``draw_picture``.
        split: See ``draw_picture`` of the scene.
        indices: The numbers of the pictures.
        seed: See ``draw_picture``.
        options: Further options of ``draw_picture``, such as ``bias``.

    Example:
        >>> from gain_lightning.datasets.shapes import boat
        >>> [picture.image.shape for picture in draw_pictures(boat, "test", range(2))]
        [(96, 96, 3), (96, 96, 3)]
    """
    file = cache_folder() / "shapes" / f"{_digest(scene, split, indices, seed, options)}.npz"
    is_kept = len(indices) >= KEPT_FROM
    if is_kept and file.is_file():
        # the file may be damaged, which its checksums tell, or just removed by another process; its reader may then
        # raise anything
        with contextlib.suppress(Exception):
            return _read(file)
    pictures = [scene.draw_picture(index, split, seed=seed, **options) for index in indices]
    if is_kept:
        # without a home folder, or on a full disk, the pictures are drawn again next time
        with contextlib.suppress(OSError):
            _write(file, pictures)
            _remove_oldest(file.parent)
    return pictures


def _digest(
    scene: ModuleType, split: str, indices: Sequence[int], seed: int, options: Mapping[str, float | str]
) -> str:
    """Hash all that the pictures depend on; another version of numpy may draw others."""
    # 1 and 1.0 are the same share
    named = sorted(
        (name, value if isinstance(value, str) else float(value)) for name, value in options.items()
    )
    digest = hashlib.sha256(repr((split, list(indices), seed, named, np.__version__)).encode())
    for module in (scene, picture, boxes):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:32]


def _write(file: Path, pictures: list[Picture]) -> None:
    # an opened file, for NumPy adds .npz to a path that ends otherwise
    with written_whole(file) as part, part.open("wb") as opened:
        np.savez(
            opened,
            image=np.stack([picture.image for picture in pictures]),
            label=np.stack([picture.label for picture in pictures]),
            mask=np.stack([picture.mask for picture in pictures]),
            ground=np.array([picture.ground for picture in pictures]),
            group=np.array([picture.group for picture in pictures]),
            num_boxes=np.array([len(picture.boxes.class_idx) for picture in pictures]),
            box_class=np.concatenate([picture.boxes.class_idx for picture in pictures]),
            box_corners=np.concatenate([picture.boxes.corners for picture in pictures]),
        )


def _read(file: Path) -> list[Picture]:
    with np.load(file, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    ends = np.cumsum(arrays["num_boxes"])[:-1]
    found = zip(np.split(arrays["box_class"], ends), np.split(arrays["box_corners"], ends), strict=True)
    pictures = [
        Picture(image, label, mask, Boxes(*boxes), str(ground), int(group))
        for image, label, mask, boxes, ground, group in zip(
            arrays["image"],
            arrays["label"],
            arrays["mask"],
            found,
            arrays["ground"],
            arrays["group"],
            strict=True,
        )
    ]
    # the file is of use; in a folder that may only be read, nobody can say so
    with contextlib.suppress(OSError):
        os.utime(file)
    return pictures


def _remove_oldest(folder: Path) -> None:
    """Remove the files that were of no use for longest, as far as there are too many."""
    files = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > MOST_BYTES:
            file.unlink(missing_ok=True)
