"""Write a comparison as one HTML page that needs no other file and no network."""

import base64
import hashlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from gain_lightning.drawing.encoding import data_uri
from gain_lightning.drawing.maps import colour_bar
from gain_lightning.runs.images import ImageTable, read_images
from gain_lightning.runs.read import Run
from gain_lightning.scores import SCORES, score_of
from gain_lightning.studies.comparison.bootstrap import DecisionRule, main_set_first
from gain_lightning.studies.comparison.compare import decision_rule_of
from gain_lightning.studies.comparison.groups import Comparison, Difference, Group, method_title
from gain_lightning.studies.comparison.tables import change, points, short_name, show
from gain_lightning.studies.report.class_scores import class_scores
from gain_lightning.studies.report.examples import example_rows, first_runs
from gain_lightning.studies.report.figures import Drawing, curve_figures, study_figures
from gain_lightning.studies.report.group_scores import group_scores
from gain_lightning.studies.report.segmentations import cue_rows, segmentation_rows
from gain_lightning.support.messages import printable

# The reading begins with what maps show, which training guides.
_READING_ORDER = ("pairs", "set", "images", "objects")


def write_report(comparison: Comparison, path: Path) -> None:
    """Write the report.

    Args:
        comparison: The comparison to report; curves and maps are read from the folders of its runs.
        path: The HTML file.

    Raises:
        RunError: If a run's curves or maps are unreadable.
    """
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["method"] = method_title
    environment.filters["points"] = points
    environment.filters["change"] = _change
    environment.filters["metric"] = short_name
    script = (here / "report.js").read_text(encoding="utf-8")
    tables = {run.path: _main_table(run) for run in first_runs(comparison.groups)}
    first = comparison.groups[0]
    segments = [run.segments for group in comparison.groups for run in group.runs]
    examples, without_maps = example_rows(comparison.groups, tables)
    page = environment.get_template("report.html.j2").render(
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=_join([method_title(group.name) for group in comparison.groups]),
        reading=reading(comparison),
        comparison=comparison,
        judged=_judged(
            next(iter(tables.values()), None), decision_rule_of(first.runs[0]), comparison.scored_set
        ),
        columns=[(metric, score_of(metric)) for metric in comparison.metrics],
        results=_results(comparison),
        center=_center(comparison),
        image_groups=group_scores(comparison),
        classes=class_scores(comparison.groups),
        differences=_differences(comparison),
        planes=_both_themes(study_figures(comparison)),
        curves=_both_themes(curve_figures(comparison.groups)),
        examples=examples,
        without_maps=[] if all(segments) else without_maps,
        maps_expected=not all(segments),
        segmentations=segmentation_rows(comparison.groups),
        cues=cue_rows(comparison.groups),
        colour_bar=data_uri(colour_bar()),
        runs=[_provenance(run) for group in comparison.groups for run in group.runs],
    )
    # The script's hash holds for these bytes, so line ends stay as they are.
    path.write_text(page, encoding="utf-8", errors="replace", newline="\n")


def _main_table(run: Run) -> ImageTable | None:
    """Return the scores of every image of the test set, if the run is of a classifier and has them."""
    tables = {} if run.segments else read_images(run.path)
    return tables[main_set_first(tables)[0]] if tables else None


def _judged(table: ImageTable | None, rule: DecisionRule, scored_set: str) -> str:
    """Return a sentence with the number of pairs that the map scores run over; "" without pairs."""
    judged = np.zeros((0, 0), bool)
    if table is not None:
        judged = table.judged[:, rule.columns(table.class_names)]
    if not judged.any():
        return ""
    marks = "boxes" if table is not None and table.truth == "box" else "masks"
    return (
        f"Maps are judged on {judged.sum():,} (image, class) pairs with {marks}, "
        f"in {judged.any(1).sum():,} of {len(judged):,} images of {scored_set}."
    )


def reading(comparison: Comparison) -> list[str]:
    """Return the result in words: for every further method a sentence with its clear differences from the first.

    With one seed each, a sentence is about the two networks and says so; only intervals over seeds speak of methods.
    """
    first, *others = comparison.groups
    told = [
        f"test/{score.key}"
        for over in _READING_ORDER
        for score in SCORES
        if score.over == over and score.rises
    ]
    if not others:
        return [f"Only {method_title(first.name)} is here, so there is nothing to compare it with."]
    sentences = []
    for group in others:
        rows = [row for row in comparison.differences if (row.a, row.b) == (first.name, group.name)]
        parts = [_clause(row) for metric in told for row in rows if row.metric == metric]
        losses = [row for row in rows if row.metric not in told and _is_clear_loss(row)]
        if losses:
            parts.append(f"is clearly worse in {_join([_with_amount(row) for row in losses])}")
        found = (
            _join(parts) if parts else "is clearly worse in no score" if rows else "shares no score with it"
        )
        of_one_seed = len(first.runs) == len(group.runs) == 1 or any(row.over == "images" for row in rows)
        one = "the one network of " if of_one_seed else ""
        end = ": this is about these two networks and not about the methods" if of_one_seed else ""
        sentences.append(
            f"Against {one}{method_title(first.name)}, {one}{method_title(group.name)} {found}{end}."
        )
    if all(len(group.runs) == 1 for group in comparison.groups):
        sentences.append("One run each: how far another seed would differ is not known.")
    return sentences


