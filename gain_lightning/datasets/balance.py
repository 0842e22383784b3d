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
        group_names: The names of all groups that a training is told of; groups of one name are one.

    Returns:
        Rows, each list ``(m,)``.

    Raises:
        ValueError: If groups are asked for that the training set lacks, see :func:`groups_of`.
    """
    if balance_by == "group":
        groups = groups_of(images, group_names, "data.balance_by group")
        return [np.flatnonzero(groups == number) for number in range(groups.max() + 1)]
    is_shown = np.asarray(images.labels) > 0
    columns = [*is_shown.T, ~is_shown.any(1)]
    return [np.flatnonzero(column) for column in columns if column.any()]


def merge_groups(group_names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Merge groups of one name, as a method sees them that is told of one of two shortcuts.

    Args:
        group_names: The name that is told of each group, such as ``told_groups`` of a data module, G of them.

    Returns:
        The distinct names in their order, and the number of each group's name among them, ``(G,)``.

    Example:
        >>> names, number = merge_groups(["boat+water", "boat+water", "boat+road"])
        >>> names, number.tolist()
        (['boat+water', 'boat+road'], [0, 0, 1])
    """
    names = list(dict.fromkeys(group_names))
    return names, np.array([names.index(name) for name in group_names], np.int64)


def groups_of(
    images: PictureSet, group_names: Sequence[str], what: str, *, of: str = "training"
) -> np.ndarray:
    """Return the group of every picture of a set, for a method that needs pictures of each group.

    Args:
        images: The set.
        group_names: The name that the method is told of each group, see :func:`merge_groups`.
        what: What needs them, for the error.
        of: The purpose of the set, for the error.

    Returns:
        The number of each picture's group among the distinct names, ``(n,)``.

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
    names, number = merge_groups(group_names)
    groups = number[groups]
    counts = np.bincount(groups, minlength=len(names))
    if missing := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise ValueError(
            f"{what} needs {of} images of every group, but there are none of {', '.join(missing)}: expected some, "
            "or a method that needs none, such as GAIN_ext"
        )
    return groups
