"""A comparison as one HTML page that needs no other file and no network."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from gain_lightning import VOID, plotting
from gain_lightning.studies.comparison import METHODS, Comparison, Difference, Group, is_score
from gain_lightning.studies.runs import Maps, Run, printable, read_curves, read_maps
from gain_lightning.studies.tables import short_name, show

NUM_EXAMPLES = 12  # rows of pictures
_SIDE = 224  # longest side of a picture, pixels
_ATTENTION = ("test/seed_miou_best", "test/seed_miou", "test/energy")  # the first that runs have
_MAX_POINTS = 400  # of a curve
_LOSSES = {"train/loss": "L", "train/loss_cl": "L_cl", "train/loss_am": "L_am", "train/loss_ext": "L_ext"}
_MEANINGS = {  # of the columns
    "test/mean_ap": "Classification: mean over classes of average precision.",
    "test/seed_miou": "Maps cut at 20 % of their maximum: mean IoU over background and classes.",
    "test/seed_miou_best": "The same at the threshold that suits the run best.",
    "test/seed_threshold_best": "That threshold, as a fraction of a map's maximum.",
    "test/energy": "Share of a map's sum that lies on its object, mean over (image, class) pairs.",
    "test/pointing": "How often a map's maximum lies on its object, mean over classes.",
    "test/biased_accuracy": "Mean accuracy over the further test sets, which break the training set's bias.",
}
# What the reading says of a metric that clearly rises or falls.
_WORDS = {
    "test/energy": ("puts more of its attention on the objects", "puts less of its attention on the objects"),
    "test/mean_ap": ("classifies better", "classifies worse"),
    "test/biased_accuracy": ("is right more often", "is right less often"),
}


def write_report(comparison: Comparison, path: Path) -> None:
    """Write the report.

    Args:
        comparison: What to report; curves and maps are read from the folders of its runs.
        path: The HTML file.

    Raises:
        RunError: If a run's curves or maps are unreadable.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["method"] = method_name
    environment.filters["points"] = points
    environment.filters["metric"] = short_name
    names = [method_name(group.name) for group in comparison.groups]
    examples, note = _examples(comparison.groups)
    page = environment.get_template("report.html.j2").render(
        title=_join(names),
        reading=reading(comparison),
        comparison=comparison,
        columns=[(metric, _MEANINGS.get(metric, "")) for metric in comparison.metrics],
        is_score=is_score,
        results=_results(comparison),
        differences=[
            list(rows) for _, rows in groupby(comparison.differences, key=lambda row: (row.a, row.b))
        ],
        planes=_both_themes(figures(comparison)),
        curves=_curves(comparison.groups),
        examples=examples,
        examples_note=note,
        colour_bar=plotting.data_uri(plotting.colour_bar()),
        runs=[_provenance(run) for group in comparison.groups for run in group.runs],
    )
    path.write_text(page, encoding="utf-8", errors="replace")


def reading(comparison: Comparison) -> str:
    """The result in one sentence: every method against the first, and which differences are clear."""
    first, *others = comparison.groups
    if not others:
        return f"Only {method_name(first.name)} is here, so there is nothing to compare it with."
    clauses = []
    for group in others:
        rows = [row for row in comparison.differences if (row.a, row.b) == (first.name, group.name)]
        parts = [_clause(row) for metric in _WORDS for row in rows if row.metric == metric]
        clauses.append(f"{method_name(group.name)} {_join(parts) if parts else 'shares no score with it'}")
    return f"Against {method_name(first.name)}, {'; '.join(clauses)}."


def _clause(row: Difference) -> str:
    name, change = short_name(row.metric), f"{points(row.delta)} points"
    if row.over != "images":
        return f"changes {name} by {change}, without an interval over images"
    if not row.is_clear:
        return f"shows no clear change in {name} ({change})"
    return f"{_WORDS[row.metric][row.delta < 0]} ({name} {change})"