def _clause(row: Difference) -> str:
    if row.ci95 is None:
        return f"changes {short_name(row.metric)} by {_amount(row)}, without an interval"
    if not row.is_clear:
        return f"shows no clear change in {_with_amount(row)}"
    score = score_of(row.metric)
    words = score.falls if row.delta < 0 else score.rises
    return f"{words} ({score.name} {_amount(row)}{_on_these(row)})"


def _with_amount(row: Difference) -> str:
    return f"{short_name(row.metric)} ({_amount(row)}{_on_these(row)})"


def _on_these(row: Difference) -> str:
    """Return the words for the images, which an interval over seeds alone holds fixed."""
    return " on these very images" if row.over == "seeds" else ""


def _amount(row: Difference) -> str:
    return _change(row.delta, row.metric) + (" points" if score_of(row.metric).unit == "share" else "")


def _is_clear_loss(row: Difference) -> bool:
    """Return whether the second method is clearly worse."""
    return row.is_clear and (row.delta > 0) == (score_of(row.metric).better == "lower")


def _change(delta: float, metric: str) -> str:
    return change(metric, delta).replace("-", "\N{MINUS SIGN}")


def _join(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _differences(comparison: Comparison) -> dict[str, list[list[Difference]]]:
    """Return the differences of pairs of methods: those from the first method, and the others."""
    pairs = [list(rows) for _, rows in groupby(comparison.differences, key=lambda row: (row.a, row.b))]
    first = comparison.groups[0].name
    return {
        "first": [rows for rows in pairs if rows[0].a == first],
        "others": [rows for rows in pairs if rows[0].a != first],
    }


def _results(comparison: Comparison) -> list[tuple[Group, list[tuple[str, bool]]]]:
    """Return each group with its cells; a cell is its text and whether it is the best of its column."""
    best = {}
    for metric in comparison.metrics:
        means = [group.metrics[metric].mean for group in comparison.groups if metric in group.metrics]
        better = score_of(metric).better
        if len(means) > 1 and better != "neither":
            best[metric] = min(means) if better == "lower" else max(means)
    rows = []
    for group in comparison.groups:
        stats = [(metric, group.metrics.get(metric)) for metric in comparison.metrics]
        rows.append(
            (
                group,
                [(show(m, stat), stat is not None and _is_best(stat.mean, best.get(m))) for m, stat in stats],
            )
        )
    return rows


def _center(comparison: Comparison) -> list[str]:
    """Return the scores of a map that looks at the centre of every image, in the columns of the results."""
    metrics = comparison.groups[0].metrics
    cells = [(key, metrics.get(key.replace("test/", "center/"))) for key in comparison.metrics]
    return [show(key, stat) for key, stat in cells] if any(stat for _, stat in cells) else []


def _is_best(mean: float, best: float | None) -> bool:
    """Return whether a score looks like the best one, to a tenth of a point."""
    return best is not None and f"{100 * mean:.1f}" == f"{100 * best:.1f}"


def _both_themes(drawings: Sequence[Drawing]) -> list[dict[str, str]]:
    return [
        {
            "light": data_uri(drawing.draw(dark=False)),
            "dark": data_uri(drawing.draw(dark=True)),
            "alt": drawing.alt,
        }
        for drawing in drawings
    ]


def _provenance(run: Run) -> dict[str, str]:
    """Return the origin of a run's numbers, as text."""
    seconds, versions = run.summary.get("wall_time_s"), run.summary.get("versions")
    time = "-"
    if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
        minutes, rest = divmod(round(seconds), 60)
        time = f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    return {
        "path": printable(run.path),
        "method": method_title(run.method),
        "seed": "-" if run.seed is None else str(run.seed),
        "commit": printable(str(run.summary.get("git_commit") or "-"))[:16],
        "device": printable(str(run.summary.get("device") or "-")),
        "time": time,
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else "-",
    }
