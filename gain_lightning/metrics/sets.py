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
from gain_lightning.metrics.boxes import BOX_THRESHOLDS, RIGHT_IOU

# Overlaps that MaxBoxAccV2 is the mean over.
_V2_IOUS = (0.3, 0.5, 0.7)
# Thresholds of the seed sweep; 0.2 is the paper's.
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


class ExactMetric(torchmetrics.Metric):
    """A metric that keeps the types of its states when a module changes its precision: bfloat16 cannot count."""

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> "ExactMetric":
        super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), *args, **kwargs)
        return self


_COUNTS = ("true", "hit", "false_alarm", "excused")


class SeedIoU(ExactMetric):
    """mIoU of seeds over a sweep of thresholds; pixels are counted over the whole set, never a mean over images.

    A pixel's seed is the class, among those the image's label names, whose scaled map is highest there (equal maps
    share the pixel); it is background where that map does not exceed the threshold. Each class is judged where its
    mask says yes or no. Background is judged where every labelled class is known to be absent, or one is known to
    be present. Where classes overlap, either is right. Without overlaps and unknown classes this is the confusion
    matrix of PASCAL VOC.

    Args:
        num_classes: C; background is class 0 besides.
        thresholds: Ascending thresholds, in units of the scaled maps.
        score_classes: Class indices (0..C-1) that the mean runs over, beside background; None takes all.

    Returns of ``compute``:
        ``iou`` ``(T, C + 1)``, nan for a class that no mask shows; and ``miou`` ``(T,)``, the mean over background
        and the scored classes that have an IoU. It is nan where no class has one, for background alone judges no
        map.
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
        # Pixels are counted by class and by the number of thresholds that the winning map exceeds.
        shape = (num_classes + 1, len(thresholds) + 1)
        for name in _COUNTS:
            self.add_state(name, torch.zeros(shape, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, maps: Tensor, mask: Tensor, pairs: Pairs) -> None:
        """Count the pixels of a batch.

        Args:
            maps: Scaled maps, ``(P, 1, H, W)``.
            mask: The mask of every pair, ``(P, H, W)``.
            pairs: The P pairs.
        """
        if not len(maps):
            return
        maps, image = maps.squeeze(1).to(self.thresholds.dtype), pairs.image

        def over_images(values: Tensor) -> Tensor:
            """Sum the values of each image's pairs, ``(N, H, W)``."""
            return values.new_zeros(pairs.num_images, *values.shape[1:]).index_add_(0, image, values)

        best = maps.new_zeros(pairs.num_images, *maps.shape[1:])
        for rank in range(pairs.num_ranks):
            at_rank = pairs.rank == rank
            best[image[at_rank]] = torch.maximum(best[image[at_rank]], maps[at_rank])
        # A value that equals a threshold does not exceed it.
        num_exceeded = torch.bucketize(best, self.thresholds)
        # A pair wins a share of each pixel, as equal maps share it.
        won = ((maps == best[image]) & (maps > 0)).double()
        won = won / over_images(won).clamp_min(1)[image]  # (P, H, W)
        yes, no = (mask == YES).double(), (mask == NO).double()
        hit = won * yes
        excused = over_images(hit)[image] * yes - hit
        self._count(pairs.label.view(-1, 1, 1) + 1, num_exceeded[image], yes, hit, won * no, excused)
        # Background has a hit where no seed is found and no class is, a false alarm where a class is.
        num_labels = torch.bincount(image, minlength=pairs.num_images).view(-1, 1, 1)
        nothing = ((over_images(no) == num_labels) & (num_labels > 0)).double()
        something = (over_images(yes) > 0).double()
        background = torch.zeros((), dtype=torch.long, device=mask.device)
        self._count(background, num_exceeded, nothing, nothing, something, torch.zeros_like(nothing))

    def _count(self, class_idx: Tensor, num_exceeded: Tensor, *weights: Tensor) -> None:
        """Add pixels to ``true``, ``hit``, ``false_alarm`` and ``excused``, each with its own weight."""
        num_classes, num_steps = self.true.shape
        cell = (class_idx * num_steps + num_exceeded).flatten()
        sums = self.true.new_zeros(num_classes * num_steps, len(_COUNTS))
        sums.index_add_(0, cell, torch.stack([weight.flatten() for weight in weights], 1))
        for name, count in zip(_COUNTS, sums.unbind(1), strict=True):
            getattr(self, name).add_(count.view(num_classes, num_steps))

    def compute(self) -> dict[str, Tensor]:
        """Return the IoU of every threshold and class, and the mean over classes."""
        true = self.true.sum(1)
        ious = []
        for step in range(len(self.thresholds)):
            hit, false_alarm, excused = (
                torch.cat([count[:1, : step + 1].sum(1), count[1:, step + 1 :].sum(1)])
                for count in (self.hit, self.false_alarm, self.excused)
            )
            ious.append(hit / (true + false_alarm - excused))
        # A class that nobody drew cannot be found.
        iou = torch.stack(ious).masked_fill(true == 0, torch.nan)
        is_judged = (true[self.scored[1:]] > 0).any()
        return {"iou": iou, "miou": iou[:, self.scored].nanmean(1).where(is_judged, torch.nan)}


