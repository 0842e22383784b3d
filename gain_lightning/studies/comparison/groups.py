"""Runs in groups: by method, by mask budget, or by a key of the config."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import Run, as_text
from gain_lightning.scores import in_order
from gain_lightning.support.messages import printable

METHODS = {  # in the order of every table
    "gradcam": "Grad-CAM",
    "gain": "GAIN",
    "gain_ext": "GAIN_ext",
    "sec_cues": "SEC: cues",
    "sec_gradcam": "SEC: Grad-CAM",
    "sec_gain": "SEC: GAIN",
    "sec_gain_ext": "SEC: GAIN_ext",
}


class Stat(NamedTuple):
    """Mean and sample standard deviation (None for one run) over n runs."""

    mean: float
    std: float | None
    n: int


class Difference(NamedTuple):
    """``b - a`` of one metric; the interval is over ``seeds and images``, ``seeds`` or ``images``, "" without one."""

    metric: str
    a: str
    b: str
    delta: float
    ci95: tuple[float, float] | None
    over: str

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.ci95 is not None and not self.ci95[0] <= 0 <= self.ci95[1]


@dataclass(frozen=True)
class Group:
    """The runs of one method."""

    name: str
    runs: list[Run]
    metrics: dict[str, Stat]


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` finds; ``config`` has one row of texts per key, a text for every group.

    ``scored_set`` is what the data call the set that the scores ``test/...`` are of: ``test``, or ``val`` without one.
    """

    groups: list[Group]
    differences: list[Difference]
    config: list[tuple[str, list[str]]]
    notes: list[str] = field(default_factory=list)
    scored_set: str = "test"

    @property
    def metrics(self) -> list[str]:
        """Test metrics, in the order of the tables."""
        return metric_order(self.groups)


def method_name(name: str) -> str:
    """How a page calls a method."""
    method, _, num_masked = name.rpartition("_")
    if method in METHODS and num_masked[:1].isdigit():
        return f"{METHODS[method]} ({num_masked} masks)"
    return METHODS.get(name, name)


def by_budget(runs: Sequence[Run]) -> list[Run]:
    """The runs, GAIN_ext's called after their number of masked images where it is known, fewest first.

    Runs of one budget by several classes are one method: ``gain_ext_41-45``, for their draws differ in number.
    """
    others = [run for run in runs if run.method != "gain_ext"]
    ours = sorted((run for run in runs if run.method == "gain_ext"), key=_num_masked)
    counts: dict[str, list[int]] = {}
    for run in ours:
        counts.setdefault(_budget(run), []).append(_num_masked(run))
    spans = {budget: sorted({numbers[0], numbers[-1]}) for budget, numbers in counts.items()}
    names = {budget: "gain_ext_" + "-".join(map(str, span)) for budget, span in spans.items() if span[0]}
    return others + [replace(run, method=names.get(_budget(run), run.method)) for run in ours]


def _budget(run: Run) -> str:
    """What a run's masks were drawn by; a budget by class draws as many images as its classes happen to share."""
    budget = run.config.get("data.mask_budget")
    by_class = {key: value for key, value in run.config.items() if key.startswith("data.mask_budget.")}
    several = len(by_class or (budget if isinstance(budget, dict) else {})) > 1
    return f"{by_class or budget} {run.config.get('data.supervision')}" if several else str(_num_masked(run))


def sort_key(name: str) -> tuple[int, int, str]:
    """Where a method stands in a table: as in :data:`METHODS`, fewer masks first, unknown ones last."""
    method, _, num_masked = name.rpartition("_")
    known = list(METHODS)
    if method in METHODS and num_masked[:1].isdigit():
        return known.index(method), int(num_masked.partition("-")[0]), ""
    return (known.index(name), 0, "") if name in METHODS else (len(known), 0, name)


def methods_of(runs: Sequence[Run]) -> list[str]:
    """The runs' methods, in the runs' order."""
    return list(dict.fromkeys(run.method for run in runs))


def _num_masked(run: Run) -> int:
    return run.summary.get("num_masked") or 0


def by_key(runs: Sequence[Run], key: str) -> list[Run]:
    """The runs, called after what they have for a key of the config.

    Raises:
        RunError: If no run has the key.
    """
    key = key.replace(".init_args.", ".")
    if not any(key in run.config for run in runs):
        known = sorted({known for run in runs for known in run.config})
        near = difflib.get_close_matches(key, known, n=1)
        raise RunError(f"--by {key}: no run has this key" + (f"; did you mean {near[0]}?" if near else ""))
    name = key.rpartition(".")[2]
    values = {as_text(run, key) for run in runs}
    if len({_short(value) for value in values}) == len(values):  # else the digits tell them apart
        values = set()
    ordered = sorted(runs, key=lambda run: _in_order(run.config.get(key)))
    return [
        replace(run, method=printable(f"{name} {text if text in values else _short(text)}"))
        for run in ordered
        for text in [as_text(run, key)]
    ]


def _short(text: str) -> str:
    """A number with four digits; other texts as they are.

    Example:
        >>> _short("0.034639644598918023"), _short("48"), _short("lite0")
        ('0.03464', '48', 'lite0')
    """
    try:
        return text if len(text) <= 6 else f"{float(text):.4g}"
    except ValueError:
        return text


def _in_order(value: object) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, str(value)


def metric_order(groups: Sequence[Group]) -> list[str]:
    """Test metrics that some group has, in the order of the tables; the share of zero maps where there are any."""
    found = dict.fromkeys(key for group in groups for key in group.metrics if key.startswith("test/"))
    if not any(group.metrics["test/zero_maps"].mean for group in groups if "test/zero_maps" in group.metrics):
        found.pop("test/zero_maps", None)
    return in_order(found)
