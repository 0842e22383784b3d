"""Put runs in groups: by method, by mask budget, or by a key of the config."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import Run, as_text
from gain_lightning.scores import OF_GROUP, in_order
from gain_lightning.support.messages import printable

# The titles of the methods, in the order of every table.
METHODS = {
    "gradcam": "Grad-CAM",
    "gain": "GAIN",
    "gain_ext": "GAIN_ext",
    "group_dro": "GroupDRO",
    "jtt": "JTT",
    "dfr": "DFR",
    "resampled": "resampled by group",
    "resampled_class": "resampled by class",
    "mask_augment": "mask augmentation",
    "sec_cues": "SEC: cues",
    "sec_gradcam": "SEC: Grad-CAM",
    "sec_gain": "SEC: GAIN",
    "sec_gain_ext": "SEC: GAIN_ext",
}


class Stat(NamedTuple):
    """The mean and the sample standard deviation (None for one run) over n runs."""

    mean: float
    std: float | None
    n: int


class Difference(NamedTuple):
    """The difference ``b - a`` of one metric.

    Its interval is ``over`` ``seeds and images``, ``seeds``, ``images`` or ``folds``, or "" where there is none.
    """

    metric: str
    a: str
    b: str
    delta: float
    ci95: tuple[float, float] | None
    over: str

    @property
    def is_clear(self) -> bool:
        """Return whether the interval excludes 0."""
        return self.ci95 is not None and not self.ci95[0] <= 0 <= self.ci95[1]


@dataclass(frozen=True)
class Group:
    """The runs of one method."""

    name: str
    runs: list[Run]
    metrics: dict[str, Stat]


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare`.

    ``config`` has a row for every key that differs: the key and a text for every group. ``scored_set`` is the data's
    own name for the set that the scores ``test/...`` belong to: ``test``, or ``val`` where there is no test set.
    """

    groups: list[Group]
    differences: list[Difference]
    config: list[tuple[str, list[str]]]
    notes: list[str] = field(default_factory=list)
    scored_set: str = "test"

    @property
    def metrics(self) -> list[str]:
        """Return the test metrics but for those of single groups of images, in the order of the tables."""
        return metric_order(self.groups)

    @property
    def image_groups(self) -> list[str]:
        """Return the test metrics of single groups of images."""
        return image_group_order(self.groups)


def method_title(name: str) -> str:
    """Return the title of a method on pages.

    Example:
        >>> method_title("gain_ext_48"), method_title("gain_ext+resampled")
        ('GAIN_ext (48 masks)', 'GAIN_ext + resampled by group')
    """
    if "+" in name:
        return " + ".join(map(method_title, name.split("+")))
    method, _, num_masked = name.rpartition("_")
    if method in METHODS and num_masked[:1].isdigit():
        return f"{METHODS[method]} ({num_masked} masks)"
    return METHODS.get(name, name)


def by_budget(runs: Sequence[Run]) -> list[Run]:
    """Return the runs, where those that take masks are named after their number of masked images, fewest first.

    These are GAIN_ext, alone or with a rival, and masks spent as augmentation.

    Runs of one budget by several classes are one method, such as ``gain_ext_41-45``, because their draws differ in
    number. A run whose number is not known keeps its name.
    """
    ours = sorted((run for run in runs if _takes_masks(run)), key=_num_masked)
    counts: dict[str, list[int]] = {}
    for run in ours:
        counts.setdefault(_budget(run), []).append(_num_masked(run))
    spans = {budget: sorted({numbers[0], numbers[-1]}) for budget, numbers in counts.items()}
    names = {budget: "_" + "-".join(map(str, span)) for budget, span in spans.items() if span[0]}
    renamed = [replace(run, method=run.method + names.get(_budget(run), "")) for run in ours]
    return [run for run in runs if not _takes_masks(run)] + renamed


def _takes_masks(run: Run) -> bool:
    return not {"gain_ext", "mask_augment"}.isdisjoint(run.method.split("+"))


def _budget(run: Run) -> str:
    """Return a text that runs share whose masks were drawn by the same budget.

    It is the number of masked images, except for a budget by class, which draws more or fewer images with each seed
    as its classes happen to share them.
    """
    budget = run.config.get("data.mask_budget")
    by_class = {key: value for key, value in run.config.items() if key.startswith("data.mask_budget.")}
    several = len(by_class or (budget if isinstance(budget, dict) else {})) > 1
    return f"{by_class or budget} {run.config.get('data.supervision')}" if several else str(_num_masked(run))


def sort_key(name: str) -> tuple[int, int, str]:
    """Return the sort key of a method: methods stand as in :data:`METHODS`, fewer masks first, unknown ones last."""
    method, _, num_masked = name.rpartition("_")
    known = list(METHODS)
    if method in METHODS and num_masked[:1].isdigit():
        return known.index(method), int(num_masked.partition("-")[0]), ""
    return (known.index(name), 0, "") if name in METHODS else (len(known), 0, name)


def methods_of(runs: Sequence[Run]) -> list[str]:
    """Return the runs' methods, in the runs' order."""
    return list(dict.fromkeys(run.method for run in runs))


def _num_masked(run: Run) -> int:
    return run.summary.get("num_masked") or 0


def by_key(runs: Sequence[Run], key: str) -> list[Run]:
    """Return the runs, each named after its value of a key of the config, in the order of these values.

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
    # Values that look alike when they are shortened stay as they are, so that their digits tell them apart.
    if len({_short(value) for value in values}) == len(values):
        values = set()
    ordered = sorted(runs, key=lambda run: _in_order(run.config.get(key)))
    return [
        replace(run, method=printable(f"{name} {text if text in values else _short(text)}"))
        for run in ordered
        for text in [as_text(run, key)]
    ]


def _short(text: str) -> str:
    """Return a number with four digits, and any other text as it is.

    Example:
        >>> _short("0.034639644598918023"), _short("48"), _short("lite0")
        ('0.03464', '48', 'lite0')
    """
    try:
        return text if len(text) <= 6 else f"{float(text):.4g}"
    except ValueError:
        return text


def _in_order(value: object) -> tuple[bool, float, str]:
    if isinstance(value, int | float):
        return False, float(value), str(value)
    return True, 0.0, str(value)


def metric_order(groups: Sequence[Group]) -> list[str]:
    """Return the test metrics that some group has, in the order of the tables.

    The share of zero maps is among them only where there are any. Those of single groups of images are not among
    them (:func:`image_group_order`).
    """
    of_images = image_group_order(groups)
    found = dict.fromkeys(key for group in groups for key in group.metrics if key.startswith("test/"))
    found = {key: None for key in found if key not in of_images}
    if not any(group.metrics["test/zero_maps"].mean for group in groups if "test/zero_maps" in group.metrics):
        found.pop("test/zero_maps", None)
    return in_order(found)


def image_group_order(groups: Sequence[Group]) -> list[str]:
    """Return the test metrics of single groups of images that some group of runs has, as the runs name them."""
    start = f"test/{OF_GROUP}"
    return list(dict.fromkeys(key for group in groups for key in group.metrics if key.startswith(start)))