class MeanAP(ExactMetric):
    """Average precision of every class, and its mean over those that the set shows.

    It keeps 5 bytes for each image and class: for its own images, and while it computes, for those of all
    processes. That is 250 MB for 50,000 images of 1,000 classes.

    Args:
        num_classes: C.
        score_classes: Class indices that the mean runs over; None takes all.

    Returns of ``compute``:
        ``ap`` ``(C,)``, nan for a class that no image shows; ``mean_ap``, nan if no image shows a scored class;
        ``num_images`` ``(C,)``, the number of images that show each class.

    Example:
        >>> metric = MeanAP(1)
        >>> metric.update(torch.tensor([[25.0], [20.0], [18.0], [-3.0]]), torch.tensor([[1], [0], [0], [1]]))
        >>> metric.compute()["mean_ap"]
        tensor(0.7500)
    """

    # torchmetrics' own MultilabelAveragePrecision refuses a single class, so each class is scored by itself.
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
            score: Numbers that order the images of a class, shape ``(N, C)``. Log-odds are best: float32
                probabilities near 1 round to the same number where log-odds still differ.
            target: Labels 0/1, shape ``(N, C)``.
        """
        self.score.append(score)
        self.target.append(target.to(torch.uint8))

    def compute(self) -> dict[str, Tensor]:
        """Return the average precision of each class, and the mean."""
        score, target = dim_zero_cat(self.score), dim_zero_cat(self.target)
        num_images = target.sum(0)
        ap = torch.stack([_average_precision(*column) for column in zip(score.T, target.T, strict=True)])
        ap = ap.masked_fill(num_images == 0, torch.nan)
        return {"ap": ap, "mean_ap": ap[self.scored].nanmean(), "num_images": num_images}


def _average_precision(score: Tensor, target: Tensor) -> Tensor:
    """Return the average precision of one class; both arguments are ``(N,)``."""
    # Ranks are scored, since torchmetrics puts scores outside [0, 1] through a sigmoid first.
    rank = score.unique(return_inverse=True)[1]
    return binary_average_precision(rank.double() / len(rank), target.long()).float()


class MeanAE(ExactMetric):
    """Mean absolute error of every class's amount, and its mean over classes.

    Args:
        num_classes: C.
        score_classes: Class indices that the mean runs over; None takes all.

    Returns of ``compute``:
        ``per_class`` ``(C,)`` and ``mae``, in the labels' unit; ``num_images`` ``(C,)``, the number of images.
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
            amount: Predicted amounts, ``(N, C)``.
            label: True amounts, ``(N, C)``.
        """
        self.error += (amount - label).abs().sum(0)
        self.num_images += len(amount)

    def compute(self) -> dict[str, Tensor]:
        """Return the error of each class, and the mean."""
        per_class = self.error / self.num_images
        return {"per_class": per_class, "mae": per_class[self.scored].mean(), "num_images": self.num_images}


class PairMean(ExactMetric):
    """Means of values of which each pair has one.

    Args:
        num_classes: C.
        score_classes: Class indices that both means run over; None takes all.

    Returns of ``compute``:
        ``per_class`` ``(C,)``, nan for a class without a pair; ``over_pairs``, the mean over the pairs of all
        scored classes; ``over_classes``, the mean of these classes' means; ``num_pairs`` ``(C,)``.
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
        """Return the means."""
        per_class = self.total / self.count
        return {
            "per_class": per_class,
            "over_pairs": self.total[self.scored].sum() / self.count[self.scored].sum(),
            "over_classes": per_class[self.scored].nanmean(),
            "num_pairs": self.count,
        }


