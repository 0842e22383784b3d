"""Tasks. Labels name the classes that an image shows, its one class, or the amount of each class in it."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from gain_lightning.attention import margins
from gain_lightning.backbones.weights import saved_amount_unit
from gain_lightning.datasets.sample import Batch, PictureSet
from gain_lightning.datasets.transforms import Augmentation
from gain_lightning.losses import balanced_class_weights, classification_losses
from gain_lightning.methods.base import Method
from gain_lightning.methods.class_weights import class_weights_of


class MultiLabel:
    """An image shows any number of classes; each is decided on its own.

    Args:
        model: The classifier whose task it is.
    """

    name: ClassVar[str] = "multi_label"
    has_amounts: ClassVar[bool] = False
    expected: ClassVar[str] = "0 or 1, or model.task regression"

    def __init__(self, model: Method) -> None:
        self.model = model

    def prepare(self) -> None:
        """Add to a new model the state that the task keeps in it: the classes' weights, where the settings ask."""
        settings = self.model.hparams
        weights = class_weights_of(settings.get("class_weights"), settings.class_names)
        self.model.register_buffer("class_weights", weights)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute L_cl of logits ``(N, C)`` and labels ``(N, C)``, the mean of :meth:`losses`."""
        return self.losses(logits, label).mean()

    def losses(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss of each image, ``(N,)``."""
        settings, weights = self.model.hparams, self.model.class_weights
        return classification_losses(
            logits, label, task=self.name, reduction=settings.cl_reduction, weights=weights
        )

    def scores(self, logits: Tensor) -> Tensor:
        """Return the probability of every class, ``(N, C)``."""
        return logits.float().sigmoid()

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return the logit of every probability, ``(N, C)``; it still differs where probabilities round to 0 or 1."""
        return logits.float()

    def decide(self, score: Tensor) -> Tensor:
        """Return the classes that scores ``(N, C)`` say are there, ``(N, C)`` bool."""
        return score > 0.5

    def judge(self, score: Tensor, label: Tensor, accuracy_class: str | None) -> Tensor:
        """Return 1 for each right decision, ``(N,)``: on the accuracy class, else on all scored classes."""
        decision = self.decide(score).float()
        if accuracy_class is None:
            return (decision == label)[:, self.model.scored].all(1).float()
        class_idx = self.model.hparams.class_names.index(accuracy_class)
        return (decision[:, class_idx] == label[:, class_idx]).float()

    def set_scores(
        self, judged: list[Tensor], names: list[str], accuracy_class: str | None
    ) -> dict[str, Tensor]:
        """Return the scores of the test sets, from the mean of :meth:`judge` over each set.

        Args:
            judged: One mean for each test set; the first set is the main one.
            names: Names of the further sets.
            accuracy_class: The data module's accuracy class.
        """
        first, *others = judged
        scores = {}
        # The accuracy over many labels at once says little.
        if others or accuracy_class or self.name == "single_label":
            scores["test/accuracy"] = first
        scores |= {f"test/{name}": value for name, value in zip(names, others, strict=True)}
        return scores | ({"test/biased_accuracy": torch.stack(others).mean()} if others else {})

    def fits(self, labels: np.ndarray) -> np.ndarray:
        """Return True for every label that this task can read, ``(n, C)`` bool; nan fits no task."""
        return np.isin(labels, (0, 1))

    def check_labels(self, sets: Mapping[str, PictureSet | None]) -> None:
        """Refuse labels of any set in use that this task cannot read.

        Args:
            sets: Data sets with ``labels`` ``(n, C)`` and ``ids``, by their purpose.

        Raises:
            ValueError: If a label does not fit.
        """
        for name, images in sets.items():
            labels = np.asarray(getattr(images, "labels", None))
            if images is None or labels.ndim != 2:
                continue
            fits = self.fits(labels)
            if not fits.all():
                row, class_idx = np.argwhere(~fits)[0]
                raise ValueError(
                    f"{name}: image {images.ids[row]} has {labels[row, class_idx]:g} for "
                    f"{self.model.hparams.class_names[class_idx]}, expected {self.expected}"
                )

    def check_batch(self, label: Tensor, batch: Batch) -> None:
        """Refuse a batch that changed after its set was looked at.

        Args:
            label: Labels, ``(N, C)``.
            batch: A batch that names its images in ``id``.
        """

    def begin(self, labels: Tensor, augmentation: Augmentation | None) -> None:
        """Weigh the classes, and warn before the first step if the training labels ``(n, C)`` suit another task."""
        self.weigh_classes(labels)
        if labels.ndim == 2 and labels.shape[1] > 1 and (labels.sum(1) == 1).all():
            rank_zero_warn(
                "every training image has exactly one label: model.task single_label trains them as exclusive"
            )

    def weigh_classes(self, labels: Tensor) -> None:
        """Set the classes' weights by the training labels ``(n, C)``, where they are to be balanced."""
        if self.model.hparams.get("class_weights") == "balanced":
            weights = balanced_class_weights(labels, task=self.name)
            self.model.class_weights = weights.to(self.model.device)


