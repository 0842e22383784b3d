"""Every score once: what it is called, what it means, in which unit it is and which direction is better."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Score:
    """One score of a set of images, as a run writes it and as every table, report and message speaks of it.

    Attributes:
        key: ``energy`` names ``test/energy``, ``val/energy`` and ``center/energy`` in ``summary.json``.
        name: What tables call it.
        meaning: What the report says of it, in a sentence.
        unit: A ``share`` of 1 is shown in percent, an ``amount`` in the labels' unit, a plain ``number``, such as a
            threshold in units of a map, as it is.
        better: The ``higher`` or the ``lower`` value is better; ``neither`` is where it judges nothing, and then no
            differences are taken.
        over: What it is a mean over. ``per_image.csv`` gives a score over ``images`` or ``pairs`` (image, class) for
            any draw of images, and so its interval; one of the whole ``set`` needs the pictures again.
        measure: Function of :mod:`gain_lightning.metrics.maps` that gives it for every pair with a mask, from maps
            before scaling and masks. A score that names one is taken by every classifier, and is a column of
            ``per_image.csv`` and of ``per_class.csv``.
        mean: Every ``pair`` counts the same in such a score, or every ``class``.
        rises, falls: What the report's reading says of a method whose score clearly does; without words the reading
            speaks of it only where it is clearly worse.
        listed: Its column in ``gain runs``, if it has one.
        of_class: Its column in ``per_class.csv``, and what the report says of that where it shows it.
        remark: What stands beside it where a test prints it.
    """

    key: str
    name: str
    meaning: str
    unit: Literal["share", "amount", "number"] = "share"
    better: Literal["higher", "lower", "neither"] = "higher"
    over: Literal["images", "pairs", "set"] = "images"
    measure: str = ""
    mean: Literal["pair", "class"] = "pair"
    rises: str = ""
    falls: str = ""
    listed: str = ""
    of_class: tuple[str, str] = ("", "")
    remark: str = ""


SCORES = (  # in the order of every table
    Score(
        "mean_ap",
        "mAP",
        "Classification: mean over classes of average precision.",
        rises="classifies better",
        falls="classifies worse",
        listed="mAP",
        of_class=("ap", "average precision"),
    ),
    Score(
        "mae",
        "MAE",
        "Regression: mean absolute error, in the labels' unit.",
        unit="amount",
        better="lower",
        rises="errs more",
        falls="errs less",
        listed="MAE",
        of_class=("mae", ""),
    ),
    Score(
        "seed_miou",
        "seed mIoU",
        "Maps cut at 20 % of their maximum: mean IoU over background and classes.",
        over="set",
        rises="outlines the objects better by its maps",
        falls="outlines the objects worse by its maps",
        of_class=("seed_iou", "IoU of the maps cut at 20 % of their maximum"),
    ),
    Score(
        "seed_miou_best",
        "best seed mIoU",
        "The same at the run's best threshold: chosen on the very images it is scored on.",
        over="set",
        listed="best mIoU",
        remark="threshold chosen on these images",
    ),
    Score(
        "seed_threshold_best",
        "best threshold",
        "That threshold, as a fraction of a map's maximum: chosen on the very images it is scored on.",
        unit="number",
        better="neither",
        over="set",
    ),
    Score(
        "energy",
        "energy",
        "Share of a map's sum that lies on its object, mean over (image, class) pairs.",
        over="pairs",
        measure="energy_in_mask",
        rises="puts more of its attention on the objects",
        falls="puts less of its attention on the objects",
    ),
    Score(
        "pointing",
        "pointing",
        "How often a map's maximum lies on its object, mean over classes.",
        over="pairs",
        measure="pointing_hit",
        mean="class",
    ),
    Score(
        "zero_maps",
        "zero maps",
        "Percent of maps that are zero everywhere; of them seed mIoU has the background alone.",
        better="neither",
        over="set",
    ),
    Score(
        "accuracy",
        "accuracy",
        "How often an image's decision is right.",
        rises="decides right more often",
        falls="decides right less often",
    ),
    Score(
        "biased_accuracy",
        "biased accuracy",
        "Mean accuracy over the further test sets, which break the training set's bias.",
        rises="is right more often",
        falls="is right less often",
        listed="biased",
    ),
    Score(
        "miou",
        "mIoU",
        "Segmentations: mean IoU over background and the classes that masks show.",
        rises="segments better",
        falls="segments worse",
        listed="SEC",
        of_class=("iou", "IoU of the segmentation"),
    ),
    Score(
        "miou_crf",
        "mIoU CRF",
        "The same after a dense CRF at the images' own size.",
        rises="segments better with the CRF",
        falls="segments worse with the CRF",
        listed="+CRF",
        of_class=("iou_crf", "IoU of the segmentation with CRF"),
    ),
)

METRICS = {f"test/{score.key}": score.name for score in SCORES if "accuracy" not in score.key}


def pair_scores() -> list[Score]:
    """The scores that are a mean of one value a pair, in the order of the tables."""
    return [score for score in SCORES if score.measure]


def is_score(metric: str) -> bool:
    """Whether a metric is a fraction of 1 of which more is better: not an error, a threshold, a share or a loss."""
    name = metric.split("/")[-1]
    return not is_error(metric) and name != "zero_maps" and not name.startswith(("loss", "seed_threshold"))


def is_error(metric: str) -> bool:
    """Whether a metric is an error in the labels' unit, of which less is better."""
    name = metric.split("/")[-1]
    return name == "mae" or name.endswith("_mae")
