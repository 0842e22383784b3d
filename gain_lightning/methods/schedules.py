"""The length of a training, and learning rates that follow the share of it that is done.

A schedule here takes no number of steps or epochs: the method tells it how many steps the training has once that is
known (:meth:`ShareSchedule.begin`), and it steps with every step of the optimizer, whatever ``lr_interval`` says.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Length(NamedTuple):
    """The length of a training; infinite where it has no end.

    Attributes:
        batches: Number of batches of a process.
        steps: Number of steps of the optimizer.
    """

    batches: float
    steps: float

    @property
    def is_finite(self) -> bool:
        """True if the training has an end that is known before it begins."""
        return math.isfinite(self.batches)


def length_of(trainer: pl.Trainer) -> Length:
    """Return how long a training is, by ``max_epochs`` or ``max_steps``, whichever ends it first.

    The last step of an epoch may have fewer batches than ``accumulate_grad_batches``.

    Args:
        trainer: Trainer that knows how many batches a step and an epoch have.

    Example:
        >>> from types import SimpleNamespace
        >>> trainer = SimpleNamespace(num_training_batches=6, accumulate_grad_batches=4, max_epochs=3, max_steps=-1)
        >>> length_of(trainer)
        Length(batches=18, steps=6)
        >>> trainer.max_steps = 3
        >>> length_of(trainer)
        Length(batches=10, steps=3)
    """
    per_epoch, a_step = trainer.num_training_batches, trainer.accumulate_grad_batches
    if not math.isfinite(per_epoch):
        steps = trainer.max_steps if trainer.max_steps >= 0 else math.inf
        return Length(steps * a_step, steps)
    per_epoch = int(per_epoch)
    steps_per_epoch = math.ceil(per_epoch / a_step)
    lengths = [Length(math.inf, math.inf)]
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        lengths.append(Length(per_epoch * trainer.max_epochs, steps_per_epoch * trainer.max_epochs))
    if trainer.max_steps >= 0:
        epochs, steps = divmod(trainer.max_steps, max(steps_per_epoch, 1))
        lengths.append(Length(epochs * per_epoch + steps * a_step, trainer.max_steps))
    return min(lengths)


def no_end(key: str, value: Any) -> ValueError:
    """Return the error that a setting is a share of a training that has no end."""
    return ValueError(
        f"{key} is {value}, a share of the training, but this training has no end: expected trainer.max_epochs or "
        "trainer.max_steps"
    )


class ShareSchedule(LRScheduler):
    """A learning rate that follows the share of the training that is done; a subclass says how.

    Every parameter group keeps its ratio to the others.

    Attributes:
        num_steps: Number of steps of the training; None until :meth:`begin`.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.num_steps: int | None = None
        super().__init__(optimizer)

    def rate(self, lr: float, step: int, num_steps: int) -> float:
        """Return the rate of a step.

        Args:
            lr: The rate that the optimizer was given.
            step: Number of the step, from 0 on.
            num_steps: Number of steps of the training.
        """
        raise NotImplementedError

    def begin(self, num_steps: int) -> None:
        """Take the number of steps of the training, and set the rate of the next step."""
        self.num_steps = num_steps
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = self.get_lr()

    def get_lr(self) -> list[Any]:
        """Return the rates of the next step, one for each parameter group."""
        if self.num_steps is None:
            return [*self.base_lrs]
        return [self.rate(float(lr), self.last_epoch, self.num_steps) for lr in self.base_lrs]


class OneCycle(ShareSchedule):
    """One rise from about 0 to the rate, on a line, and one fall to about 0, on half a cosine.

    It is the one-cycle policy (Smith & Topin, 2018) without its momentum: the rise spares pretrained layers while the
    new one is random, and the fall takes the place of milestones. A step has the rate of its middle.

    Args:
        optimizer: The optimizer.
        rise: Share of all steps in which the rate rises.

    Raises:
        ValueError: If ``rise`` is no share.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = OneCycle(optimizer, rise=0.5)
        >>> [round(schedule.rate(1.0, step, num_steps=8), 3) for step in range(8)]
        [0.125, 0.375, 0.625, 0.875, 0.962, 0.691, 0.309, 0.038]
    """

    def __init__(self, optimizer: Optimizer, rise: float = 0.25) -> None:
        if not 0 <= rise <= 1:
            raise ValueError(f"lr_scheduler.rise is {rise}, expected a share of the training, 0 to 1")
        self.rise = rise
        super().__init__(optimizer)

    def rate(self, lr: float, step: int, num_steps: int) -> float:
        """Return the rate of a step, see :meth:`ShareSchedule.rate`."""
        done = min((step + 0.5) / num_steps, 1.0)
        if done < self.rise:
            return lr * done / self.rise
        fallen = (done - self.rise) / (1 - self.rise) if self.rise < 1 else 1.0
        return lr * (1 + math.cos(math.pi * fallen)) / 2


class Steps(ShareSchedule):
    """A rate that is multiplied by ``gamma`` at every milestone.

    Args:
        optimizer: The optimizer.
        milestones: Shares of the training, 0 to 1; each is rounded to a whole step.
        gamma: Factor on the rate.

    Raises:
        ValueError: If a milestone is no share, or ``gamma`` is not positive.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = Steps(optimizer, milestones=[0.6, 0.8], gamma=0.5)
        >>> [schedule.rate(1.0, step, num_steps=5) for step in range(5)]
        [1.0, 1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[float], gamma: float = 0.1) -> None:
        if not all(0 <= milestone <= 1 for milestone in milestones):
            raise ValueError(
                f"lr_scheduler.milestones is {list(milestones)}, expected shares of the training, 0 to 1"
            )
        if not 0 < gamma < math.inf:
            raise ValueError(f"lr_scheduler.gamma is {gamma}, expected a positive number")
        self.milestones = list(milestones)
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, lr: float, step: int, num_steps: int) -> float:
        """Return the rate of a step, see :meth:`ShareSchedule.rate`."""
        for milestone in self.milestones:
            # One factor after another, as torch's MultiStepLR rounds.
            lr *= self.gamma if step >= round(milestone * num_steps) else 1.0
        return lr
