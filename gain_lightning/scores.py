"""Every score once: its name, its meaning, its unit and the direction that is better."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

# A group or a class of fewer images is no worst one: its score says little.
FEWEST_IMAGES = 10


@dataclass(frozen=True)
class Score:
    """One score of a set of images, as a run writes it and as every table, report and message speaks of it.

    Attributes:
        key: The key ``energy`` stands for ``test/energy``, ``val/energy`` and ``center/energy`` in ``summary.json``.
        name: The name in tables.
        meaning: The report's sentence about it.
        unit: A ``share`` of 1 is shown in percent, an ``amount`` in the labels' unit, and a plain ``number``, such as
            a threshold in units of a map, as it is.
        better: The ``higher`` or the ``lower`` value is better. A score where ``neither`` is better judges nothing,
            so no differences are taken of it.
        over: The items that it is taken over. ``per_image.csv`` holds enough to compute a score over ``images`` or
            over ``pairs`` (image, class) for any draw of images, and so an interval over images, and
            ``background.csv`` for one over ``objects``; neither does for a score of the whole ``set``.
        truth: What a score of maps is judged by: a set has the scores of ``mask`` or those of ``box``, never both.
        measure: The function of :mod:`gain_lightning.metrics.maps` that gives it for every pair with a mask, from
            maps before scaling and masks; that of :mod:`gain_lightning.metrics.boxes` for a score of boxes. Every
            classifier takes a score that names one, and it is a column of ``per_image.csv`` and of ``per_class.csv``.
        mean: Every ``pair`` or every ``class`` has the same weight in such a score.
        rises, falls: The words of the report's reading for a method whose score clearly rises or falls. Without
            words the reading speaks of the score only where it is clearly worse.
        listed: Its column in ``gain runs``, if it has one.
        column: Its column in ``per_class.csv``, where that is not its key.
        by_class: The report's name for that column. The report shows the last column with such a name that all runs
            have.
        remark: A remark that stands beside the score where a test prints it.
    """

    key: str
    name: str
    meaning: str
    unit: Literal["share", "amount", "number"] = "share"
    better: Literal["higher", "lower", "neither"] = "higher"
    over: Literal["images", "pairs", "objects", "set"] = "images"
    truth: Literal["mask", "box"] = "mask"
    measure: str = ""
    mean: Literal["pair", "class"] = "pair"
    rises: str = ""
    falls: str = ""
    listed: str = ""
    column: str = ""
    by_class: str = ""
    remark: str = ""


# All scores, in the order of every table.
SCORES = [
    Score(
        "mean_ap",
        "mAP",
        "Classification: mean over classes of average precision.",
        rises="classifies better",
        falls="classifies worse",
        listed="mAP",
        column="ap",
        by_class="average precision",
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
    ),
    Score(
        "seed_miou_selected",
        "held-out seed mIoU",
        "Maps cut at the threshold that is best on masked training images held out for choosing: mean IoU.",
        over="set",
        listed="held mIoU",
        remark="threshold chosen on held-out masks",
    ),
    Score(
        "seed_threshold_selected",
        "held-out threshold",
        "That threshold, as a fraction of a map's maximum: chosen on held-out masked training images.",
        unit="number",
        better="neither",
        over="set",
    ),
    Score(
        "seed_miou",
        "seed mIoU",
        "Maps cut at 20 % of their maximum: mean IoU over background and classes.",
        over="set",
        rises="outlines the objects better by its maps",
        falls="outlines the objects worse by its maps",
        column="seed_iou",
        by_class="IoU of the maps cut at 20 % of their maximum",
    ),
    Score(
        "seed_miou_best",
        "best seed mIoU",
        "Maps cut at the run's best threshold, chosen on the very images it is scored on: mean IoU.",
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
        "energy_occlusion",
        "energy by occlusion",
        "Share that lies on the object of what a score loses where windows are painted over (gain check-maps).",
        over="set",
    ),
    Score(
        "energy_gradient",
        "energy by gradient",
        "The same share of the input times its gradient (gain check-maps).",
        over="set",
    ),
    Score(
        "energy_integrated",
        "energy by IG",
        "The same share of integrated gradients (gain check-maps).",
        over="set",
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
        "energy_in_box",
        "energy in box",
        "Share of a map's sum that lies in its object's box, mean over (image, class) pairs. Large boxes favour it.",
        over="pairs",
        truth="box",
        measure="energy_in_box",
        rises="puts more of its attention into the objects' boxes",
        falls="puts less of its attention into the objects' boxes",
    ),
    Score(
        "box_share",
        "share of boxes",
        "Share of the image that the object's box covers: the energy in it of a map that is the same everywhere.",
        better="neither",
        over="pairs",
        truth="box",
        measure="box_share",
    ),
    Score(
        "pointing_in_box",
        "pointing in box",
        "How often a map's maximum lies in its object's box, mean over classes.",
        over="pairs",
        truth="box",
        measure="pointing_in_box",
        mean="class",
    ),
    Score(
        "box_accuracy",
        "box accuracy",
        "How often the box of a map, cut at 20 % of its maximum, has an IoU of at least 0.5 with its object's box.",
        over="pairs",
        truth="box",
        measure="box_accuracy",
        rises="boxes the objects better by its maps",
        falls="boxes the objects worse by its maps",
    ),
    Score(
        "max_box_acc",
        "MaxBoxAcc",
        "The same at the run's best threshold, chosen on the very images it is scored on (Choe et al., CVPR 2020).",
        over="set",
        truth="box",
        listed="MaxBoxAcc",
        remark="threshold chosen on these images",
    ),
    Score(
        "max_box_acc_v2",
        "MaxBoxAccV2",
        "The same of the map's best box, mean over least IoUs of 0.3, 0.5 and 0.7, each at its best threshold.",
        over="set",
        truth="box",
        remark="thresholds chosen on these images",
    ),
    Score(
        "box_threshold_best",
        "best box threshold",
        "The threshold of MaxBoxAcc, as a fraction of a map's maximum: chosen on the very images it is scored on.",
        unit="number",
        better="neither",
        over="set",
        truth="box",
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
        "swapped_grounds",
        "swapped grounds",
        "How often objects are recognised on the ground of another class (gain background).",
        over="objects",
        rises="recognises more objects on grounds of other classes",
        falls="recognises fewer objects on grounds of other classes",
    ),
    Score(
        "background_gap",
        "background gap",
        "How much more often objects are recognised on grounds of their own class (gain background).",
        better="lower",
        over="objects",
        rises="leans more on the ground",
        falls="leans less on the ground",
    ),
    Score(
        "worst_group",
        "worst group",
        "Accuracy on the group of images on which it is lowest; groups of fewer than 10 images are left out.",
        rises="is right more often on its worst group",
        falls="is right less often on its worst group",
        listed="worst",
    ),
    Score("group_mean", "group mean", "Mean over groups of the accuracy on each, all with the same weight."),
    Score(
        "test_average",
        "test average",
        "Accuracy over all images of the groups, as many as the test has of each.",
    ),
    Score(
        "train_weighted_average",
        "train-weighted mean",
        "Mean over groups of the accuracy on each, weighted by their shares of the training images. Papers on groups "
        "often call it the average.",
    ),
    Score(
        "worst_class",
        "worst class",
        "Accuracy on the images of the class on which it is lowest; classes of fewer than 10 images are left out.",
    ),
    Score(
        "worst_class_ap",
        "worst class AP",
        "Lowest average precision of a class; classes that fewer than 10 images show are left out.",
    ),
    Score(
        "miou",
        "mIoU",
        "Segmentations: mean IoU over background and the classes that masks show.",
        rises="segments better",
        falls="segments worse",
        listed="SEC",
        column="iou",
        by_class="IoU of the segmentation",
    ),
    Score(
        "miou_crf",
        "mIoU CRF",
        "Segmentations after a dense CRF at the images' own size: mean IoU.",
        rises="segments better with the CRF",
        falls="segments worse with the CRF",
        listed="+CRF",
        column="iou_crf",
        by_class="IoU of the segmentation with CRF",
    ),
]

# The key of the accuracy in a group begins so.
OF_GROUP = "group/"
# A metric without a row above is one of these four; its name is its key in words.
GROUP = Score("", "", "How often an image's decision is right in the group of this name.")
FURTHER_SET = Score("", "", "How often an image's decision is right on the test set of this name.")
FURTHER_ERROR = Score("", "", "", unit="amount", better="lower")
LOSS = Score("", "", "", unit="number", better="neither", over="set")


def score_of(metric: str) -> Score:
    """Return the score that a metric ``test/<key>``, ``val/<key>`` or ``center/<key>`` is.

    A key without a row in :data:`SCORES` is a term of the loss (``loss_...``), the accuracy in a group
    (``group/<name>``), the error on a group or a further test set (``..._mae``), or the accuracy on a further test set
    (``<set>``).

    Example:
        >>> score_of("val/energy").name, score_of("test/boat_without_water").name
        ('energy', 'boat without water')
        >>> score_of("test/group/waterbird+land").name
        'waterbird+land'
        >>> [score_of(metric).better for metric in ("test/night", "test/night_mae", "val/loss_cl")]
        ['higher', 'lower', 'neither']
    """
    key = metric.split("/", 1)[-1]
    score = _row(key)
    name = key.removeprefix(OF_GROUP) if key.startswith(OF_GROUP) else key.replace("_", " ")
    return score if score.key else replace(score, key=key, name=name)


def in_order(metrics: Iterable[str]) -> list[str]:
    """Return metrics in the order of every table; further test sets come between the accuracy and their mean.

    Example:
        >>> in_order(["test/biased_accuracy", "test/night", "test/energy", "test/mean_ap", "test/accuracy"])
        ['test/mean_ap', 'test/energy', 'test/accuracy', 'test/night', 'test/biased_accuracy']
    """
    place = {score.key: number for number, score in enumerate(SCORES)}
    further = place["biased_accuracy"] - 0.5
    return sorted(metrics, key=lambda metric: place.get(score_of(metric).key, further))


def pair_scores(truth: str | None = None) -> list[Score]:
    """Return the scores that are a mean of one value a pair, all or those of one truth, in the order of the tables.

    Example:
        >>> [score.key for score in pair_scores("mask")]
        ['energy', 'pointing']
    """
    return [score for score in SCORES if score.measure and truth in (None, score.truth)]


def is_reserved(name: str) -> bool:
    """Return whether a test set of this name would hide a score, or be taken for an error or a loss.

    Example:
        >>> is_reserved("mean_ap"), is_reserved("night_mae"), is_reserved("night")
        (True, True, False)
    """
    return _row(name) is not FURTHER_SET


def _row(key: str) -> Score:
    known = {score.key: score for score in SCORES}
    if key in known:
        return known[key]
    if key.endswith("_mae"):
        return FURTHER_ERROR
    if key.startswith(OF_GROUP):
        return GROUP
    return LOSS if key == "loss" or key.startswith("loss_") else FURTHER_SET
