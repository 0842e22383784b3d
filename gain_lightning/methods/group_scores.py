"""Scores of the groups of a set; where there are no groups, the score of its worst class."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.methods.tasks import MultiLabel
from gain_lightning.metrics.groups import GroupAccuracy, group_averages, worst
from gain_lightning.runs.groups import GroupTable
from gain_lightning.scores import FEWEST_IMAGES


class GroupScores(nn.Module):
    """The scores of groups over a set, gathered over batches and processes.

    Args:
        names: The names of the G groups.
        num_train: The training images of each group, ``(G,)``.
        of_test: Whether the set is that of the test, whose own average over images is a score then.
        is_error: Whether the value of an image is its error, and not whether its decision is right.
    """

    def __init__(self, names: Sequence[str], num_train: np.ndarray, *, of_test: bool, is_error: bool) -> None:
        super().__init__()
        self.names, self.num_train = tuple(names), torch.from_numpy(num_train)
        self.of_test, self.is_error = of_test, is_error
        self.of_groups = GroupAccuracy(len(names))

    def update(self, judged: Tensor, label: Tensor, group: Tensor) -> None:
        """Add images.

        Args:
            judged: What :meth:`~gain_lightning.methods.tasks.MultiLabel.judge` says of each, ``(N,)``.
            label: Their labels, ``(N, C)``.
            group: The number of each one's group, ``(N,)``.
        """
        self.of_groups.update(judged, group)

    def compute(
        self, per_class: Mapping[str, Sequence[float]]
    ) -> tuple[dict[str, Tensor], GroupTable | None]:
        """Return the scores by their keys and the table of all groups, and forget all images.

        Args:
            per_class: Columns of ``per_class.csv``.
        """
        value, num_images = _take(self.of_groups)
        num_train = self.num_train.to(num_images.device)
        scores = {"worst_group": worst(value, num_images, is_error=self.is_error)}
        scores |= group_averages(value, num_images, num_train)
        if not self.of_test:
            del scores["test_average"]
        for name, mean, count in zip(self.names, value, num_images.tolist(), strict=True):
            if count:
                scores[f"group/{name}"] = mean
        ending, column = ("_mae", "mae") if self.is_error else ("", "accuracy")
        columns = {"num_images": num_images, column: value, "num_train": num_train}
        table = GroupTable(self.names, {name: values.tolist() for name, values in columns.items()})
        return {f"{key}{ending}": score for key, score in scores.items()}, table


class WorstClass(nn.Module):
    """The score of the worst class over a set without groups.

    It is the accuracy on a class's own images where an image is of one class, and else the average precision. Amounts
    have none.

    Args:
        task: The meaning of labels.
        scored: Indices of the classes that count.
    """

    def __init__(self, task: MultiLabel, scored: Sequence[int]) -> None:
        super().__init__()
        self.scored, self.key = list(scored), worst_class_key(task)
        self.of_classes = GroupAccuracy(len(task.model.hparams.class_names))

    def update(self, judged: Tensor, label: Tensor, group: Tensor) -> None:
        """Add images; see :meth:`GroupScores.update`."""
        self.of_classes.update(judged, label.argmax(1))

    def compute(
        self, per_class: Mapping[str, Sequence[float]]
    ) -> tuple[dict[str, Tensor], GroupTable | None]:
        """Return the score by its key, without a table, and forget all images; see :meth:`GroupScores.compute`."""
        value, num_images = _take(self.of_classes)
        if self.key == "worst_class_ap":
            value, num_images = (value.new_tensor(per_class[column]) for column in ("ap", "num_images"))
        return {self.key: worst(value[self.scored], num_images[self.scored])} if self.key else {}, None


def _take(metric: GroupAccuracy) -> tuple[Tensor, Tensor]:
    """Return the accuracy and the number of images of each group, ``(G,)``, and forget all images."""
    found = metric.compute()
    metric.reset()
    # torchmetrics turns the values of a single group into one number
    return found["accuracy"].reshape(-1), found["num_images"].reshape(-1)


def worst_class_key(task: MultiLabel) -> str:
    """Return the key of the score of the worst class; "" of a task that has none."""
    if task.has_amounts:
        return ""
    return "worst_class" if task.name == "single_label" else "worst_class_ap"


def keys_to_choose_by(task: MultiLabel, *, has_groups: bool) -> list[str]:
    """Return the keys of the scores of groups, or of the worst class, that a checkpoint may be chosen by."""
    if not has_groups:
        return [key] if (key := worst_class_key(task)) else []
    ending = "_mae" if task.has_amounts else ""
    return [f"{key}{ending}" for key in ("worst_group", "group_mean", "train_weighted_average")]


def begin_group_scores(
    split: str, task: MultiLabel, scored: Sequence[int], data: TwoStreamDataModule
) -> GroupScores | WorstClass:
    """Make the scores of groups of ``val`` or ``test`` where the data have groups, else that of the worst class.

    Groups that have too few images to be the worst one are named in a warning.
    """
    names = getattr(data, "group_names", ())
    if not names:
        return WorstClass(task, scored)
    images = next(iter(data.test_sets.values())) if split == "test" else data.val_set
    groups = np.zeros(0, int) if images.groups is None else images.groups
    counts = np.bincount(groups[groups >= 0], minlength=len(names)).tolist()
    few = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if 0 < n < FEWEST_IMAGES]
    if few:
        rank_zero_warn(
            f"groups of {split} with fewer than {FEWEST_IMAGES} images are left out of the worst group: "
            f"{', '.join(few)}"
        )
    num_train = data.count_train_groups()
    return GroupScores(names, num_train, of_test=split == "test", is_error=task.has_amounts)
