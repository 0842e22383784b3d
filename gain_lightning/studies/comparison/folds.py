"""Runs of a k-fold study: every run is scored on one fold of the pictures, and its method on all folds."""

from collections.abc import Sequence

import numpy as np

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import Run
from gain_lightning.studies.comparison.groups import Group, method_title

FOLD, NUM_FOLDS = "fold", "num_folds"


def fold_of(run: Run) -> int | None:
    """Return the fold that a run is scored on; None where nothing was dealt into folds."""
    fold = _setting(run, FOLD)
    return fold if isinstance(fold, int) else None


def num_folds(runs: Sequence[Run]) -> int | None:
    """Return into how many folds the pictures were dealt, where runs are scored on several of them."""
    several = len({fold_of(run) for run in runs}) > 1
    number = _setting(runs[0], NUM_FOLDS)
    return number if several and isinstance(number, int) else None


def _setting(run: Run, name: str) -> object:
    # those of SEC belong to its images
    return run.config.get(f"data.{name}", run.config.get(f"data.images.{name}"))


def check_folds(groups: Sequence[Group], allow: Sequence[str], by: str | None) -> list[str]:
    """Refuse groups that are scored on different folds, which are different pictures.

    Args:
        groups: The groups of a comparison.
        allow: Keys that may differ.
        by: The key that the runs are grouped by.

    Returns:
        A note where folds are left out of a k-fold study.

    Raises:
        RunError: If the folds differ and neither ``allow`` nor ``by`` names them.
    """
    runs = [run for group in groups for run in group.runs]
    number = num_folds(runs)
    if number is None or (by or "").endswith(f".{FOLD}"):
        return []
    texts = {group.name: ", ".join(sorted({str(fold_of(run)) for run in group.runs})) for group in groups}
    if len(set(texts.values())) > 1 and f"data.{FOLD}" not in allow:
        raise RunError(
            "the runs are not comparable, methods are scored on other folds, data.fold:\n"
            + "\n".join(f"    {text}: {method_title(name)}" for name, text in texts.items())
            + f"\nExpected the same folds of each; --allow data.{FOLD} compares nevertheless."
        )
    missing = sorted(set(range(number)) - {fold_of(run) for run in runs})
    listed = ", ".join(map(str, missing))
    return (
        [f"No run is scored on fold {listed} of {number}: their pictures count in no score."]
        if missing
        else []
    )


def mean_by_fold(pairs: Sequence[tuple[Run, Run]], deltas: np.ndarray) -> np.ndarray:
    """Return the mean difference in each fold, ``(folds,)``, of the differences of pairs of runs, ``(pairs,)``."""
    folds = np.array([fold_of(run) for run, _ in pairs])
    return np.array([deltas[folds == fold].mean() for fold in np.unique(folds)])
