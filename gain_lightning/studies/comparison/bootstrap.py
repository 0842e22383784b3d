"""A paired bootstrap over test images, from ``per_image.csv``: it shows how far a score depends on their draw.

One set of resamples serves every run, so that the difference of two runs is taken on the same images.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gain_lightning.runs.images import ImageTable
from gain_lightning.runs.pixels import PixelTable
from gain_lightning.scores import FEWEST_IMAGES, pair_scores

RESAMPLES = 2000
# Resamples are drawn in parts, so that no more than this many counts are in memory. A count says how often one
# image was drawn in one resample.
_AT_ONCE = 4_000_000


class DecisionRule(NamedTuple):
    """The rule by which images are judged: the classes that count in every score, and when a decision is right.

    Attributes:
        scored: Names of the classes that count, or None for all.
        accuracy_class: The one class whose decision makes an image right, or None for all that count.
        single_label: Whether the highest score decides, instead of every score above 0.5.
    """

    scored: list[str] | None = None
    accuracy_class: str | None = None
    single_label: bool = False

    def columns(self, class_names: Sequence[str]) -> list[int]:
        """Return the places of the classes that count.

        Example:
            >>> DecisionRule(scored=["cow", "car"]).columns(["boat", "car", "cow"])
            [1, 2]
        """
        return [place for place, name in enumerate(class_names) if self.scored is None or name in self.scored]


def average_precision(score: np.ndarray, present: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the average precision of one class, where images count several times or not at all.

    It is the sum over recall steps of (recall gained) x (precision there). Equal scores make one step.

    Args:
        score: Score of every image, shape ``(N,)``.
        present: Whether the class is present in an image, shape ``(N,)`` bool.
        weight: How often each image counts, in R resamples, shape ``(R, N)``.

    Returns:
        Shape ``(R,)``; nan where no image has the class.

    Example:
        >>> score, present = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
        >>> average_precision(score, present, np.array([[1, 1, 1], [1, 0, 2]])).round(3)
        array([0.833, 1.   ])
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends_step = np.append(ranked[1:] != ranked[:-1], True)
    drawn, recalled, before, area = np.zeros((4, len(weight)))
    gains = False
    # The loop adds one image at a time to all resamples: numpy's running sums over images are several times slower.
    for times, is_present, is_last in zip(weight.T[order], present[order], ends_step, strict=True):
        drawn += times
        if is_present:
            recalled += times
            gains = True
        if is_last and gains:
            area += (recalled - before) * recalled / np.maximum(drawn, 1)
            before[:] = recalled
            gains = False
    with np.errstate(invalid="ignore"):
        return area / recalled


def image_scores(table: ImageTable, weight: np.ndarray, rule: DecisionRule) -> dict[str, np.ndarray]:
    """Return the scores over images and pairs of the main test set.

    Args:
        table: The scores of N images and C classes.
        weight: How often each image counts, ``(R, N)``.
        rule: It names the classes that count.

    Returns:
        Scores over the classes that count, each ``(R,)``, nan where nothing can be judged: ``test/mean_ap``, the mean
        over classes, and ``test/worst_class_ap``; ``test/mae``, where amounts are known; and every score of
        :func:`gain_lightning.scores.pair_scores`, such as ``test/energy``. The latter are means over the judged pairs
        or means over classes of each class's mean.
    """
    classes = rule.columns(table.class_names)
    precisions = [average_precision(table.rank[:, i], table.present[:, i], weight) for i in classes]
    ap = np.stack(precisions, 1) if classes else np.full((len(weight), 1), np.nan)
    shown = table.present[:, classes].sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "test/mean_ap": _nanmean(ap),
            "test/worst_class_ap": _least(ap[:, : len(shown)], shown),
            "test/mae": weight @ absolute_error(table, rule) / weight.sum(1),
            **{
                f"test/{score.key}": _pair_mean(table.of_pairs[score.key][:, classes], weight, score.mean)
                for score in pair_scores()
                if score.key in table.of_pairs
            },
        }


def _pair_mean(values: np.ndarray, weight: np.ndarray, mean: str) -> np.ndarray:
    """Return the mean of the values ``(N, C)`` that are not nan, ``(R,)``.

    Every ``pair`` or every ``class`` has the same weight in it, as ``mean`` says.
    """
    total, count = np.nan_to_num(values), ~np.isnan(values)
    if mean == "pair":
        over_pairs: np.ndarray = (weight @ total.sum(1)) / (weight @ count.sum(1))
        return over_pairs
    return _nanmean((weight @ total) / (weight @ count))


def absolute_error(table: ImageTable, rule: DecisionRule) -> np.ndarray:
    """Return each image's mean absolute error over the classes that count, ``(N,)``; nan for unknown amounts."""
    error: np.ndarray = np.abs(table.score - table.amount)[:, rule.columns(table.class_names)].mean(1)
    return error


def is_correct(table: ImageTable, rule: DecisionRule) -> np.ndarray:
    """Return whether each image's decision is right, ``(N,)`` bool."""
    decided = (table.score > 0.5) == table.present
    right: np.ndarray
    if rule.single_label:
        right = table.score.argmax(1) == table.present.argmax(1)
    elif rule.accuracy_class in table.class_names:
        right = decided[:, table.class_names.index(rule.accuracy_class)]
    else:
        right = decided[:, rule.columns(table.class_names)].all(1)
    return right


