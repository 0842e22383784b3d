"""Group finished runs by method and take statistics, method against method."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from gain_lightning.runs.groups import read_groups
from gain_lightning.runs.images import ImageTable
from gain_lightning.runs.pixels import PixelTable
from gain_lightning.runs.read import Run
from gain_lightning.scores import FEWEST_IMAGES, score_of
from gain_lightning.studies.comparison import bootstrap
from gain_lightning.studies.comparison.background import resampled_gaps
from gain_lightning.studies.comparison.comparable import (
    check_comparable,
    config_differences,
    read_scored,
    repetitions,
    scored_images,
)
from gain_lightning.studies.comparison.folds import check_folds, fold_of, mean_by_fold, num_folds
from gain_lightning.studies.comparison.groups import (
    METHODS,
    Comparison,
    Difference,
    Group,
    Stat,
    by_budget,
    by_key,
    image_group_order,
    method_title,
    methods_of,
    metric_order,
    sort_key,
)
from gain_lightning.studies.comparison.intervals import Interval, difference_interval, fold_interval
from gain_lightning.studies.comparison.opinions import opinion_notes
from gain_lightning.studies.comparison.resampled_groups import group_sizes, resampled_groups
from gain_lightning.studies.comparison.tables import short_name, show
from gain_lightning.support.messages import printable

# Above this share of zero maps, a note speaks of them.
_MANY_ZERO = 0.2
# A run's score may differ by this much from the one that its per_image.csv gives. The tolerance of a score that is no
# share is relative to the score.
_TOLERANCE = 0.005


def compare(
    runs: Sequence[Run], allow: Sequence[str] = (), by: str | None = None, left_out: Sequence[str] = ()
) -> Comparison:
    """Group runs by method, and take the differences between the groups.

    Runs of two groups are paired by seed, and the differences of the pairs have 95 % intervals, see
    :func:`~gain_lightning.studies.comparison.intervals.difference_interval`: over seeds and images where
    ``per_image.csv`` holds what the metric needs, over seeds for other metrics (seed mIoU of maps), over images where
    there is one seed. Without equal seeds on both sides there is no interval: groups of unequal size are most often
    unfinished. Runs of several folds are paired by seed and fold, and their intervals are over folds, see
    :func:`~gain_lightning.studies.comparison.intervals.fold_interval`.

    Args:
        runs: Finished runs.
        allow: Keys that may differ although they decide what is measured.
        by: Key of the config to group by, in place of the method; it may differ.
        left_out: A line for each run that is not among ``runs``, with the reason. The notes begin with them.

    Returns:
        The comparison.

    Raises:
        RunError: If the runs are not comparable.
    """
    notes = [f"Left out: {reason}." for reason in left_out] + check_comparable(runs, allow, by)
    runs = by_budget(runs) if by is None else by_key(runs, by)
    names = (
        sorted({*METHODS, *(run.method for run in runs)}, key=sort_key) if by is None else methods_of(runs)
    )
    by_name = {name: [run for run in runs if run.method == name] for name in names}
    groups = [Group(name, members, _statistics(members)) for name, members in by_name.items() if members]
    notes += check_folds(groups, allow, by)
    config, config_notes = config_differences(groups)
    others = [other for other, _ in config if by is not None and other != by.replace(".init_args.", ".")]
    if others:
        config_notes.append(
            f"The groups differ in {', '.join(others)} too: a difference may come from there."
        )
    tables = [read_scored(run) for run in runs]
    scored_set = _scored_set(tables)
    # folds are different images
    resampled, image_notes = _resample(runs, tables) if num_folds(runs) is None else ({}, [])
    differences, pair_notes = _all_differences(groups, resampled)
    image_notes += pair_notes
    notes += _truths(runs) + repetitions(groups)
    notes += _below_centre(groups) + _zero_maps(groups) + opinion_notes(groups)
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
    """Return the data's own name for the set that the runs are scored on; ``test`` where no run says it."""
    names = [
        table.set_name if isinstance(table, PixelTable) else bootstrap.main_set_first(table)[0]
        for table in tables
        if table
    ]
    return " and ".join(dict.fromkeys(names)) or "test"


