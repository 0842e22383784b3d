"""The background gaps of runs, which ``gain background`` measured, as scores of a comparison."""

from collections.abc import Sequence

import numpy as np

from gain_lightning.runs.background import Background, read_background, weighted_scores
from gain_lightning.runs.read import Run
from gain_lightning.studies.comparison.bootstrap import RESAMPLES, draws


def resampled_gaps(runs: Sequence[Run]) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Return the scores of runs on their objects, and on the objects of resampled images, the same for all runs.

    Args:
        runs: The runs; those that ``gain background`` has not looked at have no such scores.

    Returns:
        The scores by run and metric, ``(1 + R,)``: the score itself, then those of R resamples; none unless all runs
        were shown the same objects on the same grounds. And notes on what a reader of these scores should know.

    Raises:
        RunError: If a file is malformed.
    """
    found = {run.path: background for run in runs if (background := read_background(run.path)) is not None}
    if not found:
        return {}, []
    first = next(iter(found.values()))
    notes = [_origin(first), *_untrusted(found)]
    odd = [path for path, one in found.items() if one.objects.names != first.objects.names]
    if odd:
        notes.append(
            f"By their background.csv, other objects or grounds were shown to {', '.join(odd)} than to "
            f"{next(iter(found))}: no intervals of background gaps over images."
        )
        return {}, notes
    image = first.objects.image
    parts: dict[str, list[dict[str, np.ndarray]]] = {path: [] for path in found}
    for weight in draws(int(image.max()) + 1, RESAMPLES, 0):
        for path, one in found.items():
            parts[path].append(weighted_scores(one.objects, weight[:, image]))
    scores = {
        path: {key: np.concatenate([part[key] for part in chunks]) for key in chunks[0]}
        for path, chunks in parts.items()
    }
    return scores, notes


def _origin(background: Background) -> str:
    result = background.result
    return (
        f"Background gaps are of objects of {result.get('split')} on grounds of {result.get('grounds')} "
        "(gain background)."
    )


def _untrusted(found: dict[str, Background]) -> list[str]:
    paths = [path for path, one in found.items() if one.result.get("trusted") is not True]
    if not paths:
        return []
    return [
        f"The background gap is not to be trusted of {', '.join(paths)}: pasting objects back on their own ground "
        "changes more than 2 points of the decisions."
    ]
