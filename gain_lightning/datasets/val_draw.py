"""Which pictures are ``val`` where the data do not say it: drawn by class, whole groups together, or as folds.

No library serves here. Those that stratify know one class a picture (scikit-learn's ``StratifiedGroupKFold``) or no
groups (``iterative-stratification``), and a draw has to stay the same with every version of theirs.
"""

import math
from typing import NamedTuple

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.columns import column_problems
from gain_lightning.datasets.contents import Contents, by_split
from gain_lightning.datasets.listing import Listing

DRAWS = ("stratified", "random")


class ValDraw(NamedTuple):
    """How ``val`` is drawn; the fields are settings of :class:`~gain_lightning.datasets.folder.FolderDataModule`.

    Attributes:
        val_fraction: The share of the pictures that becomes ``val``; the others become ``train``.
        val_draw: ``stratified`` by class, or ``random`` as earlier versions drew.
        split_by: A column of the table; pictures of one value stay together. None keeps every picture for itself.
        num_folds: All pictures are dealt into so many folds; None draws ``val_fraction``.
        fold: The fold that is ``val``, from 0 on.

    Raises:
        ValueError: If :meth:`check` finds a setting unfit.
    """

    val_fraction: float = 0.2
    val_draw: str = "stratified"
    split_by: str | None = None
    num_folds: int | None = None
    fold: int | None = None

    def check(self) -> "ValDraw":
        """Refuse settings that are unfit, or do not go together."""
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"data.val_fraction is {self.val_fraction}, expected a share between 0 and 1")
        if self.val_draw not in DRAWS:
            raise ValueError(f"data.val_draw is {self.val_draw!r}, expected {' or '.join(DRAWS)}")
        if self.num_folds is not None and self.num_folds < 2:
            raise ValueError(f"data.num_folds is {self.num_folds}, expected at least 2, or null")
        if (self.num_folds is None) != (self.fold is None):
            raise ValueError(
                f"data.fold is {_written(self.fold)} and data.num_folds {_written(self.num_folds)}, expected both "
                "or none"
            )
        if self.fold is not None and self.num_folds is not None and not 0 <= self.fold < self.num_folds:
            raise ValueError(
                f"data.fold is {self.fold}, expected 0..{self.num_folds - 1}, as data.num_folds is {self.num_folds}"
            )
        if self.val_draw == "random" and (self.split_by, self.num_folds) != (None, None):
            raise ValueError(
                "data.val_draw is random, which knows neither data.split_by nor data.num_folds: expected stratified"
            )
        return self


def _written(number: int | None) -> str:
    return "null" if number is None else str(number)


def with_val(contents: Contents, draw: ValDraw) -> Contents:
    """Draw ``val``, the same pictures for every run; or, where the layout names splits, check them.

    Args:
        contents: The pictures, of the one split ``""`` where the layout names none.
        draw: How it is drawn.

    Returns:
        The contents with ``train`` and ``val``, or with the problems of a draw that is not possible. Where the layout
        names splits they stay, and it is a problem if pictures of one value of ``split_by`` are in two of them.
    """
    if draw.split_by is not None:
        use = "pictures of one value stay in one split"
        if problems := column_problems(contents, "data.split_by", [draw.split_by], use):
            return contents._replace(problems=[*contents.problems, *problems])
    if set(contents.listings) != {""}:
        return contents._replace(problems=[*contents.problems, *_split_problems(contents, draw)])
    listing = contents.listings[""]
    if draw.val_draw == "random":
        return contents._replace(listings=by_split(listing, draw_randomly(len(listing), draw.val_fraction)))
    groups = _values_of(listing, draw.split_by)
    num_groups, least = len(np.unique(groups)), draw.num_folds or 2
    # of a single picture the caller says that val has none
    if num_groups < least and (draw.split_by or draw.num_folds):
        of = f"values of data.split_by {draw.split_by}" if draw.split_by else "pictures"
        what = f"{num_groups} {of} make no {least} parts, expected at least {least}"
        return contents._replace(problems=[*contents.problems, Problem(contents.splits_from, 0, what)])
    if draw.num_folds is None:
        is_val = draw_folds(listing.labels, [1 - draw.val_fraction, draw.val_fraction], groups) == 1
    else:
        is_val = draw_folds(listing.labels, [1 / draw.num_folds] * draw.num_folds, groups) == draw.fold
    return contents._replace(listings=by_split(listing, np.where(is_val, "val", "train")))