def _truths(runs: Sequence[Run]) -> list[str]:
    """Return a note where masks judge the maps of some runs, and boxes those of others."""
    paths: dict[str, list[str]] = {}
    for run in runs:
        scores = [score_of(key) for key in run.metrics if key.startswith("test/")]
        for truth in {score.truth for score in scores if score.over == "pairs"}:
            paths.setdefault(truth, []).append(run.path)
    if len(paths) < 2:
        return []
    return [
        f"Masks judge the maps of {', '.join(paths['mask'])}, and boxes those of {', '.join(paths['box'])}: no score "
        "of maps is compared between them."
    ]


def _below_centre(groups: Sequence[Group]) -> list[str]:
    """Return a note for every method whose maps do no better than one that looks at the centre of every image."""
    notes = []
    for group in groups:
        centre = {key: group.metrics.get(key.replace("test/", "center/", 1)) for key in metric_order([group])}
        lost = [
            f"{short_name(key)} ({_mean(key, group.metrics[key])}, the centre {_mean(key, stat)})"
            for key, stat in centre.items()
            if stat is not None and _is_no_better(key, group.metrics[key].mean, stat.mean)
        ]
        if lost:
            notes.append(
                f"The maps of {method_title(group.name)} do no better than a Gaussian at the centre of every image, "
                f"which has seen nothing, in {', '.join(lost)}."
            )
    return notes


def _mean(metric: str, stat: Stat) -> str:
    return show(metric, stat._replace(std=None))


def _is_no_better(metric: str, mean: float, other: float) -> bool:
    better = score_of(metric).better
    return better != "neither" and (mean >= other if better == "lower" else mean <= other)


def _zero_maps(groups: Sequence[Group]) -> list[str]:
    """Return a note for every method many of whose maps show nothing; it says what its seed mIoU then measures."""
    shares = [(group, group.metrics.get("test/zero_maps")) for group in groups]
    seeds = short_name("seed_miou")
    return [
        f"{100 * share.mean:.0f} % of the maps of {method_title(group.name)} are zero everywhere: its {seeds} is then "
        "of the background alone, which is nearly right where objects are small."
        for group, share in shares
        if share is not None and share.mean > _MANY_ZERO
    ]


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
    """Return the resampled scores by run and metric, where there are any; notes on the others."""
    scores, notes = _resample_tested(runs, tables)
    gaps, gap_notes = resampled_gaps(runs)
    return {run.path: scores.get(run.path, {}) | gaps.get(run.path, {}) for run in runs}, notes + gap_notes


