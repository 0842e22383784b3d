"""The mask budget of GAIN_ext says which training images carry pixels; it is drawn once and kept in a file.

A mask list has one image a line. Behind a tab stand the classes whose pixels count, ``;`` between them; without
them all classes count. Behind a second tab stands ``select`` where the mask does not guide the training but chooses
its settings::

    2008_000123
    2008_000162<tab>boat;person
    2008_000233<tab><tab>select
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.support.files import read_text
from gain_lightning.support.names import composed, written_as

MaskBudget = int | float | dict[str, int | float] | str
# So many masks choose at least, or half of fewer than twice as many.
LEAST_HELD = 10
# The third field of a line of a mask list, for a mask that chooses.
_SELECT = "select"


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


def hold_out(
    ids: Sequence[str] | np.ndarray, carries_mask: np.ndarray, budget: MaskBudget, share: float, seed: int
) -> np.ndarray:
    """Choose the masked images that settings are chosen with; their masks guide no training.

    A mask list that marks such images decides; otherwise a share of them is drawn, at least :data:`LEAST_HELD`, or half
    of fewer than twice as many. A share of 1 holds all out.

    Args:
        ids: The names of the n training images.
        carries_mask: The images that the budget drew, ``(n,)`` bool.
        budget: The mask budget, see :func:`draw_mask_budget`.
        share: The share of these images that is held out, above 0.
        seed: The seed of the draw.

    Returns:
        The images that are held out, ``(n,)`` bool.

    Raises:
        ValueError: If there are too few masked images.

    Example:
        >>> hold_out(["a", "b", "c"], np.array([True, False, True]), 2, 0.2, 0).sum()
        np.int64(1)
    """
    rows = np.flatnonzero(carries_mask)
    held = np.zeros(len(ids), bool)
    if not len(rows) or (share < 1 and len(rows) < 2):
        raise ValueError(
            f"data.select_on is masked, but data.mask_budget gives {len(rows)} training images with masks: expected at "
            "least 2, of which one guides and one chooses, or 1 where none guides"
        )
    if isinstance(budget, str) and share < 1:
        listed = {composed(line.image_id) for line in _lines(Path(budget)) if line.purpose == _SELECT}
        held[rows] = [composed(str(ids[row])) in listed for row in rows.tolist()]
    if not held.any():
        count = max(round(share * len(rows)), min(LEAST_HELD, len(rows) // 2))
        # The draw differs from that of the budget, whose seed is the same.
        held[np.random.default_rng((seed, 1)).permutation(rows)[:count]] = True
    return held


def mask_list_text(
    ids: Sequence[str] | np.ndarray,
    drawn: np.ndarray,
    has_pixels: np.ndarray,
    class_names: Sequence[str],
    held: np.ndarray | None = None,
) -> str:
    r"""Write a draw as the text of a mask list; it names classes where an image has pixels of more than were drawn.

    Example:
        >>> drawn = np.array([[True, False], [False, True]])
        >>> mask_list_text(["a", "b"], drawn, np.array([[True, False], [True, True]]), ["boat", "cow"])
        'a\nb\tcow\n'
        >>> mask_list_text(["a", "b"], drawn, drawn, ["boat", "cow"], np.array([False, True]))
        'a\nb\t\tselect\n'
    """
    lines = []
    for row in np.flatnonzero(drawn.any(1)).tolist():
        names = ";".join(class_names[class_idx] for class_idx in np.flatnonzero(drawn[row]).tolist())
        fields = [str(ids[row]), names if (drawn[row] != has_pixels[row]).any() else ""]
        fields.append(_SELECT if held is not None and held[row] else "")
        lines.append("\t".join(fields).rstrip("\t"))
    return "".join(f"{line}\n" for line in lines)


class _Line(NamedTuple):
    """A line of a mask list: its number, and its image, classes and purpose, which may be empty."""

    number: int
    image_id: str
    names: str
    purpose: str


def _lines(path: Path) -> Iterator[_Line]:
    """Read the lines of a mask list.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If a line has a purpose that is not known.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"data.mask_budget {path}: no such mask list (expected a file, a count or a fraction)"
        )
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        if text.strip():
            image_id, _, rest = text.partition("\t")
            names, _, purpose = rest.partition("\t")
            if purpose.strip() not in ("", _SELECT):
                raise ValueError(f"{path}:{number}: {image_id}: {purpose!r}, expected {_SELECT} or nothing")
            yield _Line(number, image_id, names.strip(), purpose.strip())


def listed_ids(path: Path) -> list[str]:
    """Return the names of the images of a mask list, as they are written there."""
    return [line.image_id for line in _lines(path)]


def read_mask_list(
    path: Path, ids: Sequence[str] | np.ndarray, has_pixels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Read the draw that a mask list holds; see :func:`draw_mask_budget`."""
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    row_of = {composed(image_id): row for image_id, row in row_of.items()} | row_of
    drawn = np.zeros_like(has_pixels)
    for number, image_id, names, _ in _lines(path):
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
        for name in names.split(";"):
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