def _join(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def method_name(name: str) -> str:
    """How a page calls a method."""
    method, _, num_masked = name.rpartition("_")
    if method in METHODS and num_masked.isdigit():
        return f"{METHODS[method]}, {num_masked} masks"
    return METHODS.get(name, name)


def points(delta: float) -> str:
    """A difference of fractions, in points.

    Example:
        >>> points(0.0314), points(-0.00001)
        ('+3.1', '0.0')
    """
    text = f"{100 * delta:+.1f}"
    return "0.0" if text[1:] == "0.0" else text.replace("-", "\N{MINUS SIGN}")


def _results(comparison: Comparison) -> list[tuple[Group, list[tuple[str, bool]]]]:
    """Each group with its cells: text, and whether it is the best of its column."""
    best = {}
    for metric in filter(is_score, comparison.metrics):
        means = [group.metrics[metric].mean for group in comparison.groups if metric in group.metrics]
        best[metric] = max(means) if len(means) > 1 else None
    rows = []
    for group in comparison.groups:
        stats = [(metric, group.metrics.get(metric)) for metric in comparison.metrics]
        rows.append(
            (group, [(show(m, stat), stat is not None and stat.mean == best.get(m)) for m, stat in stats])
        )
    return rows


class FigureText(NamedTuple):
    """A figure of a study: what draws it, given ``dark`` and ``kind``, and what it shows in words."""

    name: str
    draw: Callable[..., bytes]
    alt: str


def figures(comparison: Comparison) -> list[FigureText]:
    """Maps against classification over runs, and scores against the number of masks where that varies."""
    found = []
    attention = next((key for key in _ATTENTION if key in comparison.metrics), None)
    if attention and "test/mean_ap" in comparison.metrics:
        points = {
            method_name(group.name): 100
            * np.array([[run.metrics[key] for run in group.runs] for key in ("test/mean_ap", attention)])
            for group in comparison.groups
            if all(key in run.metrics for run in group.runs for key in ("test/mean_ap", attention))
        }
        means = [f"{name} at {x.mean():.1f}, {y.mean():.1f}" for name, (x, y) in points.items()]
        title, x_label = f"{short_name(attention)} (test, %)", f"{short_name('test/mean_ap')} (test, %)"
        found.append(
            FigureText(
                "accuracy_against_attention",
                partial(plotting.plane_figure, points, title, x_label),
                f"{title} against {x_label}, a point a run: {'; '.join(means)}",
            )
        )
    budgets = sorted(
        {run.summary.get("num_masked") or 0 for group in comparison.groups for run in group.runs}
    )
    guided = [run for group in comparison.groups for run in group.runs if not _is_plain(run)]
    if len({run.summary.get("num_masked") or 0 for run in guided}) > 2:
        keys = [
            key for key in (attention, "test/mean_ap", "test/biased_accuracy") if key in comparison.metrics
        ]
        lines = {short_name(key): _against_budget(guided, key) for key in keys}
        ends = [
            f"{name} from {line[1, 0]:.1f} to {line[1, -1]:.1f}" for name, line in lines.items() if line.size
        ]
        found.append(
            FigureText(
                "score_against_masks",
                partial(plotting.curves_figure, lines, "Test scores (%)", "images with masks", dots=True),
                f"Test scores against images with masks, {budgets[0]} to {budgets[-1]}: {', '.join(ends)}",
            )
        )
    return found


def write_figures(comparison: Comparison, folder: Path) -> None:
    """Write the figures as SVG and PNG, on white, for papers."""
    for figure in figures(comparison):
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("svg", "png"):
            (folder / f"{figure.name}.{kind}").write_bytes(figure.draw(kind=kind))


def _is_plain(run: Run) -> bool:
    """Whether a run is a classifier without guidance."""
    return not run.config.get("model.am_weight") and not run.config.get("model.ext_weight")


def _against_budget(runs: Sequence[Run], key: str) -> np.ndarray:
    """Number of masked images, mean, lowest and highest score, ``(4, budgets)``."""
    scores: dict[int, list[float]] = {}
    for run in runs:
        if key in run.metrics:
            scores.setdefault(run.summary.get("num_masked") or 0, []).append(100 * run.metrics[key])
    rows = [(budget, np.mean(of), min(of), max(of)) for budget, of in sorted(scores.items())]
    return np.array(rows).T if rows else np.empty((4, 0))


def _both_themes(drawn: Sequence[FigureText]) -> list[dict[str, str]]:
    return [
        {
            "light": plotting.data_uri(one.draw(dark=False)),
            "dark": plotting.data_uri(one.draw(dark=True)),
            "alt": one.alt,
        }
        for one in drawn
    ]


def _curves(groups: Sequence[Group]) -> list[dict[str, str]]:
    """A figure for every validation metric and term of the loss."""
    curves = [[read_curves(run.path) for run in group.runs] for group in groups]
    found = dict.fromkeys(column for runs in curves for run in runs for column in run)
    columns = [column for column in found if column.startswith("val/") and is_score(column)]
    columns += [
        column for column in (*_LOSSES, *found) if column in found and column.startswith("train/loss")
    ]
    epochs = [rows[:, 0] for runs in curves for run in runs for rows in run.values()]
    axis, x_label = (0, "epoch") if any(len(np.unique(epoch)) > 1 for epoch in epochs) else (1, "step")
    figures = []
    for column in dict.fromkeys(columns):
        is_percent = is_score(column)
        title = f"{short_name(column.replace('val/', 'test/'))} (validation, %)"
        title = title if is_percent else f"{_LOSSES.get(column, column)} (training)"
        lines = {
            method_name(group.name): _line(runs, column, axis, 100 if is_percent else 1)
            for group, runs in zip(groups, curves, strict=True)
        }
        ends = [f"{name} ends at {line[1, -1]:.3g}" for name, line in lines.items() if line.size]
        if ends:
            light, dark = (plotting.curves_figure(lines, title, x_label, dark=dark) for dark in (False, True))
            alt = f"{title} against {x_label}: {', '.join(ends)}"
            figures.append({"light": plotting.data_uri(light), "dark": plotting.data_uri(dark), "alt": alt})
    return figures


def _line(runs: Sequence[dict[str, np.ndarray]], column: str, axis: int, scale: float) -> np.ndarray:
    """x, mean, lowest, highest over runs, where all that have the column have a value; ``(4, points)``."""
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
    common = common[:: len(common) // _MAX_POINTS + 1]
    values = np.array([[run[x] for x in common] for run in series])
    return np.stack([common, values.mean(0), values.min(0), values.max(0)])


def _examples(groups: Sequence[Group]) -> tuple[list[dict[str, Any]], str]:
    """Rows of pictures for the pairs that every method's first run has maps of; a note on what is missing."""
    firsts = [min(group.runs, key=lambda run: (run.seed is None, run.seed or 0)) for group in groups]
    maps = [read_maps(run.path) for run in firsts]
    kept = [(method_name(group.name), m) for group, m in zip(groups, maps, strict=True) if m is not None]
    missing = [run.path for run, m in zip(firsts, maps, strict=True) if m is None]
    note = f"No maps.npz in {', '.join(missing)}." if missing else ""
    places = [_pairs(m) for _, m in kept]
    common = [pair for pair in places[0] if all(pair in other for other in places)] if places else []
    rows = []
    for image_id, class_name in common[:NUM_EXAMPLES]:
        pair = places[0][image_id, class_name]
        first = kept[0][1]
        image, mask = (array[first.pair_image[pair]] for array in (first.image, first.mask))
        shown = np.where(np.isin(mask, (first.pair_class[pair] + 1, VOID)), mask, 0)  # other objects left out
        truth = plotting.shrink(plotting.colour_mask(shown), _SIDE, smooth=False)
        pictures = [
            ("image", f"Test image {image_id}", plotting.shrink(image, _SIDE)),
            ("ground truth", f"Mask of {class_name}", truth),
        ]
        for (name, m), place in zip(kept, places, strict=True):
            pair = place[image_id, class_name]
            picture = plotting.overlay(plotting.grey(m.image[m.pair_image[pair]]), _scaled(m.map[pair]))
            pictures.append((name, f"Attention of {name} for {class_name}", plotting.shrink(picture, _SIDE)))
        cells = [(caption, alt, plotting.data_uri(picture)) for caption, alt, picture in pictures]
        rows.append({"id": image_id, "class_name": class_name, "cells": cells})
    return rows, note


def _pairs(maps: Maps) -> dict[tuple[str, str], int]:
    pairs = zip(maps.ids[maps.pair_image], maps.class_names[maps.pair_class], strict=True)
    return {(str(image_id), str(class_name)): index for index, (image_id, class_name) in enumerate(pairs)}


def _scaled(attention: np.ndarray) -> np.ndarray:
    """A map by its own maximum, ``(H, W)`` in [0, 1]."""
    return attention.clip(0) / max(float(attention.max(initial=0)), 1e-7)


def _provenance(run: Run) -> dict[str, str]:
    """Where a run's numbers come from, as text."""
    seconds, versions = run.summary.get("wall_time_s"), run.summary.get("versions")
    is_time = isinstance(seconds, int | float) and 0 <= seconds < 1e9
    minutes, rest = divmod(round(seconds), 60) if is_time else (0, 0)
    return {
        "path": printable(run.path),
        "method": method_name(run.method),
        "seed": "-" if run.seed is None else str(run.seed),
        "commit": printable(str(run.summary.get("git_commit") or "-"))[:16],
        "device": printable(str(run.summary.get("device") or "-")),
        "time": f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if is_time else "-",
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else "-",
    }