def _resample_tested(
    runs: Sequence[Run], tables: Sequence[dict[str, ImageTable] | PixelTable | None]
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Return the resampled scores of the tests, where they agree with the run's own; notes on the others."""
    missing = [run.path for run, table in zip(runs, tables, strict=True) if not table]
    if missing:
        return {}, [f"No per_image.csv in {', '.join(missing)}: no intervals over images."]
    contents = [scored_images(table) for table in tables if table]
    odd = [run.path for run, content in zip(runs, contents, strict=True) if content != contents[0]]
    if odd:
        return {}, [
            f"By their per_image.csv, other images or classes were tested in {', '.join(odd)} than in {runs[0].path}: "
            "no intervals over images."
        ]
    rule = decision_rule_of(runs[0])
    pixels = [table for table in tables if isinstance(table, PixelTable)]
    images = [table for table in tables if isinstance(table, dict)]
    resampled = (
        bootstrap.resampled_miou(pixels, rule.scored) if pixels else bootstrap.resampled_scores(images, rule)
    )
    notes = []
    if not pixels:
        notes = _add_groups(runs, images, rule, resampled)
    for run, scores in zip(runs, resampled, strict=True):
        for key in scores.keys() & run.metrics.keys():
            if not _agrees(key, run.metrics[key], scores[key][0]):
                notes.append(
                    f"{key} is {run.metrics[key]:.4f} in {run.path}, but its per_image.csv gives "
                    f"{scores[key][0]:.4f}: no interval over images."
                )
                del scores[key]
    return {run.path: scores for run, scores in zip(runs, resampled, strict=True)}, sorted(notes)


def _add_groups(
    runs: Sequence[Run],
    images: Sequence[dict[str, ImageTable]],
    rule: bootstrap.DecisionRule,
    resampled: list[dict[str, np.ndarray]],
) -> list[str]:
    """Add the resampled scores of groups of images where all runs have the same; return notes on groups."""
    tables = [sets[bootstrap.main_set_first(sets)[0]] for sets in images]
    sizes = group_sizes(tables[0])
    of_images = [table.groups for table in tables if table.groups is not None]
    if not sizes or len(of_images) < len(tables):
        return []
    same = [np.array_equal(groups, of_images[0]) for groups in of_images]
    odd = [run.path for run, is_same in zip(runs, same, strict=True) if not is_same]
    if odd:
        return [
            f"By their per_image.csv, images are in other groups in {', '.join(odd)} than in {runs[0].path}: no "
            "intervals of groups over images."
        ]
    table = read_groups(runs[0].path)
    of_groups = resampled_groups(tables, rule, table.of("num_train") if table else {})
    for scores, found in zip(resampled, of_groups, strict=True):
        scores.update(found)
    few = [f"{name} ({size})" for name, size in sizes.items() if size < FEWEST_IMAGES]
    return [
        f"Groups with fewer than {FEWEST_IMAGES} images are left out of the worst group: {', '.join(few)}."
    ] * bool(few)


def decision_rule_of(run: Run) -> bootstrap.DecisionRule:
    """Return the rule by which a run's images are judged, from its config; comparable runs agree on it."""
    scored, is_single = run.config.get("model.score_classes"), run.config.get("model.task") == "single_label"
    return bootstrap.DecisionRule(
        scored if isinstance(scored, list) else None, run.summary.get("accuracy_class"), is_single
    )


def _all_differences(
    groups: Sequence[Group], resampled: dict[str, dict[str, np.ndarray]]
) -> tuple[list[Difference], list[str]]:
    """Return the differences of every pair of groups, and a note on each pair whose runs have no partners."""
    differences: list[Difference] = []
    notes = []
    for a, b in combinations(groups, 2):
        pairs = _pair_by_seed(a, b)
        if not pairs:
            seeds = " and ".join(", ".join(str(run.seed) for run in group.runs) for group in (a, b))
            notes.append(
                f"{method_title(a.name)} and {method_title(b.name)} cannot be paired by seed, for they "
                f"have different ones or one twice ({seeds}): no intervals."
            )
        differences += _group_differences(a, b, pairs, resampled)
    return differences, notes


def _pair_by_seed(a: Group, b: Group) -> list[tuple[Run, Run]]:
    """Return pairs of runs with equal seeds, of one fold; none unless both groups have the same, each once."""
    runs_a, runs_b = ({(run.seed, fold_of(run)): run for run in group.runs} for group in (a, b))
    complete = len(runs_a) == len(a.runs) and len(runs_b) == len(b.runs)
    if not complete or None in {run.seed for run in a.runs} or runs_a.keys() != runs_b.keys():
        return []
    return [(run, runs_b[key]) for key, run in runs_a.items()]


def _group_differences(
    a: Group, b: Group, pairs: Sequence[tuple[Run, Run]], resampled: dict[str, dict[str, np.ndarray]]
) -> Iterator[Difference]:
    for metric in [*metric_order([a, b]), *image_group_order([a, b])]:
        if score_of(metric).better == "neither":
            continue
        if metric not in a.metrics or metric not in b.metrics:
            continue
        runs = [run for pair in pairs for run in pair]
        delta = b.metrics[metric].mean - a.metrics[metric].mean
        interval = None
        if runs and all(metric in run.metrics for run in runs):
            # The difference is taken of the same scores as the interval, because older runs rounded the scores in
            # their summaries.
            delta, interval = _with_interval(metric, pairs, resampled)
        ci95, over = (interval[:2], interval.over) if interval else (None, "")
        yield Difference(metric, a.name, b.name, delta, ci95, over)


def _with_interval(
    metric: str, pairs: Sequence[tuple[Run, Run]], resampled: dict[str, dict[str, np.ndarray]]
) -> tuple[float, Interval | None]:
    """Return the mean difference of one metric that all runs have, and its interval."""
    runs = [run for pair in pairs for run in pair]
    has_images = all(metric in resampled.get(run.path, ()) for run in runs)
    scores = {
        run.path: resampled[run.path][metric] if has_images else np.array([run.metrics[metric]])
        for run in runs
    }
    deltas = np.array([scores[y.path] - scores[x.path] for x, y in pairs])
    if (number := num_folds(runs)) is not None:
        of_folds = mean_by_fold(pairs, deltas[:, 0])
        return float(of_folds.mean()), fold_interval(of_folds, number)
    return float(deltas[:, 0].mean()), difference_interval(deltas)


def _agrees(metric: str, said: float, found: float) -> bool:
    """Return whether a run's score is the one that its ``per_image.csv`` gives."""
    return abs(found - said) <= _TOLERANCE * (1 if score_of(metric).unit == "share" else abs(said))