class BoxAccuracy(ExactMetric):
    """MaxBoxAcc and MaxBoxAccV2 (Choe et al., CVPR 2020, and its journal version), each pair with the same weight.

    MaxBoxAcc is the share of pairs whose map, cut at a threshold, has its largest body in a box with an IoU of at
    least 0.5 with a true box; MaxBoxAccV2 takes any body's box and is the mean over the IoUs 0.3, 0.5 and 0.7. Both
    are at the threshold that is best for the whole set, V2 at that of each IoU.

    Args:
        num_classes: C.
        score_classes: Class indices that count; None takes all.
        thresholds: See :func:`~gain_lightning.metrics.boxes.box_ious`.

    Returns of ``compute``:
        ``max_box_acc``, ``max_box_acc_v2``, and ``box_threshold_best``, the threshold of the first; nan without a pair.

    Example:
        >>> metric = BoxAccuracy(1, thresholds=(0.2, 0.4))
        >>> ious = torch.tensor([[[0.5, 0.2], [0.8, 0.2]], [[0.6, 0.4], [0.6, 0.4]]])
        >>> metric.update(ious, torch.tensor([0, 0]))
        >>> {key: round(value.item(), 3) for key, value in metric.compute().items()}  # V2: 2 / 2, 2 / 2, 1 / 2
        {'max_box_acc': 1.0, 'max_box_acc_v2': 0.833, 'box_threshold_best': 0.2}
    """

    full_state_update = False
    higher_is_better = True
    right: Tensor
    count: Tensor

    def __init__(
        self,
        num_classes: int,
        score_classes: list[int] | None = None,
        thresholds: tuple[float, ...] = BOX_THRESHOLDS,
    ) -> None:
        super().__init__()
        self.scored = list(range(num_classes)) if score_classes is None else score_classes
        self.thresholds = thresholds
        shape = (num_classes, 1 + len(_V2_IOUS), len(thresholds))
        self.add_state("right", torch.zeros(shape, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(num_classes, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, ious: Tensor, class_idx: Tensor) -> None:
        """Add the overlaps ``(P, 2, T)`` of :func:`~gain_lightning.metrics.boxes.box_ious`, of classes ``(P,)``."""
        ious = ious.to(self.right.device)
        right = torch.stack([ious[:, 0] >= RIGHT_IOU, *(ious[:, 1] >= least for least in _V2_IOUS)], 1)
        self.right.index_add_(0, class_idx, right.to(self.right.dtype))
        self.count.index_add_(0, class_idx, torch.ones_like(class_idx, dtype=self.count.dtype))

    def compute(self) -> dict[str, Tensor]:
        """Return both accuracies, and the threshold of the first."""
        count = self.count[self.scored].sum()
        share = (self.right[self.scored].sum(0) / count).float()
        threshold = torch.tensor(self.thresholds, device=share.device)[share[0].argmax()]
        return {
            "max_box_acc": share[0].max(),
            "max_box_acc_v2": share[1:].amax(1).mean(),
            "box_threshold_best": threshold.where(count > 0, torch.nan),
        }