class SingleLabel(MultiLabel):
    """An image is of exactly one class; a softmax decides between them."""

    name = "single_label"

    def scores(self, logits: Tensor) -> Tensor:
        """Return the probability of every class, ``(N, C)``; those of an image sum to 1."""
        return logits.float().softmax(1)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return the logit of every probability, ``(N, C)``: each logit's margin over the others."""
        return margins(logits.float())

    def decide(self, score: Tensor) -> Tensor:
        """Return the likeliest class of scores ``(N, C)``, ``(N, C)`` bool."""
        return torch.nn.functional.one_hot(score.argmax(1), score.shape[1]).bool()

    def judge(self, score: Tensor, label: Tensor, accuracy_class: str | None) -> Tensor:
        """Return 1 for each image whose likeliest class is its own, ``(N,)``."""
        return (score.argmax(1) == label.argmax(1)).float()

    def check_labels(self, sets: Mapping[str, PictureSet | None]) -> None:
        """Refuse labels that are not 0 or 1, and images that have no label or several."""
        super().check_labels(sets)
        for name, images in sets.items():
            labels = getattr(images, "labels", None)
            if images is None or labels is None or labels.ndim == 1:
                continue
            wrong = (labels.sum(1) != 1).nonzero()[0]
            if len(wrong):
                raise ValueError(
                    f"model.task is single_label, but {len(wrong)} images of {name} do not have exactly one label, "
                    f"the first {images.ids[wrong[0]]}"
                )

    def check_batch(self, label: Tensor, batch: Batch) -> None:
        """Refuse an image without exactly one label."""
        if (label.sum(1) != 1).any():
            wrong = batch["id"][int((label.sum(1) != 1).nonzero()[0])]
            raise ValueError(f"model.task is single_label, but image {wrong} does not have exactly one label")

    def begin(self, labels: Tensor, augmentation: Augmentation | None) -> None:
        """Weigh the classes; :meth:`check_labels` has looked at all labels."""
        self.weigh_classes(labels)


class Regression(MultiLabel):
    """An image shows an amount of each class from 0 on: a count or a size.

    Logits are amounts in the unit ``model.amount_unit`` ``(C,)``, the mean amount of each class where it is present.
    So networks begin alike, whatever the amounts. Checkpoints keep the unit.
    """

    name = "regression"
    has_amounts = True
    expected = "amounts from 0 on"

    @property
    def starts_from_amounts(self) -> bool:
        """True if the weights that the model began with predict amounts."""
        return self.model.starts_from_amounts

    def prepare(self) -> None:
        """Register the unit of the amounts, which is that of the loaded weights if they have one."""
        super().prepare()
        class_names = self.model.hparams.class_names
        unit = saved_amount_unit(self.model.hparams.weights, class_names)
        self.model.register_buffer("amount_unit", torch.ones(len(class_names)) if unit is None else unit)
        self.model.starts_from_amounts = unit is not None

    def losses(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss of each image, ``(N,)``, of logits ``(N, C)`` and amounts ``(N, C)``."""
        return super().losses(logits, label / self.model.amount_unit)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the amount of every class in the labels' unit, ``(N, C)``."""
        return logits.float() * self.model.amount_unit

    def judge(self, score: Tensor, label: Tensor, accuracy_class: str | None) -> Tensor:
        """Return each image's absolute error as the mean over the scored classes, ``(N,)``."""
        return (score - label).abs()[:, self.model.scored].mean(1)

    def set_scores(
        self, judged: list[Tensor], names: list[str], accuracy_class: str | None
    ) -> dict[str, Tensor]:
        """Return the mean absolute error of the further test sets; ``test/mae`` holds that of the first."""
        return {f"test/{name}_mae": value for name, value in zip(names, judged[1:], strict=True)}

    def fits(self, labels: np.ndarray) -> np.ndarray:
        """Return True for every amount from 0 on, ``(n, C)`` bool."""
        return labels >= 0

    def begin(self, labels: Tensor, augmentation: Augmentation | None) -> None:
        """Weigh the classes, set the unit of the amounts, and rescale a network that starts from amounts.

        It then predicts the same amounts.

        Args:
            labels: Amounts of the training images, ``(n, C)``.
            augmentation: The data module's augmentation, or None.

        Raises:
            ValueError: If the augmentation cuts parts of an image away, and amounts with them.
        """
        if augmentation is not None and augmentation.scale[1] > 1:
            raise ValueError(
                f"data.augmentation.scale is {list(augmentation.scale)}, which cuts parts away, and amounts with "
                "them: expected at most 1 with model.task regression (and 1, 1 where amounts are sizes)"
            )
        self.weigh_classes(labels)
        model = self.model
        labels = labels.float()
        count = (labels > 0).sum(0)
        unit = torch.where(count > 0, labels.sum(0) / count.clamp_min(1), 1).to(model.amount_unit)
        if self.starts_from_amounts:
            with torch.no_grad():
                for parameter in model.backbone.classifier.parameters():
                    parameter.mul_((model.amount_unit / unit).view(-1, *[1] * (parameter.ndim - 1)))
        model.amount_unit.copy_(unit)


TASKS = {task.name: task for task in (MultiLabel, SingleLabel, Regression)}