def resampled_scores(
    runs: Sequence[dict[str, ImageTable]], rule: DecisionRule, resamples: int = RESAMPLES
) -> list[dict[str, np.ndarray]]:
    """Return every run's scores on the whole sets and on resampled ones, with the same images for all runs.

    Each test set is resampled on its own. The accuracy of the main one is ``test/accuracy``, that of a further
    one ``test/<name>``; ``test/biased_accuracy`` is the mean of the further ones.

    Args:
        runs: The test sets of each run, with equal names, ids and classes.
        rule: It says which decisions are right.
        resamples: R, how many times the images are drawn.

    Returns:
        The scores of each run, ``(1 + R,)``: the score itself, then those of the resamples.
    """
    main, *further = main_set_first(runs[0])
    scores: list[dict[str, np.ndarray]] = [{} for _ in runs]
    for seed, name in enumerate([main, *further]):
        parts: list[list[dict[str, np.ndarray]]] = [[] for _ in runs]
        for weight in draws(len(runs[0][name].ids), resamples, seed):
            for part, tables in zip(parts, runs, strict=True):
                correct = is_correct(tables[name], rule)
                key = "test/accuracy" if name == main else f"test/{name}"
                values = (
                    image_scores(tables[name], weight, rule)
                    if name == main
                    else {f"{key}_mae": weight @ absolute_error(tables[name], rule) / weight.sum(1)}
                )
                if name == main:
                    values["test/worst_class"] = _worst_class(tables[name], weight, correct, rule)
                part.append({**values, key: weight @ correct / weight.sum(1)})
        for score, part in zip(scores, parts, strict=True):
            score.update({key: np.concatenate([chunk[key] for chunk in part]) for key in part[0]})
    if further:
        for score in scores:
            score["test/biased_accuracy"] = np.mean([score[f"test/{name}"] for name in further], 0)
    return scores


def resampled_miou(
    tables: Sequence[PixelTable], scored: list[str] | None = None, resamples: int = RESAMPLES
) -> list[dict[str, np.ndarray]]:
    """Return every run's mean IoU on the whole set and on resampled ones; the pixels of all images count together.

    Args:
        tables: The pixel counts of the runs, with equal ids and classes.
        scored: Names of the classes that the mean runs over beside the background, as far as the masks of the images
            drawn show them; None takes all.
        resamples: R, how many times the images are drawn.

    Returns:
        ``test/miou`` and, where a table has it, ``test/miou_crf`` of each run, ``(1 + R,)``: the score itself, then
        those of the resamples.

    Example:
        >>> pixels = np.array([[[4], [4]], [[4], [4]], [[4], [2]]])  # IoU 1 of the first image, 2 / 6 of the second
        >>> table = PixelTable(["a", "b"], ["background"], {"miou": pixels})
        >>> resampled_miou([table], resamples=1)[0]["test/miou"][0]  # (4 + 2) / (4 + 6)
        np.float64(0.6)
    """
    first = tables[0]
    rule = DecisionRule(scored if scored is None else ["background", *scored])
    columns = rule.columns(first.class_names)
    scores: list[dict[str, list[np.ndarray]]] = [{} for _ in tables]
    for weight in draws(len(first.ids), resamples, 0):
        for score, table in zip(scores, tables, strict=True):
            for key, pixels in table.pixels.items():
                true, found, right = weight @ pixels[:, :, columns]
                with np.errstate(invalid="ignore"):
                    iou = np.where(true > 0, right / (true + found - right), np.nan)
                    score.setdefault(f"test/{key}", []).append(_nanmean(iou))
    return [{key: np.concatenate(chunks) for key, chunks in score.items()} for score in scores]


def main_set_first(tables: dict[str, ImageTable]) -> list[str]:
    """Return the names of the test sets; the main one, on which all scores are taken, is the first."""
    return sorted(tables, key=lambda name: name != "test")


def draws(num_images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield weights ``(R, N)``, a few resamples at a time; in the very first row every image counts once."""
    rng = np.random.default_rng(seed)
    whole = np.ones((1, num_images))
    step = max(1, _AT_ONCE // num_images)
    for start in range(0, max(resamples, 1), step):
        count = min(step, resamples - start)
        drawn = rng.multinomial(num_images, np.full(num_images, 1 / num_images), count)
        rows = [drawn] if start else [whole, drawn]
        # Fortran's order lays the resamples of an image side by side, as `average_precision` reads them.
        yield np.asfortranarray(np.concatenate(rows), float)


def _worst_class(
    table: ImageTable, weight: np.ndarray, correct: np.ndarray, rule: DecisionRule
) -> np.ndarray:
    """Return the accuracy on the images of the class on which it is lowest, ``(R,)``."""
    present = table.present[:, rule.columns(table.class_names)]
    with np.errstate(invalid="ignore"):
        return _least(weight @ (present & correct[:, None]) / (weight @ present), present.sum(0))


def _least(values: np.ndarray, num_images: np.ndarray) -> np.ndarray:
    """Return the least value of a class that has enough images, ``(R,)`` of ``(R, C)``; nan where none has."""
    values = values[:, num_images >= FEWEST_IMAGES]
    # a resample may draw no image of a class
    least = np.where(np.isnan(values), np.inf, values).min(1, initial=np.inf)
    return np.where(np.isinf(least), np.nan, least)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Return the mean over axis 1 of the values that are not nan; nan where all are."""
    mean: np.ndarray = np.nansum(values, 1) / (~np.isnan(values)).sum(1)
    return mean
