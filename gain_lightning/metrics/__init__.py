"""Scores of attention maps: seed mIoU, energy pointing game, pointing game.

Pure functions give one value for each (image, class) pair; torchmetrics classes gather the values over a set.
Every map is judged for a class that the image's label names. Void pixels never count.
"""

from gain_lightning.metrics.boxes import PairBoxes, box_ious, pair_boxes
from gain_lightning.metrics.maps import center_gaussian, energy_in_mask, pointing_hit, seed_iou, with_mask
from gain_lightning.metrics.sets import (
    THRESHOLDS,
    BoxAccuracy,
    ExactMetric,
    MeanAE,
    MeanAP,
    PairMean,
    SeedIoU,
)

__all__ = [
    "THRESHOLDS",
    "BoxAccuracy",
    "ExactMetric",
    "MeanAE",
    "MeanAP",
    "PairBoxes",
    "PairMean",
    "SeedIoU",
    "box_ious",
    "center_gaussian",
    "energy_in_mask",
    "pair_boxes",
    "pointing_hit",
    "seed_iou",
    "with_mask",
]
