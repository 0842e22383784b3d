"""How good attention maps are: seed mIoU, energy pointing game, pointing game.

Pure functions give one value a (image, class) pair; torchmetrics classes gather them over a set. Every map
is judged for a class that the image's label names. Void pixels never count.
"""

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities.data import dim_zero_cat

from gain_lightning import VOID
from gain_lightning.attention import Pairs

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # of the seed sweep; 0.2 is the paper's


def with_mask(mask: Tensor, pairs: Pairs) -> Tensor:
    """Which pairs can be judged: those whose mask shows their class, ``(P,)`` bool.

    Args:
        mask: 0 background, 1..C class, 255 void, shape ``(N, H, W)``.
        pairs: The P pairs.
    """
    return (mask[pairs.image] == pairs.label.view(-1, 1, 1) + 1).flatten(1).any(1)


def energy_in_mask(maps: Tensor, mask: Tensor, pairs: Pairs) -> Tensor:
    """Energy pointing game: the share of a map's sum that lies on its class (Wang et al., Score-CAM, 2020).

    An all-zero map counts 0, as in Rao et al. (ICCV 2023).

    Args:
        maps: Non-negative maps, shape ``(P, 1, H, W)``.
        mask: Shape ``(N, H, W)``.
        pairs: The P pairs.

    Returns:
        Share in [0, 1], shape ``(P,)``.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> mask = torch.tensor([[[1, 0, 255]]])
        >>> energy_in_mask(torch.tensor([[[[3.0, 1.0, 9.0]]]]), mask, label_pairs(torch.ones(1, 1)))
        tensor([0.7500])
    """
    pair_mask = mask[pairs.image]
    maps = maps.squeeze(1) * (pair_mask != VOID)
    inside = (maps * (pair_mask == pairs.label.view(-1, 1, 1) + 1)).flatten(1).sum(1)
    total = maps.flatten(1).sum(1)
    return torch.where(total > 0, inside / total, torch.zeros_like(total))


def pointing_hit(maps: Tensor, mask: Tensor, pairs: Pairs) -> Tensor:
    """Pointing game: is a map's maximum on its class (Zhang et al., ECCV 2016; without their 15 px margin)?

    Args:
        maps: Non-negative maps, shape ``(P, 1, H, W)``; an all-zero map misses.
        mask: Shape ``(N, H, W)``.
        pairs: The P pairs.

    Returns:
        1 for a hit, else 0, shape ``(P,)`` float.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> pointing_hit(torch.tensor([[[[0.1, 0.7]]]]), torch.tensor([[[0, 1]]]), label_pairs(torch.ones(1, 1)))
        tensor([1.])
    """
    pair_mask = mask[pairs.image].flatten(1)
    maps = maps.flatten(1).masked_fill(pair_mask == VOID, 0)
    value, place = maps.max(1) if len(maps) else (maps.sum(1), pair_mask.sum(1))
    hit = pair_mask.gather(1, place.unsqueeze(1)).squeeze(1) == pairs.label + 1
    return (hit & (value > 0)).float()


def seed_iou(maps: Tensor, mask: Tensor, pairs: Pairs, *, threshold: float = 0.2) -> Tensor:
    """IoU of each pair's seeds, the pixels above a threshold, with its class; for one image, not for a set.

    Args:
        maps: Scaled maps in [0, 1], shape ``(P, 1, H, W)``.
        mask: Shape ``(N, H, W)``.
        pairs: The P pairs.
        threshold: In units of the maps.

    Returns:
        IoU in [0, 1], shape ``(P,)``.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> mask = torch.tensor([[[1, 1, 0, 255]]])
        >>> seed_iou(torch.tensor([[[[0.1, 0.3, 1.0, 1.0]]]]), mask, label_pairs(torch.ones(1, 1)))
        tensor([0.3333])
    """
    pair_mask = mask[pairs.image]
    valid = pair_mask != VOID
    seed = (maps.squeeze(1) > threshold) & valid
    truth = pair_mask == pairs.label.view(-1, 1, 1) + 1
    union = (seed | truth).flatten(1).sum(1)
    return (seed & truth).flatten(1).sum(1) / union.clamp_min(1)


def center_gaussian(size: tuple[int, int]) -> Tensor:
    """The map that looks at the centre of any image, the baseline that a map has to beat.

    Objects are photographed at the centre, so this map scores well without having seen anything (Choe et al.,
    *Evaluating Weakly Supervised Object Localization Methods Right*, CVPR 2020).

    Args:
        size: Height and width in pixels.

    Returns:
        A Gaussian with a quarter of each side as its standard deviation, 1 at the centre, ``(1, 1, H, W)``.

    Example:
        >>> center_gaussian((1, 3))
        tensor([[[[0.4111, 1.0000, 0.4111]]]])
    """
    rows, columns = (torch.exp(-8 * ((torch.arange(side) + 0.5) / side - 0.5).square()) for side in size)
    return (rows[:, None] * columns).view(1, 1, *size)


