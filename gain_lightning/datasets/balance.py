"""Lists of training pictures that are drawn equally often, so that classes or groups weigh alike in a training.

This is the "balanced resampling" of comparisons of group robustness (Idrissi et al., *Simple data balancing*, CLeaR
2022). A picture of a rare class or group comes more often, and one of a frequent class or group less often; the
training takes as many steps as without.
"""

from collections.abc import Sequence

import numpy as np

from gain_lightning.datasets.sample import PictureSet

BALANCES = ("class", "group")


def balanced_lists(balance_by: str, images: PictureSet, group_names: Sequence[str]) -> list[np.ndarray]:
    """List the rows of a training set by class or group.

    A picture of several classes stands in the list of each, as in class-aware sampling (Shen et al., ECCV 2016), so a
    frequent class that comes together with rare ones still comes more often than they. Pictures without any class
    make a list of their own; a class that no picture shows makes none.

    Args:
        balance_by: ``class`` or ``group``.
        images: The training set.
        group_names: The names of all groups of the data.

    Returns:
        Rows, each list ``(m,)``.

    Raises:
        ValueError: If groups are asked for that the training set lacks, see :func:`groups_of`.
    """
    if balance_by == "group":
        groups = groups_of(images, group_names, "data.balance_by group")
        return [np.flatnonzero(groups == number) for number in range(len(group_names))]
    is_shown = np.asarray(images.labels) > 0
    columns = [*is_shown.T, ~is_shown.any(1)]
    return [np.flatnonzero(column) for column in columns if column.any()]


def groups_of(
    images: PictureSet, group_names: Sequence[str], what: str, *, of: str = "training"
) -> np.ndarray:
    """Return the group of every picture of a set, for a method that needs pictures of each group.

    Args:
        images: The set.
        group_names: The names of all groups of the data.
        what: What needs them, for the error.
        of: The purpose of the set, for the error.

    Returns:
        The number of each picture's group, ``(n,)``.

    Raises:
        ValueError: If the data have no groups, a picture has none, or a group has no picture.
    """
    groups = images.groups
    if not group_names or groups is None:
        raise ValueError(
            f"{what} needs groups, but the data have none: expected a column group in labels.csv, or data.group_by"
        )
    unknown = np.flatnonzero(groups < 0)
    if len(unknown):
        raise ValueError(
            f"{what} needs the group of every {of} image, but {len(unknown)} have none, the first "
            f"{images.ids[unknown[0]]}"
        )
    counts = np.bincount(groups, minlength=len(group_names))
    if missing := [name for name, count in zip(group_names, counts, strict=True) if not count]:
        raise ValueError(
            f"{what} needs {of} images of every group, but there are none of {', '.join(missing)}: expected some, "
            "or a method that needs none, such as GAIN_ext"
        )
    return groups
