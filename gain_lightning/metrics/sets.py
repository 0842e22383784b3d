"""Scores of a whole set, as torchmetrics that gather over batches and processes."""

from collections.abc import Callable
from typing import Any

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities.data import dim_zero_cat

from gain_lightning.attention import Pairs
from gain_lightning.constants import NO, YES

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # of the seed sweep; 0.2 is the paper's


class ExactMetric(torchmetrics.Metric):
    """Keeps the types of its states where a module is brought to another precision: bfloat16 cannot count."""

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> "ExactMetric":
        super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), *args, **kwargs)
        return self


_COUNTS = ("true", "hit", "false_alarm", "excused")


class SeedIoU(ExactMetric):
    """mIoU of seeds over a sweep of thresholds: pixels are counted over the whole set, never a mean over images.

    A pixel's seed is the class, among those the image's label names, whose scaled map is highest there (equal maps
    share the pixel); it is background where that map does not exceed the threshold. Each class is judged where its mask
    says yes or no, background where every labelled class is known not to be, or one is known to be. Where classes
    overlap, either is right. Without overlaps and unknown classes this is the confusion matrix of PASCAL VOC.

    Args:
        num_classes: C; background is class 0 besides.
        thresholds: Ascending, in units of the scaled maps.
        score_classes: Class indices (0..C-1) that the mean runs over, beside background; None takes all.

    Returns of ``compute``:
        ``iou`` ``(T, C + 1)``, nan for a class that no mask shows; ``miou`` ``(T,)``, the mean over background and
        the scored classes that have an IoU; nan where none of these has one, for background alone judges no map.
    """

    full_state_update = False
    higher_is_better = True
    thresholds: Tensor
    true: Tensor
    hit: Tensor
    false_alarm: Tensor
    excused: Tensor

    def __init__(
        self,
        num_classes: int,
        thresholds: tuple[float, ...] = THRESHOLDS,
        score_classes: list[int] | None = None,
    ) -> None:
        super().__init__()
        if list(thresholds) != sorted(thresholds):
            raise ValueError(f"thresholds are {thresholds}, expected ascending ones")
        scored = range(num_classes) if score_classes is None else score_classes
        self.scored = [0, *(index + 1 for index in scored)]
        self.register_buffer("thresholds", torch.tensor(thresholds), persistent=False)
        # pixels by class and by how many thresholds the winning map exceeds
        shape = (num_classes + 1, len(thresholds) + 1)
        for name in _COUNTS:
            self.add_state(name, torch.zeros(shape, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, maps: Tensor, mask: Tensor, pairs: Pairs) -> None:
        """Count a batch: scaled ``maps`` ``(P, 1, H, W)``, each pair's ``mask`` ``(P, H, W)``."""
        if not len(maps):
            return
        maps, image = maps.squeeze(1).to(self.thresholds.dtype), pairs.image

        def over_images(values: Tensor) -> Tensor:
            """Sum of the pairs' values of each image, ``(N, H, W)``."""
            return values.new_zeros(pairs.num_images, *values.shape[1:]).index_add_(0, image, values)

        best = maps.new_zeros(pairs.num_images, *maps.shape[1:])
        for rank in range(pairs.num_ranks):
            mine = pairs.rank == rank
            best[image[mine]] = torch.maximum(best[image[mine]], maps[mine])
        num_exceeded = torch.bucketize(best, self.thresholds)  # value > threshold
        won = ((maps == best[image]) & (maps > 0)).double()
        won = won / over_images(won).clamp_min(1)[image]  # share of each pixel
        yes, no = (mask == YES).double(), (mask == NO).double()
        hit = won * yes
        excused = over_images(hit)[image] * yes - hit
        self._count(pairs.label.view(-1, 1, 1) + 1, num_exceeded[image], yes, hit, won * no, excused)
        # background: hit where nothing is found and nothing is, false alarm where something is
        num_labels = torch.bincount(image, minlength=pairs.num_images).view(-1, 1, 1)
        nothing = ((over_images(no) == num_labels) & (num_labels > 0)).double()
        something = (over_images(yes) > 0).double()
        background = torch.zeros((), dtype=torch.long, device=mask.device)
        self._count(background, num_exceeded, nothing, nothing, something, torch.zeros_like(nothing))

    def _count(self, class_idx: Tensor, num_exceeded: Tensor, *weights: Tensor) -> None:
        """Add pixels to ``true``, ``hit``, ``false_alarm`` and ``excused``, as much of each as its weight says."""
        num_classes, num_steps = self.true.shape
        cell = (class_idx * num_steps + num_exceeded).flatten()
        sums = self.true.new_zeros(num_classes * num_steps, len(_COUNTS))
        sums.index_add_(0, cell, torch.stack([weight.flatten() for weight in weights], 1))
        for name, count in zip(_COUNTS, sums.unbind(1), strict=True):
            getattr(self, name).add_(count.view(num_classes, num_steps))

    def compute(self) -> dict[str, Tensor]:
        """IoU per threshold and class, and their mean."""
        true = self.true.sum(1)
        ious = []
        for step in range(len(self.thresholds)):
            hit, false_alarm, excused = (
                torch.cat([count[:1, : step + 1].sum(1), count[1:, step + 1 :].sum(1)])
                for count in (self.hit, self.false_alarm, self.excused)
            )
            ious.append(hit / (true + false_alarm - excused))
        iou = torch.stack(ious).masked_fill(true == 0, torch.nan)  # what nobody drew cannot be found
        is_judged = (true[self.scored[1:]] > 0).any()
        return {"iou": iou, "miou": iou[:, self.scored].nanmean(1).where(is_judged, torch.nan)}


class MeanAP(ExactMetric):
    """Average precision of every class, and its mean over those that the set shows.

    It keeps 5 bytes an image and class, of its own images, and while it computes of those of all processes: 250 MB for
    50,000 images of 1,000 classes.

    Args:
        num_classes: C.
        score_classes: Class indices that the mean runs over; None takes all.

    Returns of ``compute``:
        ``ap`` ``(C,)``, nan for a class that no image shows; ``mean_ap``, nan if no scored class is shown;
        ``num_images`` ``(C,)``, how many show each class.

    Example:
        >>> metric = MeanAP(1)
        >>> metric.update(torch.tensor([[25.0], [20.0], [18.0], [-3.0]]), torch.tensor([[1], [0], [0], [1]]))
        >>> metric.compute()["mean_ap"]
        tensor(0.7500)
    """

    # torchmetrics' own MultilabelAveragePrecision refuses a single class
    full_state_update = False
    higher_is_better = True
    score: list[Tensor]
    target: list[Tensor]

    def __init__(self, num_classes: int, score_classes: list[int] | None = None) -> None:
        super().__init__()
        self.scored = list(range(num_classes)) if score_classes is None else score_classes
        self.add_state("score", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, score: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            score: Orders the images of a class, any numbers; best log-odds, for float32 probabilities near 1 are equal
                where networks are not. Shape ``(N, C)``.
            target: Labels 0/1, shape ``(N, C)``.
        """
        self.score.append(score)
        self.target.append(target.to(torch.uint8))

    def compute(self) -> dict[str, Tensor]:
        """Average precision of each class, and the mean."""
        score, target = dim_zero_cat(self.score), dim_zero_cat(self.target)
        num_images = target.sum(0)
        ap = torch.stack([_average_precision(*column) for column in zip(score.T, target.T, strict=True)])
        ap = ap.masked_fill(num_images == 0, torch.nan)
        return {"ap": ap, "mean_ap": ap[self.scored].nanmean(), "num_images": num_images}


def _average_precision(score: Tensor, target: Tensor) -> Tensor:
    """Of one class, ``(N,)``. Its ranks are scored: torchmetrics puts what is not in [0, 1] through a sigmoid first."""
    rank = score.unique(return_inverse=True)[1]
    return binary_average_precision(rank.double() / len(rank), target.long()).float()


class MeanAE(ExactMetric):
    """Mean absolute error of every class's amount, and its mean over classes.

    Args:
        num_classes: C.
        score_classes: Class indices that the mean runs over; None takes all.

    Returns of ``compute``:
        ``of_class`` ``(C,)`` and ``mae``, in the labels' unit; ``num_images`` ``(C,)``, how many were judged.
    """

    full_state_update = False
    higher_is_better = False
    error: Tensor
    num_images: Tensor

    def __init__(self, num_classes: int, score_classes: list[int] | None = None) -> None:
        super().__init__()
        self.scored = list(range(num_classes)) if score_classes is None else score_classes
        self.add_state("error", torch.zeros(num_classes), dist_reduce_fx="sum")
        self.add_state("num_images", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, amount: Tensor, label: Tensor) -> None:
        """Add images.

        Args:
            amount: What is said, ``(N, C)``.
            label: What is true, ``(N, C)``.
        """
        self.error += (amount - label).abs().sum(0)
        self.num_images += len(amount)

    def compute(self) -> dict[str, Tensor]:
        """The errors."""
        of_class = self.error / self.num_images
        return {"of_class": of_class, "mae": of_class[self.scored].mean(), "num_images": self.num_images}


class PairMean(ExactMetric):
    """Mean of one value a pair.

    Args:
        num_classes: C.
        score_classes: Class indices that both means run over; None takes all.

    Returns of ``compute``:
        ``of_class`` ``(C,)``, nan without a pair; ``over_pairs`` and ``over_classes``, the mean of all scored
        classes' pairs and that of these classes' means; ``num_pairs`` ``(C,)``.
    """

    full_state_update = False
    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self, num_classes: int, score_classes: list[int] | None = None) -> None:
        super().__init__()
        self.scored = list(range(num_classes)) if score_classes is None else score_classes
        self.add_state("total", torch.zeros(num_classes, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(num_classes, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, value: Tensor, class_idx: Tensor) -> None:
        """Add values ``(P,)`` of the pairs' classes ``(P,)``."""
        self.total.index_add_(0, class_idx, value.to(self.total.dtype))
        self.count.index_add_(0, class_idx, torch.ones_like(value, dtype=self.count.dtype))

    def compute(self) -> dict[str, Tensor]:
        """The means."""
        of_class = self.total / self.count
        return {
            "of_class": of_class,
            "over_pairs": self.total[self.scored].sum() / self.count[self.scored].sum(),
            "over_classes": of_class[self.scored].nanmean(),
            "num_pairs": self.count,
        }