class SeedIoU(torchmetrics.Metric):
    """mIoU of seeds over a sweep of thresholds: one confusion matrix over the set, never a mean over images.

    A pixel's seed is the class, among those the image's label names, whose scaled map is highest there; it
    is background where that map does not exceed the threshold. Images without a mask are passed over.

    Args:
        num_classes: C; background is class 0 besides.
        thresholds: Ascending, in units of the scaled maps.
        score_classes: Class indices (0..C-1) that the mean runs over, beside background; None takes all.

    Returns of ``compute``:
        ``iou`` ``(T, C + 1)``, nan for a class absent from the set and its seeds; ``miou`` ``(T,)``, the mean
        over background and the scored classes that have an IoU.
    """

    full_state_update = False
    higher_is_better = True

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
        self.num_labels = num_classes + 1
        self.register_buffer("thresholds", torch.tensor(thresholds), persistent=False)
        # [true label, winning class, how many thresholds its value exceeds]
        shape = (self.num_labels, self.num_labels, len(thresholds) + 1)
        self.add_state("count", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, maps: Tensor, mask: Tensor, pairs: Pairs) -> None:
        """Count a batch: scaled ``maps`` ``(P, 1, H, W)``, ``mask`` ``(N, H, W)``."""
        best = maps.new_zeros(mask.shape)
        winner = torch.zeros_like(mask, dtype=torch.long)
        for rank in range(int(pairs.rank.max()) + 1 if len(maps) else 0):
            is_rank = pairs.rank == rank
            image = pairs.image[is_rank]
            values = maps[is_rank].squeeze(1)
            higher = values > best[image]
            best[image] = torch.where(higher, values, best[image])
            winner[image] = torch.where(higher, pairs.label[is_rank].view(-1, 1, 1) + 1, winner[image])
        valid = mask != VOID
        exceeds = torch.bucketize(best[valid], self.thresholds.to(best.dtype))  # value > threshold
        cell = (mask[valid].long() * self.num_labels + winner[valid]) * self.count.shape[2] + exceeds
        self.count += torch.bincount(cell, minlength=self.count.numel()).view_as(self.count)

    def compute(self) -> dict[str, Tensor]:
        """IoU per threshold and class, and their mean."""
        total = self.count.sum((1, 2)).double()  # pixels of each true label
        ious = []
        for step in range(len(self.thresholds)):
            confusion = self.count[:, :, step + 1 :].sum(2).double()
            confusion[:, 0] = total - confusion[:, 1:].sum(1)
            hit = confusion.diagonal()
            ious.append(hit / (total + confusion.sum(0) - hit))  # 0 / 0 where absent
        iou = torch.stack(ious)
        return {"iou": iou, "miou": iou[:, self.scored].nanmean(1)}


class MeanAP(torchmetrics.Metric):
    """Average precision of every class, and its mean over those that the set shows.

    Args:
        num_classes: C.
        score_classes: Class indices that the mean runs over; None takes all.

    Returns of ``compute``:
        ``ap`` ``(C,)``, nan for a class that no image shows; ``mean_ap``, nan if no scored class is shown;
        ``num_images`` ``(C,)``, how many show each class.
    """

    # torchmetrics' own MultilabelAveragePrecision refuses a single class
    full_state_update = False
    higher_is_better = True

    def __init__(self, num_classes: int, score_classes: list[int] | None = None) -> None:
        super().__init__()
        self.scored = list(range(num_classes)) if score_classes is None else score_classes
        self.add_state("score", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, score: Tensor, target: Tensor) -> None:
        """Add scores and labels 0/1 of a batch, both ``(N, C)``."""
        self.score.append(score)
        self.target.append(target.long())

    def compute(self) -> dict[str, Tensor]:
        """Average precision of each class, and the mean."""
        score, target = dim_zero_cat(self.score), dim_zero_cat(self.target)
        num_images = target.sum(0)
        ap = torch.stack(
            [binary_average_precision(*column) for column in zip(score.T, target.T, strict=True)]
        )
        ap = ap.masked_fill(num_images == 0, torch.nan)
        return {"ap": ap, "mean_ap": ap[self.scored].nanmean(), "num_images": num_images}


class MeanAE(torchmetrics.Metric):
    """Mean absolute error of every class's amount, and its mean over classes.

    Args:
        num_classes: C.
        score_classes: Class indices that the mean runs over; None takes all.

    Returns of ``compute``:
        ``of_class`` ``(C,)`` and ``mae``, in the labels' unit; ``num_images`` ``(C,)``, how many were judged.
    """

    full_state_update = False
    higher_is_better = False

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


class PairMean(torchmetrics.Metric):
    """Mean of one value a pair.

    Args:
        num_classes: C.

    Returns of ``compute``:
        ``of_class`` ``(C,)``, nan without a pair; ``over_pairs`` and ``over_classes``, the mean of all pairs
        and that of the classes' means; ``num_pairs`` ``(C,)``.
    """

    full_state_update = False
    higher_is_better = True

    def __init__(self, num_classes: int) -> None:
        super().__init__()
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
            "over_pairs": self.total.sum() / self.count.sum(),
            "over_classes": of_class.nanmean(),
            "num_pairs": self.count,
        }
