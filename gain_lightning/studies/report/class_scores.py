"""The scores of every class, a column for each method: they show at which classes a method is better."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gain_lightning.runs.classes import read_classes
from gain_lightning.scores import SCORES
from gain_lightning.studies.comparison.groups import Group


class ClassScores(NamedTuple):
    """The name of the score that is shown, and a row for every class that has it.

    A row has the class's name and a cell for every method: the score in percent, or – where there is none, and
    whether it is the best of its row.
    """

    what: str
    rows: list[tuple[str, list[tuple[str, bool]]]]


def class_scores(groups: Sequence[Group]) -> ClassScores | None:
    """Return means over every method's runs; None where the runs have no score in common.

    Raises:
        RunError: If a ``per_class.csv`` is malformed.
    """
    tables = [[read_classes(run.path) for run in group.runs] for group in groups]
    shown = {score.column or score.key: score.by_class for score in reversed(SCORES) if score.by_class}
    column = next((key for key in shown if all(key in table for runs in tables for table in runs)), None)
    if column is None:
        return None
    names = dict.fromkeys(name for runs in tables for table in runs for name in table[column])
    rows = []
    for name in names:
        means = [_mean([table[column][name] for table in runs if name in table[column]]) for runs in tables]
        texts = ["–" if mean is None else f"{100 * mean:.1f}" for mean in means]
        best = max(mean for mean in means if mean is not None)
        is_best = [len(groups) > 1 and best > 0 and text == f"{100 * best:.1f}" for text in texts]
        rows.append((name, list(zip(texts, is_best, strict=True))))
    return ClassScores(shown[column], rows)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
