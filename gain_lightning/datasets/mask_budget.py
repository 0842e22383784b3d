"""The mask budget of GAIN_ext says which training images carry pixels; it is drawn once and kept in a file.

A mask list has one image a line. Behind a tab stand the classes whose pixels count, ``;`` between them; without
them all classes count::

    2008_000123
    2008_000162<tab>boat;person
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gain_lightning.support.files import read_text
from gain_lightning.support.names import composed, written_as

MaskBudget = int | float | dict[str, int | float] | str


def draw_mask_budget(
    ids: Sequence[str] | np.ndarray,
    has_pixels: np.ndarray,
    budget: MaskBudget,
    seed: int,
    class_names: Sequence[str],
) -> np.ndarray:
    """Draw which images carry pixel labels, and of which classes.

    A larger budget with the same seed contains the smaller one, so that budgets can be compared.

    Args:
        ids: The names of the n training images.
        has_pixels: The classes whose pixels are known, ``(n, C)`` bool.
        budget: A count of images (int); or a fraction of the images with pixels (float in [0, 1], rounded up); or
            either of them for classes by name, as in the paper's Table 4, where only the drawn class's pixels
            count; or the path of a mask list.
        seed: The seed of the draw.
        class_names: The names of the C classes.

    Returns:
        The classes whose pixels count, ``(n, C)`` bool; a row without any is an image that carries no mask.

    Raises:
        ValueError: If a budget is negative, is a fraction above 1, asks for more images than there are, or names
            an unknown class; or if a list names an image or a class without pixels.
        FileNotFoundError: If there is no such list.

    Example:
        >>> has_pixels = np.array([[True, False], [True, True], [False, True], [False, False]])
        >>> draw_mask_budget(["a", "b", "c", "d"], has_pixels, {"cow": 1}, 0, ["boat", "cow"]).tolist()
        [[False, False], [False, True], [False, False], [False, False]]
    """
    if isinstance(budget, str):
        return read_mask_list(Path(budget), ids, has_pixels, class_names)
    drawn = np.zeros_like(has_pixels)
    if isinstance(budget, Mapping):
        for name, amount in budget.items():
            name = written_as(name, class_names)
            if name not in class_names:
                raise ValueError(
                    f"mask_budget names {name!r}, expected classes among {', '.join(class_names)}"
                )
            class_idx = list(class_names).index(name)
            rows = _draw(np.flatnonzero(has_pixels[:, class_idx]), amount, seed, f" with pixels of {name}")
            drawn[rows, class_idx] = True
        return drawn
    rows = _draw(np.flatnonzero(has_pixels.any(1)), budget, seed, " that have pixels")
    drawn[rows] = has_pixels[rows]
    return drawn


def _draw(rows: np.ndarray, amount: int | float, seed: int, which: str) -> np.ndarray:
    if isinstance(amount, float) and not 0 <= amount <= 1:
        raise ValueError(f"mask_budget is {amount}, expected a count (int) or a fraction between 0 and 1")
    if amount < 0:
        raise ValueError(f"mask_budget is {amount}, expected a count from 0 on or a fraction")
    count = math.ceil(round(amount * len(rows), 9)) if isinstance(amount, float) else amount
    if count > len(rows):
        raise ValueError(
            f"mask_budget asks for {count} images, but there are {len(rows)} training images{which}"
        )
    return rows[np.random.default_rng(seed).permutation(len(rows))[:count]]


def mask_list_text(
    ids: Sequence[str] | np.ndarray, drawn: np.ndarray, has_pixels: np.ndarray, class_names: Sequence[str]
) -> str:
    r"""Write a draw as the text of a mask list; it names classes where an image has pixels of more than were drawn.

    Example:
        >>> drawn = np.array([[True, False], [False, True]])
        >>> mask_list_text(["a", "b"], drawn, np.array([[True, False], [True, True]]), ["boat", "cow"])
        'a\nb\tcow\n'
    """
    lines = []
    for row in np.flatnonzero(drawn.any(1)).tolist():
        names = ";".join(class_names[class_idx] for class_idx in np.flatnonzero(drawn[row]).tolist())
        lines.append(f"{ids[row]}\t{names}" if (drawn[row] != has_pixels[row]).any() else str(ids[row]))
    return "".join(f"{line}\n" for line in lines)


def read_mask_list(
    path: Path, ids: Sequence[str] | np.ndarray, has_pixels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Read the draw that a mask list holds; see :func:`draw_mask_budget`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"data.mask_budget {path}: no such mask list (expected a file, a count or a fraction)"
        )
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    row_of = {composed(image_id): row for image_id, row in row_of.items()} | row_of
    drawn = np.zeros_like(has_pixels)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        image_id, _, names = line.partition("\t")
        where = f"{path}:{number}: {image_id}"
        row = row_of.get(image_id, row_of.get(composed(image_id)))
        if row is None:
            raise ValueError(f"{where} is no training image of this data set")
        if drawn[row].any():
            raise ValueError(f"{where} is listed twice")
        if not has_pixels[row].any():
            raise ValueError(f"{where} has no mask or box of its classes")
        if not names:
            drawn[row] = has_pixels[row]
            continue
        for name in names.strip().split(";"):
            name = written_as(name, class_names)
            if name not in class_names:
                raise ValueError(f"{where}: unknown class {name!r}, expected one of {', '.join(class_names)}")
            class_idx = list(class_names).index(name)
            if not has_pixels[row, class_idx]:
                raise ValueError(f"{where} has no pixels of {name}")
            drawn[row, class_idx] = True
    if not drawn.any():
        raise ValueError(f"{path}: names no image")
    return drawn
