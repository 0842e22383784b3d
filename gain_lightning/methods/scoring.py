"""Scores of a set of images: those of its maps, and those of the network's predictions."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
import torchmetrics
from torch import Tensor, nn

from gain_lightning.attention import EPS, Pairs, scale_maps
from gain_lightning.metrics import MeanAE, MeanAP, PairMean, SeedIoU, with_mask
from gain_lightning.metrics import maps as map_metrics
from gain_lightning.scores import pair_scores

# Threshold of the paper's seeds: 20 % of a map's maximum.
SEED_THRESHOLD = 0.2


class SetResult(NamedTuple):
    """The result of :meth:`MapScores.compute`.

    Attributes:
        scores: Scores by their keys in :data:`gain_lightning.scores.SCORES`; nan where nothing can be judged.
        per_class: Columns of ``per_class.csv``, C values each, nan where nothing of a class is judged.
        judged: Numbers of ``pairs`` and of ``images`` that maps are judged on.
    """

    scores: dict[str, Tensor]
    per_class: dict[str, list[float]]
    judged: dict[str, int]


def pair_values(maps: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Compute every score that has one value for each pair, by its key, each ``(P,)``.

    Args:
        maps: Maps before scaling, at the size of the masks, ``(P, 1, H, W)``.
        mask: 1 the class, 0 not the class, 255 unknown, ``(P, H, W)``.

    Example:
        >>> pair_values(torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[1, 0]]]))
        {'energy': tensor([0.7500]), 'pointing': tensor([1.])}
    """
    return {score.key: getattr(map_metrics, score.measure)(maps, mask) for score in pair_scores()}


class MapScores(nn.Module):
    """The scores of maps over a set, gathered over batches and processes.

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
        self.judged_images = torchmetrics.SumMetric()

    def update_maps(self, maps: Tensor, mask: Tensor, pairs: Pairs) -> None:
        """Score the maps of a batch.

        Args:
            maps: Maps before scaling, ``(P, 1, H, W)``.
            mask: The mask of every pair, ``(P, H, W)``.
            pairs: The P pairs.
        """
        judged = with_mask(mask)
        for key, values in pair_values(maps, mask).items():
            self.of_pairs[key].update(values[judged], pairs.label[judged])
        self.seed.update(scale_maps(maps), mask, pairs)
        scored = torch.isin(pairs.label, torch.tensor(self.scored, device=pairs.label.device))
        self.judged_images.update(len(pairs.image[judged & scored].unique()))

    def compute(self, threshold: float | None = None) -> SetResult:
        """Return the scores of all batches since :meth:`reset`.

        Args:
            threshold: The threshold that was chosen on other images, nan where none of them could be judged; None
                leaves out the scores at it.
        """
        seed = self.seed.compute()
        of_pairs = {key: metric.compute() for key, metric in self.of_pairs.items()}
        num_pairs = next(iter(of_pairs.values()))["num_pairs"]
        num_judged = num_pairs.reshape(-1)[self.scored].sum()
        seed_miou, thresholds = seed["miou"].float(), self.seed.thresholds
        at_paper = (thresholds - SEED_THRESHOLD).abs().argmin()
        scores = {
            "seed_miou": seed_miou[at_paper],
            "seed_miou_best": seed_miou.max(),
            "seed_threshold_best": thresholds[seed_miou.argmax()].where(num_judged > 0, torch.nan),
        }
        if threshold is not None:
            chosen = torch.tensor(threshold, device=thresholds.device)
            at_chosen = (thresholds - chosen).abs().argmin()
            scores["seed_miou_selected"] = seed_miou[at_chosen].where(chosen.isfinite(), torch.nan)
            scores["seed_threshold_selected"] = chosen
        per_class = {"num_judged": num_pairs.long(), "seed_iou": seed["iou"][at_paper, 1:]}
        for score in pair_scores():
            found = of_pairs[score.key]
            scores[score.key] = found["over_pairs" if score.mean == "pair" else "over_classes"].float()
            per_class[score.key] = found["per_class"]
        judged = {"pairs": int(num_judged), "images": int(self.judged_images.compute())}
        return SetResult(scores, {name: _listed(values) for name, values in per_class.items()}, judged)

    def reset(self) -> None:
        """Forget all batches."""
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
        return [self.key, "seed_miou", "seed_miou_best", *(score.key for score in pair_scores())]

    def update(self, answer: Tensor, label: Tensor, maps: Tensor, mask: Tensor, pairs: Pairs) -> None:
        """Score a batch.

        Args:
            answer: Amount of every class in a regression, otherwise its logit, ``(N, C)``.
            label: True labels, ``(N, C)``.
            maps: Maps before scaling, ``(P, 1, H, W)``.
            mask: The mask of every pair, ``(P, H, W)``.
            pairs: The P pairs.
        """
        self.answers.update(answer, label)
        self.zero_maps.update((maps.amax((1, 2, 3)) <= EPS).float(), pairs.label)
        self.update_maps(maps, mask, pairs)

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
