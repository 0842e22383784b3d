"""Read annotations and look at what came of them."""

from pathlib import Path

import numpy as np

from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.listing import Listing
from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.annotations import Asked

LEFT_OUT, NEGATIVE = Asked(unannotated="leave_out"), Asked(unannotated="negative")


def read(root: Path, asked: Asked = Asked()) -> tuple[Listing | None, Contents]:  # noqa: B008, immutable
    """Read annotations: the one listing of a set without splits, None without a picture; and all that was said."""
    contents = reader_of(root, asked=asked).read(root)
    return contents.listings.get(""), contents


def read_well(root: Path, asked: Asked = Asked()) -> tuple[Listing, Contents]:  # noqa: B008, immutable
    """Read annotations in which nothing is wrong."""
    listing, contents = read(root, asked)
    assert contents.problems == []
    assert listing is not None
    return listing, contents


def mask_of(listing: Listing, class_name: str, row: int = 0) -> np.ndarray:
    """Return the mask of a class of a picture."""
    masks = listing.class_masks(row, tuple(listing.size[row].tolist()))
    assert masks is not None
    return masks.mask[masks.class_idx.tolist().index(listing.class_names.index(class_name))]


def iou(mask: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two masks of 0 and 1."""
    return float((mask & other).sum() / (mask | other).sum())


def assert_says(file: Path, contents: Contents, expected: str) -> None:
    """Find a problem that begins with the file and ``expected``; every problem has one line."""
    told = [str(problem) for problem in contents.problems]
    assert any(text.startswith(f"{file}: {expected}") for text in told), told
    assert not any("\n" in text for text in told)
