"""Statistics over finished runs, method against method."""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.studies import bootstrap
from gain_lightning.studies.intervals import difference_interval
from gain_lightning.studies.runs import (
    ImageTable,
    PixelTable,
    Run,
    RunError,
    printable,
    read_images,
    read_pixels,
)

METHODS = {  # in the order of every table
    "gradcam": "Grad-CAM",
    "gain": "GAIN",
    "gain_ext": "GAIN_ext",
    "sec_cues": "SEC: cues",
    "sec_gradcam": "SEC: Grad-CAM",
    "sec_gain": "SEC: GAIN",
    "sec_gain_ext": "SEC: GAIN_ext",
}
METRICS = {  # short names, in the order of every table; accuracies of further test sets follow
    "test/mean_ap": "mAP",
    "test/mae": "MAE",
    "test/seed_miou": "seed mIoU",
    "test/seed_miou_best": "best seed mIoU",
    "test/seed_threshold_best": "best threshold",
    "test/energy": "energy",
    "test/pointing": "pointing",
    "test/zero_maps": "zero maps",
    "test/miou": "mIoU",
    "test/miou_crf": "mIoU CRF",
}
# Comparable runs agree on all of the data but these, and on the keys below.
_FREE_DATA = (
    "batch_size",
    "masked_batch_size",
    "mask_budget",
    "mask_seed",
    "num_workers",
    "mask_folder",
    "supervision",
    "box_dilation",
    "cues",
)
_FIXED = (
    *("model.backbone", "model.output_stride", "model.class_names", "model.score_classes", "model.task"),
    "trainer.max_epochs",
)
_IGNORED = (
    "run_dir",
    "seed_everything",
    "ckpt_path",
    "threads",
    "trainer.logger",
    "trainer.default_root_dir",
)
_MANY_ZERO = 0.2  # share of zero maps that a note speaks of
_TOLERANCE = 0.005  # between a run's score and what its per_image.csv gives; of an error, as a share of it


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


def _place(name: str) -> tuple[int, int, str]:
    """Where a method stands in a table: as in :data:`METHODS`, fewer masks first, unknown ones last."""
    method, _, num_masked = name.rpartition("_")
    known = list(METHODS)
    if method in METHODS and num_masked[:1].isdigit():
        return known.index(method), int(num_masked.partition("-")[0]), ""
    return (known.index(name), 0, "") if name in METHODS else (len(known), 0, name)


