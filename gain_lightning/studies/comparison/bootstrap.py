"""How far a score depends on which images were drawn for the test: a paired bootstrap from ``per_image.csv``.

One set of resamples serves every run, so that the difference of two runs is taken on the same images.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gain_lightning.runs.images import ImageTable
from gain_lightning.runs.pixels import PixelTable
from gain_lightning.scores import pair_scores

RESAMPLES = 2000
_AT_ONCE = 4_000_000  # counts in memory: how often each image was drawn, in some resamples


class Judging(NamedTuple):
    """How images are judged: which classes count in every score, and what makes an image's decision right.

    Attributes:
        scored: Names of the classes that count, or None for all.
        accuracy_class: The one class whose decision makes an image right, or None for all that count.
        single_label: The highest score decides, instead of every score above 0.5.
    """

    scored: list[str] | None = None
    accuracy_class: str | None = None
    single_label: bool = False

    def columns(self, class_names: Sequence[str]) -> list[int]:
        """Places of the classes that count.

        Example:
            >>> Judging(scored=["cow", "car"]).columns(["boat", "car", "cow"])
            [1, 2]
        """
        return [place for place, name in enumerate(class_names) if self.scored is None or name in self.scored]


def average_precision(score: np.ndarray, present: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average precision of one class for images that count several times or not at all.

    Sum over recall steps of (recall gained) x (precision there); equal scores make one step.

    Args:
        score: Of the N images, shape ``(N,)``.
        present: Where the class is present, shape ``(N,)`` bool.
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
    # a sum over resamples an image: numpy's own running sums over images are several times slower
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


def image_scores(table: ImageTable, weight: np.ndarray, judging: Judging) -> dict[str, np.ndarray]:
    """The scores over images and pairs of the main test set.

    Args:
        table: Of N images and C classes.
        weight: How often each image counts, ``(R, N)``.
        judging: Names the classes that count.

    Returns:
        Of the classes that count: ``test/mean_ap``, the mean over classes; ``test/mae``, where amounts are known; and
        every score of :func:`gain_lightning.scores.pair_scores`, such as ``test/energy``, over judged pairs or over
        classes of each class's mean; each ``(R,)``, nan where nothing can be judged.
    """
    classes = judging.columns(table.class_names)
    precisions = [average_precision(table.rank[:, i], table.present[:, i], weight) for i in classes]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "test/mean_ap": _nanmean(np.stack(precisions, 1)) if classes else np.full(len(weight), np.nan),
            "test/mae": weight @ absolute_error(table, judging) / weight.sum(1),
            **{
                f"test/{score.key}": _pair_mean(table.of_pairs[score.key][:, classes], weight, score.mean)
                for score in pair_scores()
            },
        }


def _pair_mean(values: np.ndarray, weight: np.ndarray, mean: str) -> np.ndarray:
    """Mean of values ``(N, C)`` that are there, every ``pair`` the same, or every ``class``; ``(R,)``."""
    total, count = np.nan_to_num(values), ~np.isnan(values)
    if mean == "pair":
        return (weight @ total.sum(1)) / (weight @ count.sum(1))
    return _nanmean((weight @ total) / (weight @ count))


def absolute_error(table: ImageTable, judging: Judging) -> np.ndarray:
    """Each image's absolute error, mean over the classes that count, ``(N,)``; nan where amounts are not known."""
    return np.abs(table.score - table.amount)[:, judging.columns(table.class_names)].mean(1)


def is_correct(table: ImageTable, judging: Judging) -> np.ndarray:
    """Whether each image's decision is right, ``(N,)`` bool."""
    if judging.single_label:
        return table.score.argmax(1) == table.present.argmax(1)
    right = (table.score > 0.5) == table.present
    if judging.accuracy_class in table.class_names:
        return right[:, table.class_names.index(judging.accuracy_class)]
    return right[:, judging.columns(table.class_names)].all(1)


def resampled_scores(
    runs: Sequence[dict[str, ImageTable]], judging: Judging, resamples: int = RESAMPLES
) -> list[dict[str, np.ndarray]]:
    """Every run's scores on the whole sets, then on resampled ones, the same images for all runs.

    Each test set is resampled on its own. The accuracy of the main one is ``test/accuracy``, that of a further
    one ``test/<name>``; ``test/biased_accuracy`` is the mean of the further ones.

    Args:
        runs: Test sets of each run, with equal names, ids and classes.
        judging: How decisions are judged.
        resamples: R, how many times the images are drawn.

    Returns:
        Scores of each run, ``(1 + R,)``: first the score itself.
    """
    main, *further = main_set_first(runs[0])
    scores: list[dict[str, np.ndarray]] = [{} for _ in runs]
    for seed, name in enumerate([main, *further]):
        parts: list[list[dict[str, np.ndarray]]] = [[] for _ in runs]
        for weight in _draws(len(runs[0][name].ids), resamples, seed):
            for part, tables in zip(parts, runs, strict=True):
                correct = is_correct(tables[name], judging)
                key = "test/accuracy" if name == main else f"test/{name}"
                values = (
                    image_scores(tables[name], weight, judging)
                    if name == main
                    else {f"{key}_mae": weight @ absolute_error(tables[name], judging) / weight.sum(1)}
                )
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
    """Every run's mean IoU, of all pixels of the images at once, on the whole set, then on resampled ones.

    Args:
        tables: Of the runs, with equal ids and classes.
        scored: Names of the classes that the mean runs over beside the background, as far as the masks of the images
            drawn show them; None takes all.
        resamples: R, how many times the images are drawn.

    Returns:
        ``test/miou`` and, where a table has it, ``test/miou_crf`` of each run, ``(1 + R,)``: first the score itself.

    Example:
        >>> pixels = np.array([[[4], [4]], [[4], [4]], [[4], [2]]])  # IoU 1 of the first image, 2 / 6 of the second
        >>> table = PixelTable(["a", "b"], ["background"], {"miou": pixels})
        >>> resampled_miou([table], resamples=1)[0]["test/miou"][0]  # (4 + 2) / (4 + 6)
        np.float64(0.6)
    """
    first = tables[0]
    judging = Judging(scored if scored is None else ["background", *scored])
    columns = judging.columns(first.class_names)
    scores: list[dict[str, list[np.ndarray]]] = [{} for _ in tables]
    for weight in _draws(len(first.ids), resamples, 0):
        for score, table in zip(scores, tables, strict=True):
            for key, pixels in table.pixels.items():
                true, found, right = weight @ pixels[:, :, columns]
                with np.errstate(invalid="ignore"):
                    iou = np.where(true > 0, right / (true + found - right), np.nan)
                    score.setdefault(f"test/{key}", []).append(_nanmean(iou))
    return [{key: np.concatenate(chunks) for key, chunks in score.items()} for score in scores]


def main_set_first(tables: dict[str, ImageTable]) -> list[str]:
    """Names of the test sets, the one that all scores are taken on first."""
    return sorted(tables, key=lambda name: name != "test")


def _draws(num_images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights ``(R, N)``, a few resamples at a time: of the first part the first row is all images once."""
    rng = np.random.default_rng(seed)
    whole = np.ones((1, num_images))
    step = max(1, _AT_ONCE // num_images)
    for start in range(0, max(resamples, 1), step):
        count = min(step, resamples - start)
        drawn = rng.multinomial(num_images, np.full(num_images, 1 / num_images), count)
        rows = [drawn] if start else [whole, drawn]
        yield np.asfortranarray(np.concatenate(rows), float)  # the resamples of an image side by side


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over axis 1 of what is not nan; nan where all are."""
    return np.nansum(values, 1) / (~np.isnan(values)).sum(1)