def _values_of(listing: Listing, column: str | None) -> np.ndarray:
    """Return what pictures of one group share, ``(n,)``: a value of the column, or nothing."""
    if column is None or listing.attributes is None:
        return np.arange(len(listing))
    return listing.attributes.values[column]


def _split_problems(contents: Contents, draw: ValDraw) -> list[Problem]:
    """Say which settings of the draw the splits of the layout contradict."""
    problems = []
    if draw.num_folds is not None:
        names = ", ".join(contents.listings)
        what = f"data.num_folds is {draw.num_folds}, but the splits {names} are named here: expected none"
        problems.append(Problem(contents.splits_from, 0, what))
    first: dict[str, str] = {}
    for split, listing in contents.listings.items() if draw.split_by else ():
        values, rows = np.unique(_values_of(listing, draw.split_by), return_index=True)
        for value, row in zip(values.tolist(), rows.tolist(), strict=True):
            other = first.setdefault(value, split)
            if other != split:
                line = 0 if listing.attributes is None else int(listing.attributes.lines[row])
                what = f"{draw.split_by} {value!r} is in {other} and in {split}, expected one split: data.split_by"
                problems.append(Problem(contents.splits_from, line, what))
    return problems


def draw_randomly(size: int, fraction: float) -> np.ndarray:
    """Draw which of ``size`` pictures are ``val`` whatever their labels, as runs of earlier versions did.

    Example:
        >>> draw_randomly(4, 0.25).tolist()
        ['train', 'train', 'val', 'train']
    """
    count = min(max(round(fraction * size), 1), size - 1)
    splits = np.full(size, "train")
    splits[np.random.default_rng(0).permutation(size)[:count]] = "val"
    return splits


def draw_folds(labels: np.ndarray, shares: list[float], groups: np.ndarray) -> np.ndarray:
    """Deal pictures into parts that are alike in their classes; pictures of one group stay together.

    Every part wants its share of each class, of the pictures without a class, and of all pictures. The groups come one
    after the other, those of rare classes and of many pictures first. Each goes where it lowers most the sum over
    parts and classes of (wanted - given)^2 / wanted, which is Pearson's chi-square. It begins with rare classes as
    Sechidis et al. do, *On the Stratification of Multi-label Data*, ECML PKDD 2011, who know no groups.

    Args:
        labels: More than 0 where a class is present, ``(n, C)``.
        shares: The share of each of k parts; they sum to 1. A class of one picture goes to the largest.
        groups: What pictures of one group share, ``(n,)``.

    Returns:
        The part of each picture, ``(n,)`` int; no part is empty where there are k groups.

    Example:
        >>> cats_and_a_dog = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [1, 0], [1, 0]])
        >>> draw_folds(cats_and_a_dog, [0.8, 0.2], np.arange(6)).tolist()
        [0, 0, 0, 0, 1, 0]
    """
    has = labels > 0
    traits = np.column_stack([has, ~has.any(1), np.ones(len(has), bool)])  # (n, T)
    numbers, first = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(numbers), traits.shape[1]))
    np.add.at(counts, first.ravel(), traits)
    total = counts.sum(0)
    order = np.random.default_rng(0).permutation(len(numbers))
    # Sums run in one order, or are exact, so that every machine draws the same.
    weight = np.cumsum(counts**2 / np.maximum(total, 1), axis=1)[:, -1]
    order = order[np.argsort(-weight[order], kind="stable")]
    wanted = (np.array(shares)[:, None] * total).tolist()
    whole = (np.array(shares)[:, None] * np.maximum(total, 1)).tolist()
    part, empty = np.zeros(len(numbers), np.int64), set(range(len(shares)))
    for left, group in zip(range(len(order), 0, -1), order.tolist(), strict=True):
        present = counts[group].nonzero()[0].tolist()
        given = list(zip(present, counts[group, present].tolist(), strict=True))
        gains = {
            place: math.fsum((wanted[place][t] - many / 2) * many / whole[place][t] for t, many in given)
            for place in (sorted(empty) if left <= len(empty) else range(len(shares)))
        }
        part[group] = chosen = max(gains, key=gains.__getitem__)
        for t, many in given:
            wanted[chosen][t] -= many
        empty.discard(chosen)
    return part[first.ravel()]
