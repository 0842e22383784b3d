"""Pictures of two splits that are nearly the same are found by what they show; turned and mirrored copies too.

Such a picture is learnt in one split and scored in the other, so that the score is too good.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from gain_lightning.datasets.check import NUM_SHOWN
from gain_lightning.datasets.images import load_picture
from gain_lightning.datasets.listing import Listing
from gain_lightning.support.files import csv_text, write_atomically
from gain_lightning.support.threads import num_cores

# A hash has the signs of 16 x 16 frequencies. Of 600 photographs of VOC no two, however turned, are nearer than 84 of
# 256 bits, and of 4013 none of val is within 48 of one of train_aug. Copies at another size or as JPEG of quality 30,
# brighter by 40 % or grey are within 32, and within 44 if 2 % are cut off on every side.
_HASH_SIDE = 16
NEAR = 48
# Pillow's hash looks at so many pixels.
_SIDE = 4 * _HASH_SIDE
# By four times mirrored plus quarter turns to the left.
TURNS = (
    *("", "turned left", "upside down", "turned right"),
    *("mirrored", "mirrored and turned left", "mirrored and upside down", "mirrored and turned right"),
)
# So many distances are in memory at once.
_AT_ONCE = 8_000_000


class Copy(NamedTuple):
    """A picture of a split that, ``turn``-ed, is nearly one of another split; ``bits`` of 256 differ."""

    split: str
    id: str
    other_split: str
    other_id: str
    turn: str
    bits: int

    def __str__(self) -> str:
        turned = f", {self.turn}," if self.turn else ""
        return f"{self.id} of {self.split}{turned} is nearly {self.other_id} of {self.other_split}"


def find_copies(listings: dict[str, Listing]) -> list[Copy]:
    """Find the pictures that are nearly the same as one of another split.

    Args:
        listings: The pictures of each split by its name.

    Returns:
        For every two splits, each picture of the smaller one that has a copy in the larger one, with the nearest. A
        picture that cannot be read has none.
    """
    splits = sorted((name for name in listings if len(listings[name])), key=lambda name: len(listings[name]))
    if len(splits) < 2:
        return []
    hashes = {}
    total = sum(len(listings[name]) for name in splits)
    with tqdm(total=total, desc="near-equal pictures", leave=False, disable=None) as progress:
        for name in splits:
            # the pictures of the largest split need no turns: those of the others are turned
            num_turns = 1 if name == splits[-1] else len(TURNS)
            hashes[name] = _hash_all(listings[name], num_turns, progress)
    # train and train_aug of VOC are two lists to train on, one of which holds the other
    pairs = [pair for pair in combinations(splits, 2) if not all(name.startswith("train") for name in pair)]
    return [
        Copy(small, str(listings[small].ids[row]), large, str(listings[large].ids[other]), TURNS[turn], bits)
        for small, large in pairs
        for row, turn, other, bits in _near(hashes[small], hashes[large][:, 0])
    ]


def _hash_all(listing: Listing, num_turns: int, progress: tqdm) -> np.ndarray:
    """Hash every picture and its turns, ``(n, turns, 256)`` int8: 1 and -1, or 0 of what cannot be read."""

    def hash_one(row: int) -> np.ndarray:
        try:
            found = turned_hashes(load_picture(listing.image_path(row), _SIDE), num_turns)
        except (OSError, ValueError):
            # gain data check names it
            found = np.zeros((num_turns, _HASH_SIDE**2), np.int8)
        progress.update()
        return found

    with ThreadPoolExecutor(num_cores()) as threads:
        return np.stack(list(threads.map(hash_one, range(len(listing)))))


def turned_hashes(picture: np.ndarray, num_turns: int = len(TURNS)) -> np.ndarray:
    """Return the perceptual hash of a picture and of its turns, as signs.

    It is ``imagehash.phash``: the signs of the lowest frequencies of a cosine transform against their median.

    Args:
        picture: The picture, ``(H, W, 3)`` uint8.
        num_turns: The first so many of ``TURNS``.

    Returns:
        1 and -1, ``(turns, 256)`` int8.
    """
    # it imports scipy and PyWavelets, for gain data check alone
    import imagehash

    small = np.asarray(
        Image.fromarray(picture).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    )
    found = []
    for turn in range(num_turns):
        mirrored, quarters = divmod(turn, 4)
        turned = np.ascontiguousarray(np.rot90(small[:, ::-1] if mirrored else small, quarters))
        found.append(imagehash.phash(Image.fromarray(turned), hash_size=_HASH_SIDE).hash.ravel())
    return np.where(found, 1, -1).astype(np.int8)


def _near(turned: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield every row that has a near one among the others: itself, its turn, the nearest other, and their bits."""
    known = others.astype(np.float32)
    step = max(1, _AT_ONCE // (len(others) * turned.shape[1]))
    for first in range(0, len(turned), step):
        # the product of signs counts equal bits less unequal ones; a row of 0 is 128 bits from everything
        product = turned[first : first + step].astype(np.float32) @ known.T  # (r, turns, m)
        nearest = product.reshape(len(product), -1).argmax(1)
        for row, place in enumerate(nearest.tolist()):
            turn, other = divmod(place, len(others))
            bits = int(_HASH_SIDE**2 - product[row, turn, other]) // 2
            if bits <= NEAR:
                yield first + row, turn, other, bits


def copy_lines(copies: list[Copy]) -> list[str]:
    """Say in words which pictures of a split are nearly those of another, the first of them by name."""
    lines = []
    for (small, large), group in groupby(copies, key=lambda copy: (copy.split, copy.other_split)):
        found = list(group)
        what = "picture is nearly one" if len(found) == 1 else "pictures are nearly those"
        lines.append(f"{len(found)} {small} {what} of {large}, so that scores of one of them are too good:")
        lines += [f"  {copy}" for copy in found[:NUM_SHOWN]]
        lines += [f"  and {len(found) - NUM_SHOWN} more; --copies FILE lists them all"] * (
            len(found) > NUM_SHOWN
        )
    return lines


def write_copies(path: Path, copies: list[Copy]) -> None:
    """Write a table of copies, CSV."""
    write_atomically(path, csv_text(Copy._fields, copies))
