"""Scores of a set of images: those of its maps, and those of the network's predictions."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import torch
import torchmetrics
from torch import Tensor, nn

from gain_lightning.attention import EPS, Pairs, scale_maps
from gain_lightning.metrics import (
    BoxAccuracy,
    MeanAE,
    MeanAP,
    PairBoxes,
    PairMean,
    SeedIoU,
    box_ious,
    with_mask,
)
from gain_lightning.metrics import boxes as box_metrics
from gain_lightning.metrics import maps as map_metrics
from gain_lightning.scores import pair_scores

# Threshold of the paper's seeds: 20 % of a map's maximum.
SEED_THRESHOLD = 0.2


class SetResult(NamedTuple):
    """The result of :meth:`MapScores.compute`.

    Attributes:
        scores: Scores by their keys in :data:`gain_lightning.scores.SCORES`; nan where nothing can be judged.
        per_class: Columns of ``per_class.csv``, C values each, nan where nothing of a class is judged.
        judged: Numbers of ``pairs`` and of ``images`` that maps are judged on; where boxes judge them, ``by`` says so.
    """

    scores: dict[str, Tensor]
    per_class: dict[str, list[float]]
    judged: dict[str, Any]


def pair_values(maps: Tensor, mask: Tensor, boxes: PairBoxes | None = None) -> dict[str, Tensor]:
    """Compute every score that has one value for each pair, by its key, each ``(P,)``.

    Args:
        maps: Maps before scaling, at the size of the masks, ``(P, 1, H, W)``.
        mask: 1 the class, 0 not the class, 255 unknown, ``(P, H, W)``.
        boxes: The boxes of the pairs where they judge, and the masks do not.

    Example:
        >>> pair_values(torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[1, 0]]]))
        {'energy': tensor([0.7500]), 'pointing': tensor([1.])}
    """
    if boxes is not None:
        return {score.key: getattr(box_metrics, score.measure)(maps, boxes) for score in pair_scores("box")}
    return {score.key: getattr(map_metrics, score.measure)(maps, mask) for score in pair_scores("mask")}


def judged_pairs(mask: Tensor, boxes: PairBoxes | None = None) -> Tensor:
    """Find the pairs that can be judged, ``(P,)`` bool; the arguments are those of :func:`pair_values`."""
    return with_mask(mask) if boxes is None else boxes.exist


class MapScores(nn.Module):
    """The scores of maps over a set, gathered over batches and processes: those of masks, or those of boxes.

    Args:
        num_classes: C.
        scored: Indices of the classes that every mean runs over.
    """

    def __init__(self, num_classes: int, scored: list[int]) -> None:
        super().__init__()
        self.scored = scored
        self.seed = SeedIoU(num_classes, score_classes=scored)
        of_pairs = nn.ModuleDict({score.key: PairMean(num_classes, scored) for score in pair_scores()})
        self.of_pairs = cast("Mapping[str, PairMean]", of_pairs)
        self.boxes = BoxAccuracy(num_classes, scored)
        # All processes judge parts of one set, and so by the same truth.
        self.truth: Literal["mask", "box"] = "mask"
        self.judged_images = torchmetrics.SumMetric()

    def update_maps(self, maps: Tensor, mask: Tensor, pairs: Pairs, boxes: PairBoxes | None = None) -> None:
        """Score the maps of a batch.

        Args:
            maps: Maps before scaling, ``(P, 1, H, W)``.
            mask: The mask of every pair, ``(P, H, W)``.
            pairs: The P pairs.
            boxes: The boxes of the pairs where they judge, and the masks do not.
        """
        judged = judged_pairs(mask, boxes)
        for key, values in pair_values(maps, mask, boxes).items():
            self.of_pairs[key].update(values[judged], pairs.label[judged])
        if boxes is None:
            self.truth = "mask"
            self.seed.update(scale_maps(maps), mask, pairs)
        else:
            self.truth = "box"
            self.boxes.update(box_ious(maps, boxes)[judged.cpu()], pairs.label[judged])
        scored = torch.isin(pairs.label, torch.tensor(self.scored, device=pairs.label.device))
        self.judged_images.update(len(pairs.image[judged & scored].unique()))

    def compute(self, threshold: float | None = None) -> SetResult:
        """Return the scores of all batches since :meth:`reset`.

        Args:
            threshold: The threshold that was chosen on other images, nan where none of them could be judged; None
                leaves out the scores at it.
        """
        of_pairs = {score: self.of_pairs[score.key].compute() for score in pair_scores(self.truth)}
        num_pairs = next(iter(of_pairs.values()))["num_pairs"]
        num_judged = num_pairs.reshape(-1)[self.scored].sum()
        judged: dict[str, Any] = {"pairs": int(num_judged), "images": int(self.judged_images.compute())}
        scores: dict[str, Tensor] = {}
        per_class = {"num_judged": num_pairs.long()}
        if self.truth == "mask":
            seed = self.seed.compute()
            scores |= self._seed_scores(seed["miou"].float(), num_judged, threshold)
            per_class["seed_iou"] = seed["iou"][self._at(SEED_THRESHOLD), 1:]
        for score, found in of_pairs.items():
            scores[score.key] = found["over_pairs" if score.mean == "pair" else "over_classes"].float()
            per_class[score.key] = found["per_class"]
        if self.truth == "box":
            scores |= self.boxes.compute()
            judged["by"] = "boxes"
        return SetResult(scores, {name: _listed(values) for name, values in per_class.items()}, judged)

    def _at(self, threshold: float | Tensor) -> Tensor:
        """Return the place of a threshold in the sweep."""
        return (self.seed.thresholds - threshold).abs().argmin()

    def _seed_scores(
        self, seed_miou: Tensor, num_judged: Tensor, threshold: float | None
    ) -> dict[str, Tensor]:
        """Return the scores of seeds, by the mean IoU at every threshold."""
        thresholds = self.seed.thresholds
        scores = {
            "seed_miou": seed_miou[self._at(SEED_THRESHOLD)],
            "seed_miou_best": seed_miou.max(),
            "seed_threshold_best": thresholds[seed_miou.argmax()].where(num_judged > 0, torch.nan),
        }
        if threshold is not None:
            chosen = torch.tensor(threshold, device=thresholds.device)
            scores["seed_miou_selected"] = seed_miou[self._at(chosen)].where(chosen.isfinite(), torch.nan)
            scores["seed_threshold_selected"] = chosen
        return scores

    def reset(self) -> None:
        """Forget all batches."""
        self.truth = "mask"
        for module in self.modules():
            if isinstance(module, torchmetrics.Metric):
                module.reset()


class SetScores(MapScores):
    """The scores of maps, and those of a classifier's predictions.

    Args:
        num_classes: C.
        scored: Indices of the classes that every mean runs over.
        is_regression: If true, the classifier predicts amounts, which are scored by their error; otherwise it
            ranks the images of every class.
    """

    def __init__(self, num_classes: int, scored: list[int], *, is_regression: bool = False) -> None:
        super().__init__(num_classes, scored)
        # Key of the score, its column in per_class.csv, and the metric's key of the values of all classes.
        self.key, self.column, self.per_class = (
            ("mae", "mae", "per_class") if is_regression else ("mean_ap", "ap", "ap")
        )
        self.answers = MeanAE(num_classes, scored) if is_regression else MeanAP(num_classes, scored)
        self.zero_maps = PairMean(num_classes, scored)

    def keys(self) -> list[str]:
        """Return the keys of the scores that judge, those of the predictions first."""
        of_pairs = {
            truth: [score.key for score in pair_scores(truth) if score.better != "neither"]
            for truth in ("mask", "box")
        }
        of_masks, of_boxes = ["seed_miou", "seed_miou_best"], ["max_box_acc", "max_box_acc_v2"]
        return [self.key, *of_masks, *of_pairs["mask"], *of_pairs["box"], *of_boxes]

    def update(
        self,
        answer: Tensor,
        label: Tensor,
        maps: Tensor,
        mask: Tensor,
        pairs: Pairs,
        boxes: PairBoxes | None = None,
    ) -> None:
        """Score a batch.

        Args:
            answer: Amount of every class in a regression, otherwise its logit, ``(N, C)``.
            label: True labels, ``(N, C)``.
            maps: Maps before scaling, ``(P, 1, H, W)``.
            mask: The mask of every pair, ``(P, H, W)``.
            pairs: The P pairs.
            boxes: The boxes of the pairs where they judge, and the masks do not.
        """
        self.answers.update(answer, label)
        self.zero_maps.update((maps.amax((1, 2, 3)) <= EPS).float(), pairs.label)
        self.update_maps(maps, mask, pairs, boxes)

    def compute(self, threshold: float | None = None) -> SetResult:
        """Return the scores of all batches since :meth:`reset`, see :meth:`MapScores.compute`."""
        of_maps = super().compute(threshold)
        zero_maps, answers = self.zero_maps.compute()["over_pairs"].float(), self.answers.compute()
        per_class = {"num_images": answers["num_images"], self.column: answers[self.per_class]}
        return SetResult(
            {self.key: answers[self.key], **of_maps.scores, "zero_maps": zero_maps},
            {**{name: _listed(values) for name, values in per_class.items()}, **of_maps.per_class},
            of_maps.judged,
        )


def _listed(values: Tensor) -> list[float]:
    """Return one value for each class."""
    # torchmetrics turns the values of a single class into one number.
    return values.reshape(-1).tolist()
