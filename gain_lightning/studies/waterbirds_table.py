"""The table of Waterbirds: groups, averages and differences to the own baseline, beside the published ones."""

from collections.abc import Iterable, Mapping
from statistics import mean, stdev
from typing import Any, NamedTuple

Scores = Mapping[str, float | None]

# Birds and the grounds that they are on.
GROUPS = (("landbird", "land"), ("landbird", "water"), ("waterbird", "land"), ("waterbird", "water"))
# Keys of scores, as a run's summary has them behind "test/".
WORST, GROUP_MEAN, OVERALL = "worst_group", "group_mean", "test_average"
COLUMNS = (*(" on ".join(group) for group in GROUPS), WORST, GROUP_MEAN, OVERALL)
BASELINE = "gradcam"


class Value(NamedTuple):
    """A mean over seeds and its sample deviation; None where there is none."""

    mean: float | None
    spread: float | None


# Rao et al., *Studying How to Efficiently and Effectively Guide Models with Explanations*, ICCV 2023: a B-cos ResNet-50
# at 224 pixels, boxes on 1 %, four runs. By whether the task is reversed: the accuracy on the worst group, its
# deviation, and the overall accuracy.
PUBLISHED = {
    False: {
        "baseline": (0.434, 0.024, 0.687),
        "Energy": (0.561, 0.040, 0.712),
        "L1": (0.511, 0.019, 0.695),
    },
    True: {
        "baseline": (0.566, 0.024, 0.801),
        "Energy": (0.628, 0.021, 0.836),
        "L1": (0.588, 0.050, 0.822),
    },
}
_PUBLISHED_RUNS = 4
_SOURCE = "Rao et al., ICCV 2023"


def _difference(column: str) -> str:
    """Return the name of the column that has a column's difference to the own baseline."""
    return f"{column} difference"


# The columns of the text, each with its two lines of a header and its width.
_SHOWN = (
    *((column, (head, ""), 6) for column, head in zip(COLUMNS, ("LL", "LW", "WL", "WW"), strict=False)),
    (WORST, ("worst", "group"), 7),
    (_difference(WORST), ("", "diff."), 7),
    (GROUP_MEAN, ("group", "mean"), 7),
    (OVERALL, ("over-", "all"), 8),
    (_difference(OVERALL), ("", "diff."), 8),
)
_NAME = 18


def _row_of(scores: Mapping[int, Scores], baseline: Mapping[int, Scores]) -> dict[str, Value]:
    """Summarize a method over its seeds; differences pair it with the baseline of the same seeds."""
    row = {column: _over_seeds([of_seed[column] for of_seed in scores.values()]) for column in COLUMNS}
    if scores is not baseline:
        for column in (WORST, OVERALL):
            pairs = [
                (of_seed[column], baseline[seed][column])
                for seed, of_seed in scores.items()
                if seed in baseline
            ]
            known = [one - other for one, other in pairs if one is not None and other is not None]
            row[_difference(column)] = _over_seeds(known)
    return row


def _over_seeds(values: Iterable[float | None]) -> Value:
    known = [value for value in values if value is not None]
    return Value(mean(known) if known else None, stdev(known) if len(known) > 1 else None)


def _published(is_reversed: bool) -> dict[str, dict[str, Value]]:
    """The published rows; a difference has no published deviation."""
    rows = PUBLISHED[is_reversed]
    base_worst, _, base_overall = rows["baseline"]
    found = {}
    for method, (worst, spread, overall) in rows.items():
        found[method] = {WORST: Value(worst, spread), OVERALL: Value(overall, None)}
        if method != "baseline":
            found[method][_difference(WORST)] = Value(worst - base_worst, None)
            found[method][_difference(OVERALL)] = Value(overall - base_overall, None)
    return found


def tables(rows: Mapping[str, Mapping[int, Scores]], *, is_reversed: bool) -> tuple[str, list[list[Any]]]:
    """Scores as text and as cells.

    Args:
        rows: The scores of every run by method and seed, in the columns :data:`COLUMNS`.
        is_reversed: Whether the ground was asked for.

    Returns:
        Text of at most 80 columns, and the rows of a CSV, its header first.
    """
    baseline = rows.get(BASELINE, {})
    ours = {method: _row_of(scores, baseline) for method, scores in rows.items()}
    theirs = _published(is_reversed)
    lines = [
        "".ljust(_NAME) + "".join(f"{head[line]:>{width}}" for _, head, width in _SHOWN) for line in (0, 1)
    ]
    for method, row in ours.items():
        lines += _lines(method, row, len(rows[method]))
    lines.append(f"published: {_SOURCE}, B-cos ResNet-50, 224 pixels, boxes on 1 %")
    for method, row in theirs.items():
        lines += _lines(f"  {method}", row, _PUBLISHED_RUNS)
    asked = "ground" if is_reversed else "bird"
    lines += [
        f"accuracy on test in percent, the {asked} is asked for; ± deviation over runs",
        "LL landbird on land, LW landbird on water, WL waterbird on land, WW on water",
        f"diff.: to {BASELINE} of the same seeds; published: to their own baseline",
        "other backbones and sizes: only differences compare with published ones",
    ]
    columns = [column for column, _, _ in _SHOWN]
    cells: list[list[Any]] = [["method", "source", "runs"]]
    cells[0] += [f"{column}{part}" for column in columns for part in ("", " spread")]
    for source, of_source in (("here", ours), (_SOURCE, theirs)):
        for method, row in of_source.items():
            values = [value for column in columns for value in row.get(column, Value(None, None))]
            cells.append(
                [method, source, len(rows[method]) if source == "here" else _PUBLISHED_RUNS, *values]
            )
    return "\n".join(line.rstrip() for line in lines), cells


def _lines(method: str, row: Mapping[str, Value], num_runs: int) -> list[str]:
    """A method's line of means, and that of deviations beside its number of runs."""
    means, spreads = method.ljust(_NAME), f"    {num_runs} run{'s' * (num_runs > 1)}".ljust(_NAME)
    for column, _, width in _SHOWN:
        value = row.get(column)
        sign = "+" if column.endswith("difference") else ""
        # The baseline has no difference to itself.
        text = "" if value is None else "-" if value.mean is None else f"{100 * value.mean:{sign}.1f}"
        means += f"{text:>{width}}"
        spreads += f"{'' if value is None or value.spread is None else f'±{100 * value.spread:.1f}':>{width}}"
    return [means, spreads]
