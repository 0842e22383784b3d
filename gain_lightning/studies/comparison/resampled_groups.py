"""The paired bootstrap of the scores of groups: images are drawn within their groups, whose sizes are part of a set.

Drawn over the whole set, a small group would now and then be nearly empty, and its accuracy would be that of a few.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from gain_lightning.runs.images import ImageTable
from gain_lightning.scores import FEWEST_IMAGES, OF_GROUP
from gain_lightning.studies.comparison.bootstrap import (
    RESAMPLES,
    DecisionRule,
    absolute_error,
    draws,
    is_correct,
)


def group_sizes(table: ImageTable) -> dict[str, int]:
    """Return the images of each group by its name; nothing without groups."""
    if table.groups is None:
        return {}
    names, counts = np.unique(table.groups[table.groups != ""], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def resampled_groups(
    tables: Sequence[ImageTable],
    rule: DecisionRule,
    num_train: Mapping[str, float],
    resamples: int = RESAMPLES,
) -> list[dict[str, np.ndarray]]:
    """Return every run's scores of groups on the whole set and on resamples within its groups.

    Args:
        tables: The main test set of each run, with equal images in equal groups.
        rule: It says which decisions are right; amounts are judged by their error.
        num_train: The training images of each group by its name; without one the average over them is left out.
        resamples: R, how many times the images of a group are drawn.

    Returns:
        The scores of each run, ``(1 + R,)``: the score itself, then those of the resamples. The keys are those of
        :mod:`gain_lightning.methods.group_scores`, such as ``test/worst_group`` and ``test/group/<name>``.
    """
    sizes = group_sizes(tables[0])
    is_error = not np.isnan(tables[0].amount).all()
    judged = [absolute_error(table, rule) if is_error else is_correct(table, rule) for table in tables]
    values = np.zeros((len(tables), len(sizes), 1 + resamples))
    for place, (name, size) in enumerate(sizes.items()):
        rows = np.flatnonzero(tables[0].groups == name)
        parts = [
            [weight @ of_image[rows] / size for of_image in judged]
            for weight in draws(size, resamples, seed=place)
        ]
        values[:, place] = np.concatenate(parts, axis=1)
    return [_scores(value, sizes, num_train, is_error=is_error) for value in values]


def _scores(
    value: np.ndarray, sizes: Mapping[str, int], num_train: Mapping[str, float], *, is_error: bool
) -> dict[str, np.ndarray]:
    """Return the scores of the groups' values ``(G, 1 + R)``."""
    count = np.array(list(sizes.values()))
    scores = {"group_mean": value.mean(0), "test_average": count @ value / count.sum()}
    large = value[count >= FEWEST_IMAGES]
    if len(large):
        scores["worst_group"] = large.max(0) if is_error else large.min(0)
    trained = {name: number for name, number in num_train.items() if number > 0}
    if trained and trained.keys() <= sizes.keys():
        share = np.array([trained.get(name, 0) for name in sizes])
        scores["train_weighted_average"] = share @ value / share.sum()
    scores |= {f"{OF_GROUP}{name}": of_group for name, of_group in zip(sizes, value, strict=True)}
    return {f"test/{key}{'_mae' if is_error else ''}": score for key, score in scores.items()}
