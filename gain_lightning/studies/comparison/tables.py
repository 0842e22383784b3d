"""Write a comparison as text, JSON, CSV and LaTeX."""

import csv
import json
import math
import textwrap
from pathlib import Path
from typing import Any

from gain_lightning.scores import score_of
from gain_lightning.studies.comparison.groups import Comparison, Stat, method_title


def short_name(metric: str) -> str:
    """Return the name of a metric in tables.

    Example:
        >>> short_name("test/mean_ap"), short_name("test/boat_without_water")
        ('mAP', 'boat without water')
    """
    return score_of(metric).name


def _plain_name(name: str) -> str:
    """Return a method's title for narrow columns, such as ``GAIN_ext 48``."""
    return method_title(name).replace(" (", " ").removesuffix(" masks)")


def points(delta: float) -> str:
    """Return a difference of fractions as text, in points.

    Example:
        >>> points(0.0314), points(-0.00001)
        ('+3.1', '0.0')
    """
    return change("", delta).replace("-", "\N{MINUS SIGN}")


def _digits(metric: str, value: float) -> tuple[int, int]:
    """Return the factor that a metric is shown with, and its number of decimals.

    An amount is shown with three significant digits.
    """
    unit = score_of(metric).unit
    if unit == "share":
        return 100, 1
    return 1, max(0, 2 - math.floor(math.log10(abs(value)))) if unit == "amount" and value else 2


def change(metric: str, delta: float) -> str:
    """Return a difference of a metric as ASCII text: shares in points, other metrics in their unit.

    Example:
        >>> change("test/energy", -0.0314), change("test/mae", 0.0314)
        ('-3.1', '+0.0314')
    """
    scale, digits = _digits(metric, delta)
    text = f"{scale * delta:+.{digits}f}"
    return text if text.strip("+-0.") else text[1:]


def show(metric: str, stat: Stat | None) -> str:
    """Return mean and spread as text: shares in percent, an error, a threshold or a loss as it is.

    Example:
        >>> show("test/mean_ap", Stat(0.912, 0.004, 3)), show("test/seed_threshold_best", Stat(0.35, None, 1))
        ('91.2 ± 0.4', '0.35')
        >>> show("test/mae", Stat(0.0034, 0.0002, 3)), show("test/mae", Stat(24260.33, 12.1, 3))
        ('0.00340 ± 0.00020', '24260 ± 12')
    """
    if stat is None:
        return "-"
    scale, digits = _digits(metric, stat.mean)
    spread = "" if stat.std is None else f" ± {scale * stat.std:.{digits}f}"
    return f"{scale * stat.mean:.{digits}f}{spread}"


def text_table(comparison: Comparison) -> str:
    """Return the comparison as text, at most 80 columns wide."""
    has_amount = any(score_of(metric).unit == "amount" for metric in comparison.metrics)
    unit = f"; {short_name('mae')} in the labels' unit" if has_amount else ""
    lines = [f"Percent on {comparison.scored_set}, mean ± standard deviation over runs{unit}"]
    for start in range(0, len(comparison.groups), 4):
        groups = comparison.groups[start : start + 4]
        width = 15 if len(groups) > 3 else 20
        names = [_end(_plain_name(group.name), width - 1) for group in groups]
        rows = [("", names), ("runs", [str(len(group.runs)) for group in groups])]
        for metric in [*comparison.metrics, *comparison.image_groups]:
            cells = [show(metric, group.metrics.get(metric)) for group in groups]
            rows.append((_cut(short_name(metric), 20), cells))
        lines += [f"{name:20}" + "".join(f"{cell:>{width}}" for cell in cells) for name, cells in rows]
    previous = None
    for row in comparison.differences:
        if (row.a, row.b) != previous:
            previous = (row.a, row.b)
            names = [_plain_name(name) for name in (row.a, row.b)]
            if len(" -> ".join(names)) > 32:
                names = [_end(name, 14) for name in names]
            title = " -> ".join(names)
            lines += ["", f"{title:32}{'points':>6}  95 % interval    excl. 0  over"]
        interval, sense = "none", ""
        if row.ci95:
            interval = " to ".join(change(row.metric, end) for end in row.ci95)
            sense = f"{'yes' if row.is_clear else 'no':7}  {row.over.replace(' and ', ', ')}"
        name, delta = _cut(short_name(row.metric), 28), change(row.metric, row.delta)
        lines.append(f"  {name:28}{delta:>8}  {interval:15}  {sense}".rstrip())
    for note in comparison.notes:
        lines += ["", *textwrap.wrap(f"Note: {note}", 80)]
    return "\n".join(lines)


def _end(name: str, width: int) -> str:
    """Return the last ``width`` letters of a group's name.

    The end of a name (a number of masks, the value of a key) tells it from the others.
    """
    return name if len(name) <= width else ".." + name[2 - width :]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def write_summary(comparison: Comparison, path: Path) -> None:
    """Write ``summary.json``; docs/compare.md shows it.

    The file has three keys. ``groups`` is a list of ``{name, runs: [paths as given], metrics: {key: {mean, std, n}}}``,
    where ``std`` is null for one run. ``differences`` is a list of ``{metric, a, b, delta, ci95, over}``, where
    ``delta`` is mean b - mean a, ``ci95`` is ``[low, high]`` or null, and ``over`` is the population that the interval
    speaks of: ``seeds and images``, ``seeds``, ``images``, ``folds`` or null. ``scored_set`` is the data's own name
    for the set that the scores belong to. Keys and units are those of the runs: fractions of 1, such as
    ``test/mean_ap``, and errors in the labels' unit.

    Args:
        comparison: The comparison to write.
        path: The file.
    """
    content: dict[str, Any] = {
        "groups": [
            {
                "name": group.name,
                "runs": [run.path for run in group.runs],
                "metrics": {key: stat._asdict() for key, stat in group.metrics.items()},
            }
            for group in comparison.groups
        ],
        "differences": [{**row._asdict(), "over": row.over or None} for row in comparison.differences],
        "scored_set": comparison.scored_set,
    }
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_latex(comparison: Comparison, path: Path) -> None:
    """Write ``table.tex``, the table of results for a paper; it needs the LaTeX package booktabs."""
    metrics = comparison.metrics
    lines = [
        r"\begin{tabular}{l" + "r" * (1 + len(metrics)) + "}",
        r"\toprule",
        " & ".join(["method", "runs", *(_tex(short_name(metric)) for metric in metrics)]) + r" \\",
        r"\midrule",
    ]
    for group in comparison.groups:
        cells = [show(metric, group.metrics.get(metric)).replace("±", r"$\pm$") for metric in metrics]
        name = _tex(method_title(group.name))
        lines.append(" & ".join([name, str(len(group.runs)), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _tex(text: str) -> str:
    """Return a text in which TeX's special letters are escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, rf"\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def write_table(comparison: Comparison, path: Path) -> None:
    """Write ``table.csv``: group, metric, mean, std, n; it has one row per group and metric, unrounded."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "metric", "mean", "std", "n"])
        for group in comparison.groups:
            writer.writerows([group.name, key, *stat] for key, stat in group.metrics.items())