def _given(runs: Sequence[Run]) -> list[str]:
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
    values = {_text(run, key) for run in runs}
    if len({_short(value) for value in values}) == len(values):  # else the digits tell them apart
        values = set()
    ordered = sorted(runs, key=lambda run: _in_order(run.config.get(key)))
    return [
        replace(run, method=printable(f"{name} {text if text in values else _short(text)}"))
        for run in ordered
        for text in [_text(run, key)]
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


def compare(runs: Sequence[Run], allow: Sequence[str] = (), by: str | None = None) -> Comparison:
    """Group runs by method, and take the differences between the groups.

    Runs of two groups are paired by seed, and the differences of the pairs have 95 % intervals, see
    :func:`~gain_lightning.studies.intervals.difference_interval`: over seeds and images where ``per_image.csv`` holds
    what the metric needs, over seeds for other metrics (seed mIoU of maps), over images where there is one seed.
    Without equal seeds on both sides there is no interval: groups of unequal size are most often unfinished.

    Args:
        runs: Finished runs.
        allow: Keys that may differ although they decide what is measured.
        by: Key of the config to group by, in place of the method; it may differ.

    Returns:
        The comparison.

    Raises:
        RunError: If the runs are not comparable.
    """
    notes = check_comparable(runs, allow, by)
    runs = by_budget(runs) if by is None else by_key(runs, by)
    names = sorted({*METHODS, *(run.method for run in runs)}, key=_place) if by is None else _given(runs)
    by_name = {name: [run for run in runs if run.method == name] for name in names}
    groups = [Group(name, members, _statistics(members)) for name, members in by_name.items() if members]
    config, config_notes = config_differences(groups)
    others = [other for other, _ in config if by is not None and other != by.replace(".init_args.", ".")]
    if others:
        config_notes.append(
            f"The groups differ in {', '.join(others)} too: a difference may come from there."
        )
    tables = [read_pixels(run.path) if run.segments else read_images(run.path) for run in runs]
    scored_set = _scored_set(tables)
    resampled, image_notes = _resample(runs, tables)
    differences = []
    for a, b in combinations(groups, 2):
        pairs = _pair_by_seed(a, b)
        if not pairs:
            seeds = " and ".join(", ".join(str(run.seed) for run in group.runs) for group in (a, b))
            image_notes.append(
                f"{method_name(a.name)} and {method_name(b.name)} cannot be paired by seed, for they "
                f"have different ones or one twice ({seeds}): no intervals."
            )
        differences += _group_differences(a, b, pairs, resampled)
    notes += _repetitions(groups) + _below_centre(groups) + _zero_maps(groups)
    if scored_set != "test":
        notes.append(
            f"There is no test set: all scores are those of {scored_set}, where settings may have been chosen."
        )
    commits = dict.fromkeys(str(run.summary.get("git_commit")) for run in runs)
    if len(commits) > 1:
        notes.append(f"The runs come from different commits: {', '.join(commits)}.")
    notes = [printable(note) for note in notes + config_notes + image_notes]
    return Comparison(groups, differences, config, notes, scored_set)


def _scored_set(tables: Sequence[dict[str, ImageTable] | PixelTable | None]) -> str:
    """What the data call the set that the runs are scored on; ``test`` where no run says it."""
    names = [
        table.set_name if isinstance(table, PixelTable) else bootstrap.main_set_first(table)[0]
        for table in tables
        if table
    ]
    return " and ".join(dict.fromkeys(names)) or "test"


def _below_centre(groups: Sequence[Group]) -> list[str]:
    """A note for every method whose maps do no better than one that looks at the centre of every image."""
    notes = []
    for group in groups:
        centre = {key: group.metrics.get(key.replace("test/", "center/", 1)) for key in metric_order([group])}
        lost = [
            f"{METRICS.get(key, key)} ({100 * group.metrics[key].mean:.1f}, the centre {100 * stat.mean:.1f})"
            for key, stat in centre.items()
            if stat is not None and is_score(key) and group.metrics[key].mean <= stat.mean
        ]
        if lost:
            notes.append(
                f"The maps of {method_name(group.name)} do no better than a Gaussian at the centre of every image, "
                f"which has seen nothing, in {', '.join(lost)}."
            )
    return notes


def _zero_maps(groups: Sequence[Group]) -> list[str]:
    """A note for every method many of whose maps show nothing: what its seed mIoU then is of."""
    shares = [(group, group.metrics.get("test/zero_maps")) for group in groups]
    return [
        f"{100 * share.mean:.0f} % of the maps of {method_name(group.name)} are zero everywhere: its seed mIoU is then "
        "of the background alone, which is nearly right where objects are small."
        for group, share in shares
        if share is not None and share.mean > _MANY_ZERO
    ]


def check_comparable(runs: Sequence[Run], allow: Sequence[str] = (), by: str | None = None) -> list[str]:
    """Refuse runs that do not measure the same thing.

    Args:
        runs: Finished runs.
        allow: Keys that may differ.
        by: The key that the runs are grouped by, which may differ.

    Returns:
        A note on every key that was allowed to differ and does.

    Raises:
        RunError: If another key differs, or ``allow`` names a key that is not compared.
    """
    keys = dict.fromkeys(key for run in runs for key in run.config if key.startswith("data."))
    # what may differ of a classifier's data may of the images that SEC is trained on, too
    names = {key: key.removeprefix("data.").removeprefix("images.").split(".")[0] for key in keys}
    keys = [*(key for key in keys if names[key] not in _FREE_DATA), *_FIXED]
    allowed = {key.replace(".init_args.", ".") for key in allow}
    if unknown := allowed.difference(keys):
        raise RunError(f"--allow {min(unknown)}: no such key is compared, expected one of {', '.join(keys)}")
    refused, notes = [], []
    for key in keys:
        paths: dict[str, list[str]] = {}
        for run in runs:
            paths.setdefault(_text(run, key), []).append(run.path)
        if by is not None and key == by.replace(".init_args.", "."):
            continue
        if len(paths) > 1 and key in allowed:
            values = "; ".join(f"{value} in {', '.join(p)}" for value, p in paths.items())
            notes.append(f"Allowed to differ: {key} is {values}.")
        elif len(paths) > 1:
            refused.append(f"  {key}\n" + "\n".join(f"    {v}: {', '.join(p)}" for v, p in paths.items()))
    if refused:
        raise RunError(
            "the runs are not comparable, these keys differ:\n" + "\n".join(refused) + "\n"
            "Expected equal values; --allow KEY compares nevertheless, and the report says so."
        )
    return notes


def config_differences(groups: Sequence[Group]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Keys whose values differ, with each group's values, and a note on those that differ within a group."""
    runs = [run for group in groups for run in group.runs]
    rows, mixed = [], []
    for key in dict.fromkeys(key for run in runs for key in run.config):
        values = [list(dict.fromkeys(_text(run, key) for run in group.runs)) for group in groups]
        if key.startswith(_IGNORED) or len({text for texts in values for text in texts}) < 2:
            continue
        rows.append((printable(key), [printable(", ".join(texts)) for texts in values]))
        settings = [{_setting(run, key) for run in group.runs} for group in groups]
        mixed += [f"{key} ({groups[i].name})" for i, texts in enumerate(settings) if len(texts) > 1]
    note = f"Runs of one method differ in {', '.join(mixed)}: their means mix settings."
    return rows, [note] if mixed else []


def _setting(run: Run, key: str) -> str:
    """A value as text; of cues that a run of ours made, and of the run that SEC starts from, only that they are so."""
    text = _text(run, key)
    is_of_run = (key == "data.cues" and run.method != "sec_cues") or (
        key == "model.weights" and Path(text).parent.name == "checkpoints"
    )
    return "of a run" if is_of_run and run.segments else text


def _repetitions(groups: Sequence[Group]) -> list[str]:
    """Notes on runs of one seed and equal settings: they should agree."""
    notes = []
    for group in groups:
        for a, b in combinations(group.runs, 2):
            keys = [key for key in {*a.config, *b.config} if not key.startswith(_IGNORED)]
            if a.seed is None or a.seed != b.seed or any(_text(a, key) != _text(b, key) for key in keys):
                continue
            shared = [key for key in metric_order([group]) if key in a.metrics and key in b.metrics]
            if not shared:
                continue
            gaps = {key: abs(a.metrics[key] - b.metrics[key]) for key in shared}
            widest = max(gaps, key=gaps.__getitem__)
            found = (
                f"{widest} differs by {gaps[widest]:.4f}" if gaps[widest] else "no difference in any score"
            )
            notes.append(f"{a.path} and {b.path} have equal settings and seed: {found}.")
    return notes


def _text(run: Run, key: str) -> str:
    """A config value as text, without the run's own folder."""
    value, folder = run.config.get(key), run.config.get("run_dir")
    # W&B writes 1.0 as 1; but of these 1 is one, and 1.0 all
    is_share = key.rpartition(".")[2].startswith(("mask_budget", "limit_", "val_check_interval"))
    text = str(int(value) if isinstance(value, float) and value.is_integer() and not is_share else value)
    return text.replace(folder, "RUN_DIR") if isinstance(folder, str) and os.path.dirname(folder) else text


def _statistics(runs: Sequence[Run]) -> dict[str, Stat]:
    stats = {}
    for key in dict.fromkeys(key for run in runs for key in run.metrics):
        values = [run.metrics[key] for run in runs if key in run.metrics]
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        stats[key] = Stat(float(np.mean(values)), std, len(values))
    return stats


def _resample(
    runs: Sequence[Run], tables: Sequence[dict[str, ImageTable] | PixelTable | None]
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Resampled scores by run and metric, where they agree with what the run says; notes on the others."""
    segmented = all(run.segments for run in runs)
    missing = [run.path for run, table in zip(runs, tables, strict=True) if not table]
    if missing:
        return {}, [f"No per_image.csv in {', '.join(missing)}: no intervals over images."]
    contents = [_content(table) for table in tables]
    odd = [run.path for run, content in zip(runs, contents, strict=True) if content != contents[0]]
    if odd:
        return {}, [
            f"By their per_image.csv, other images or classes were tested in {', '.join(odd)} than in {runs[0].path}: "
            "no intervals over images."
        ]
    judging = judging_of(runs[0])
    if segmented:
        resampled = bootstrap.resampled_miou(tables, judging.scored)
    else:
        resampled = bootstrap.resampled_scores(tables, judging)
    notes = []
    for run, scores in zip(runs, resampled, strict=True):
        for key in scores.keys() & run.metrics.keys():
            if not _agrees(key, run.metrics[key], scores[key][0]):
                notes.append(
                    f"{key} is {run.metrics[key]:.4f} in {run.path}, but its per_image.csv gives "
                    f"{scores[key][0]:.4f}: no interval over images."
                )
                del scores[key]
    return {run.path: scores for run, scores in zip(runs, resampled, strict=True)}, sorted(notes)


def judging_of(run: Run) -> bootstrap.Judging:
    """How a run's images are judged, by its config; comparable runs agree on it."""
    scored, is_single = run.config.get("model.score_classes"), run.config.get("model.task") == "single_label"
    return bootstrap.Judging(
        scored if isinstance(scored, list) else None, run.summary.get("accuracy_class"), is_single
    )


def _content(tables: dict[str, ImageTable] | PixelTable) -> list[tuple]:
    """Which images and classes were tested, by test set."""
    if isinstance(tables, PixelTable):
        return [(tables.ids, tables.class_names)]
    return sorted((name, table.ids, table.class_names) for name, table in tables.items())


def _pair_by_seed(a: Group, b: Group) -> list[tuple[Run, Run]]:
    """Runs of equal seed; none unless both groups have the same seeds, each once."""
    runs_a, runs_b = ({run.seed: run for run in group.runs} for group in (a, b))
    complete = len(runs_a) == len(a.runs) and len(runs_b) == len(b.runs) and None not in runs_a
    if not complete or runs_a.keys() != runs_b.keys():
        return []
    return [(run, runs_b[seed]) for seed, run in runs_a.items()]


def _group_differences(
    a: Group, b: Group, pairs: Sequence[tuple[Run, Run]], resampled: dict[str, dict[str, np.ndarray]]
) -> Iterator[Difference]:
    for metric in metric_order([a, b]):
        if not (is_score(metric) or is_error(metric)):
            continue
        if metric not in a.metrics or metric not in b.metrics:
            continue
        runs = [run for pair in pairs for run in pair]
        delta = b.metrics[metric].mean - a.metrics[metric].mean
        interval = None
        if runs and all(metric in run.metrics for run in runs):
            has_images = all(metric in resampled.get(run.path, ()) for run in runs)
            scores = {
                run.path: resampled[run.path][metric] if has_images else np.array([run.metrics[metric]])
                for run in runs
            }
            deltas = np.array([scores[y.path] - scores[x.path] for x, y in pairs])
            # Of the scores that the interval is of: those of older runs were rounded on their way into the file.
            delta = float(deltas[:, 0].mean())
            interval = difference_interval(deltas)
        ci95, over = (interval[:2], interval.over) if interval else (None, "")
        yield Difference(metric, a.name, b.name, delta, ci95, over)


def metric_order(groups: Sequence[Group]) -> list[str]:
    """Test metrics that some group has, in the order of the tables; the share of zero maps where there are any."""
    found = dict.fromkeys(key for group in groups for key in group.metrics if key.startswith("test/"))
    if not any(group.metrics["test/zero_maps"].mean for group in groups if "test/zero_maps" in group.metrics):
        found.pop("test/zero_maps", None)
    further = [key for key in found if key not in METRICS]
    return [key for key in METRICS if key in found] + sorted(further, key="test/biased_accuracy".__eq__)


def _agrees(metric: str, said: float, found: float) -> bool:
    """Whether a run's score is what its ``per_image.csv`` gives."""
    return abs(found - said) <= _TOLERANCE * (abs(said) if is_error(metric) else 1)


def is_score(metric: str) -> bool:
    """Whether a metric is a fraction of 1 of which more is better: not an error, a threshold, a share or a loss."""
    name = metric.split("/")[-1]
    return not is_error(metric) and name != "zero_maps" and not name.startswith(("loss", "seed_threshold"))


def is_error(metric: str) -> bool:
    """Whether a metric is an error in the labels' unit, of which less is better."""
    name = metric.split("/")[-1]
    return name == "mae" or name.endswith("_mae")
