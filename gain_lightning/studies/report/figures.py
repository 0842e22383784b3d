"""Draw a study: maps against classification, scores against the mask budget, curves of the training."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.drawing.charts import curves_figure, plane_figure
from gain_lightning.runs.curves import read_curves
from gain_lightning.runs.read import Run
from gain_lightning.scores import OF_GROUP, score_of
from gain_lightning.studies.comparison.groups import Comparison, Group, method_title
from gain_lightning.studies.comparison.tables import short_name

# The score of maps that the figures show is the first of these that the runs have.
_ATTENTION = (
    *("test/seed_miou_selected", "test/seed_miou_best", "test/seed_miou", "test/energy"),
    *("test/max_box_acc", "test/energy_in_box"),
)
# A curve has at most this many points.
_MAX_POINTS = 400
_LOSSES = {
    "train/loss": "L",
    **{f"train/loss_{name}": f"L_{name}" for name in ("cl", "am", "ext", "seed", "expand", "constrain")},
}


class Drawing(NamedTuple):
    """A figure: its name, the function of ``dark`` and ``kind`` that draws it, and its description in words."""

    name: str
    draw: Callable[..., bytes]
    alt: str


def write_figures(comparison: Comparison, folder: Path) -> None:
    """Write every figure as SVG and PNG, on white, for papers.

    Args:
        comparison: The comparison to draw; curves are read from the folders of its runs.
        folder: The folder of the figures; it is made if there is a figure to write.

    Raises:
        RunError: If a run's curves are unreadable.
    """
    for drawing in [*study_figures(comparison), *curve_figures(comparison.groups)]:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("svg", "png"):
            (folder / f"{drawing.name}.{kind}").write_bytes(drawing.draw(kind=kind))


def study_figures(comparison: Comparison) -> list[Drawing]:
    """Return the figures of maps against classification, and of scores against the number of masks where it varies."""
    attention = next((key for key in _ATTENTION if key in comparison.metrics), None)
    return [
        drawing
        for drawing in (_plane(comparison, attention), _budget_curves(comparison, attention))
        if drawing is not None
    ]


def curve_figures(groups: Sequence[Group]) -> list[Drawing]:
    """Return a figure for every validation metric, but for those of single groups, and every term of the loss.

    Raises:
        RunError: If a run's ``metrics.csv`` is unreadable.
    """
    curves = [[read_curves(run.path) for run in group.runs] for group in groups]
    found = dict.fromkeys(column for runs in curves for run in runs for column in run)
    columns = [
        column
        for column in found
        if column.startswith("val/")
        and not column.startswith(f"val/{OF_GROUP}")
        and score_of(column).better != "neither"
    ]
    columns += [
        column for column in (*_LOSSES, *found) if column in found and column.startswith("train/loss")
    ]
    epochs = [rows[:, 0] for runs in curves for run in runs for rows in run.values()]
    axis, x_label = (0, "epoch") if any(len(np.unique(epoch)) > 1 for epoch in epochs) else (1, "step")
    figures = []
    for column in dict.fromkeys(columns):
        is_percent = score_of(column).unit == "share" and column.startswith("val/")
        title = f"{short_name(column)} (validation{', %' if is_percent else ''})"
        title = title if column.startswith("val/") else f"{_LOSSES.get(column, column)} (training)"
        lines = {
            method_title(group.name): _line(runs, column, axis, 100 if is_percent else 1)
            for group, runs in zip(groups, curves, strict=True)
        }
        ends = [f"{name} ends at {line[1, -1]:.3g}" for name, line in lines.items() if line.size]
        if ends:
            draw = partial(curves_figure, lines, title, x_label)
            alt = f"{title} against {x_label}: {', '.join(ends)}"
            figures.append(Drawing(_file_name(column), draw, alt))
    return figures


def _plane(comparison: Comparison, attention: str | None) -> Drawing | None:
    if attention is None or "test/mean_ap" not in comparison.metrics:
        return None
    keys = ("test/mean_ap", attention)
    points = {
        method_title(group.name): 100 * np.array([[run.metrics[key] for run in group.runs] for key in keys])
        for group in comparison.groups
        if all(key in run.metrics for run in group.runs for key in keys)
    }
    means = [f"{name} at {x.mean():.1f}, {y.mean():.1f}" for name, (x, y) in points.items()]
    of = comparison.scored_set
    title, x_label = f"{short_name(attention)} ({of}, %)", f"{short_name('test/mean_ap')} ({of}, %)"
    return Drawing(
        "accuracy_against_attention",
        partial(plane_figure, points, title, x_label),
        f"{title} against {x_label}, a point a run: {'; '.join(means)}",
    )


def _budget_curves(comparison: Comparison, attention: str | None) -> Drawing | None:
    runs = [run for group in comparison.groups for run in group.runs]
    guided = [run for run in runs if _is_guided(run)]
    budgets = sorted({_num_masked(run) for run in guided})
    if len(budgets) < 3:
        return None
    keys = [key for key in (attention, "test/mean_ap", "test/biased_accuracy") if key in comparison.metrics]
    lines = {short_name(key): _against_budget(guided, key) for key in keys}
    ends = [f"{name} from {line[1, 0]:.1f} to {line[1, -1]:.1f}" for name, line in lines.items() if line.size]
    title = f"Scores on {comparison.scored_set} (%)"
    return Drawing(
        "score_against_masks",
        partial(curves_figure, lines, title, "images with masks", dots=True),
        f"{title} against images with masks, {budgets[0]} to {budgets[-1]}: {', '.join(ends)}",
    )


def _is_guided(run: Run) -> bool:
    """Return whether any term of guidance has a weight."""
    return any(
        value for key, value in run.config.items() if key.startswith("model.") and key.endswith("_weight")
    )


def _num_masked(run: Run) -> int:
    """Return the number of images with masks that the training used."""
    return (run.summary.get("num_masked") or 0) if run.config.get("model.ext_weight") else 0


def _against_budget(runs: Sequence[Run], key: str) -> np.ndarray:
    """Return the number of masked images and the mean, lowest and highest score, ``(4, budgets)``."""
    scores: dict[int, list[float]] = {}
    for run in runs:
        if key in run.metrics:
            scores.setdefault(_num_masked(run), []).append(100 * run.metrics[key])
    rows = [(budget, np.mean(of), min(of), max(of)) for budget, of in sorted(scores.items())]
    return np.array(rows).T if rows else np.empty((4, 0))


def _line(runs: Sequence[dict[str, np.ndarray]], column: str, axis: int, scale: float) -> np.ndarray:
    """Return x and the mean, lowest and highest value over runs, ``(4, points)``.

    The points are those at which every run that has the column has a value.
    """
    series = []
    for curves in runs:
        if column in curves:
            rows = curves[column][np.isfinite(curves[column][:, [axis, 2]]).all(1)]
            places, inverse = np.unique(rows[:, axis], return_inverse=True)
            means = scale * np.bincount(inverse, rows[:, 2]) / np.bincount(inverse)
            series.append(dict(zip(places.tolist(), means.tolist(), strict=True)))
    common = sorted(set.intersection(*map(set, series))) if series else []
    if not common:
        return np.empty((4, 0))
    # Evenly spaced points are kept, the first and the last among them.
    places = np.linspace(0, len(common) - 1, min(len(common), _MAX_POINTS)).round().astype(int)
    common = [common[place] for place in places]
    values = np.array([[run[x] for x in common] for run in series])
    return np.stack([common, values.mean(0), values.min(0), values.max(0)])


def _file_name(column: str) -> str:
    """Return a column's name without the letters that a file's name must not have.

    Example:
        >>> _file_name("val/mean_ap")
        'val_mean_ap'
    """
    return "".join(letter if letter.isalnum() else "_" for letter in column)
