"""Group DRO: a training for the worst group, whose weight rises with its loss (Sagawa et al., ICLR 2020)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gain_lightning.datasets.balance import groups_of, merge_groups
from gain_lightning.datasets.sample import Batch, Streams
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_settings import method_name
from gain_lightning.methods.step import Step
from gain_lightning.methods.trainer import data_of


class GroupDRO(GAIN):
    """A classifier, guided or not, whose L_cl is a weighted sum over groups: ``L_cl = sum_g q_g L_g``.

    L_g is the mean loss of the group's images in the batch. Before each step the weight of each group that is there
    is multiplied by ``exp(group_step L_g)``, and all are divided by their sum, so the worst group comes to count most.
    Every training image has to have its group, and every group an image. As in the paper's Algorithm 1 groups should
    come equally often: ``data.balance_by: group``.

    Source:
        Sagawa et al., *Distributionally Robust Neural Networks for Group Shifts*, ICLR 2020, Algorithm 1, and the
        group adjustment of its Section 3.3.

    Args:
        group_names: The names that the method is told of the data's groups, from the data module; groups of one name
            are one of the G groups.
        group_step: eta, the step of the weights; 0 leaves them equal.
        group_adjustment: C; ``C / sqrt(n_g)`` is added to a group's loss where its weight is set, since a small group
            generalises worse than its loss says. 0 adds nothing.
        gain: Every argument of :class:`gain_lightning.GAIN`.

    Attributes:
        group_weights: q, ``(G,)``.
        group_counts: Training images of each group, ``(G,)``; 1 each until they are known.

    Raises:
        ValueError: If an argument is out of range.
    """

    name = "GroupDRO"
    group_weights: Tensor
    group_number: Tensor
    group_counts: Tensor

    def __init__(
        self,
        group_names: list[str] | None = None,
        group_step: float = 0.01,
        group_adjustment: float = 0.0,
        **gain: Any,
    ) -> None:
        super().__init__(**gain)
        for key, value in (("group_step", group_step), ("group_adjustment", group_adjustment)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"model.{key} is {value}, expected a number of at least 0")
        self.told, number = merge_groups(group_names or [])
        num_groups = len(self.told)
        self.register_buffer("group_number", torch.from_numpy(number), persistent=False)
        self.register_buffer("group_weights", torch.full((num_groups,), 1 / max(num_groups, 1)))
        self.register_buffer("group_counts", torch.ones(num_groups), persistent=False)

    @classmethod
    def label(cls, settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        """Return ``group_dro``, joined to guidance if there is any; groups that come equally often are part of it."""
        is_own = data.get("balance_by") == "group"
        return method_name(settings, {**data, "balance_by": None} if is_own else data, "group_dro")

    def setup(self, stage: str) -> None:
        """Count the images of each group, and refuse data that lack one."""
        super().setup(stage)
        if stage == "fit":
            data, names = data_of(self.trainer), self.hparams.group_names or []
            if data.mask_augment:
                raise ValueError(
                    f"data.mask_augment is {data.mask_augment}, but a picture that is made has no group, which method "
                    "GroupDRO needs: expected 0"
                )
            groups = groups_of(data.train_set, names, "method GroupDRO")
            counts = torch.as_tensor(np.bincount(groups, minlength=len(self.told)))
            self.group_counts = counts.to(self.group_weights)

    def classification_term(self, step: Step, weak: Batch) -> Tensor:
        """Compute L_cl, after the weights of the groups have moved by its losses."""
        losses = self.task.losses(step.logits[: len(step.label)], step.label)  # (N,)
        number = self.group_number[weak["group"]]
        of_group = torch.nn.functional.one_hot(number, len(self.group_weights)).to(losses)  # (N, G)
        sums = losses @ of_group  # (G,)
        totals = torch.stack([sums.detach(), of_group.sum(0)])
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        if several:
            torch.distributed.all_reduce(totals)
        counts = totals[1].clamp_min(1)
        self._move_weights(totals[0] / counts, totals[1] > 0)
        loss = (self.group_weights * sums / counts).sum()
        # the mean over processes, whose gradients are averaged, is then the loss of all their images
        return loss * torch.distributed.get_world_size() if several else loss

    @torch.no_grad()
    def _move_weights(self, losses: Tensor, is_there: Tensor) -> None:
        """Take a step of the weights, given the mean loss of each group ``(G,)``."""
        settings = self.hparams
        adjusted = losses + settings.group_adjustment / self.group_counts.sqrt()
        # a softmax of logarithms, which no large loss makes infinite
        logarithms = self.group_weights.log() + settings.group_step * adjusted * is_there
        self.group_weights.copy_(logarithms.softmax(0))

    def training_step(self, batch: Streams, batch_idx: int) -> Tensor:
        """Take one step, and log the weights of the groups."""
        loss = super().training_step(batch, batch_idx)
        weights = zip(self.told, self.group_weights.tolist(), strict=True)
        self.log_dict({f"train/weight_{name}": weight for name, weight in weights})
        return loss
