"""Accuracy, or another value that every image has, in every group of a set.

Sources: the worst group is that of Sagawa et al., *Distributionally Robust Neural Networks for Group Shifts*, ICLR
2020, and equals ``acc_wg`` of WILDS (Koh et al., ICML 2021), where every group has enough images.
"""

import torch
from torch import Tensor

from gain_lightning.metrics.sets import ExactMetric
from gain_lightning.scores import FEWEST_IMAGES


class GroupAccuracy(ExactMetric):
    """The mean of a value that each image has, such as 1 for a right decision and 0 for a wrong one, by group.

    Args:
        num_groups: G.

    Returns of ``compute``:
        ``accuracy`` ``(G,)`` float64, nan for a group without an image; ``num_images`` ``(G,)``.

    Example:
        >>> metric = GroupAccuracy(3)
        >>> metric.update(torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 2, -1]))
        >>> metric.compute()["accuracy"].tolist(), metric.compute()["num_images"].tolist()
        ([0.5, nan, 1.0], [2, 0, 1])
    """

    full_state_update = False
    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self, num_groups: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(num_groups, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(num_groups, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, value: Tensor, group: Tensor) -> None:
        """Add the values ``(N,)`` of images in groups ``(N,)``; an image in no group, -1, does not count."""
        value, group = value[group >= 0], group[group >= 0]
        self.total.index_add_(0, group, value.to(self.total.dtype))
        self.count.index_add_(0, group, torch.ones_like(group))

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of each group, and its number of images."""
        return {"accuracy": self.total / self.count, "num_images": self.count}


def worst(value: Tensor, num_images: Tensor, *, is_error: bool = False) -> Tensor:
    """Return the worst value of a group, or of a class, that has at least 10 images; nan where none has.

    Args:
        value: The value of each group, ``(G,)``.
        num_images: The images of each group, ``(G,)``.
        is_error: Whether a lower value is better.

    Example:
        >>> worst(torch.tensor([0.9, 0.6, 0.1]), torch.tensor([100, 10, 9])).item()
        0.6000000238418579
    """
    value = value[(num_images >= FEWEST_IMAGES) & ~value.isnan()]
    if not len(value):
        return value.new_tensor(torch.nan)
    return value.max() if is_error else value.min()


def group_averages(value: Tensor, num_images: Tensor, num_train: Tensor) -> dict[str, Tensor]:
    """Return the averages over groups that papers quote, each by its own name.

    Args:
        value: The value of each group, ``(G,)``.
        num_images: The tested images of each group, ``(G,)``; groups without one have no part in the first two.
        num_train: The training images of each group, ``(G,)``.

    Returns:
        ``group_mean``, where every group has the same weight; ``test_average``, where every tested image has;
        ``train_weighted_average``, where every group has its share of the training images, nan if one of those was
        not tested.

    Example:
        >>> value, num_images, num_train = torch.tensor([1.0, 0.5]), torch.tensor([30, 10]), torch.tensor([90, 10])
        >>> {key: mean.item() for key, mean in group_averages(value, num_images, num_train).items()}
        {'group_mean': 0.75, 'test_average': 0.875, 'train_weighted_average': 0.949999988079071}
    """

    def weighted(weight: Tensor) -> Tensor:
        has_part = weight > 0
        weight = weight[has_part].to(value.dtype)
        return (weight * value[has_part]).sum() / weight.sum()

    return {
        "group_mean": weighted((num_images > 0).long()),
        "test_average": weighted(num_images),
        "train_weighted_average": weighted(num_train),
    }
