"""The base of every method: its optimizer, its frozen BatchNorm, and what it tells to those who run it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gain_lightning.backbones import Backbone
from gain_lightning.backbones.batch_norm import batch_norm_layers
from gain_lightning.datasets.writers.base import MarkedPicture, MarkWriter
from gain_lightning.methods.layer_sync import check_layer_sync
from gain_lightning.methods.schedules import ShareSchedule, length_of, no_end
from gain_lightning.methods.trainer import data_of
from gain_lightning.runs.groups import GroupTable
from gain_lightning.support.names import places_of

INFERENCE_MODE = (
    "attention maps need gradients, but the Trainer runs in inference mode: expected "
    "Trainer(inference_mode=False), the default of the command gain"
)


class ResultWriter(pl.Callback):
    """A callback that writes the results of ``gain predict``.

    Attributes:
        errors: One text for each picture that could not be read.
        exports: The annotation files that also take what is found in each picture.
    """

    errors: list[str]
    exports: Sequence[MarkWriter] = ()

    def export(self, picture: MarkedPicture) -> None:
        """Add a picture to every annotation file."""
        for writer in self.exports:
            writer.add(picture)

    def summary(self) -> str:
        """Say in words what was written."""
        raise NotImplementedError


class Method(pl.LightningModule):
    """A network with its losses, as Lightning trains it; a new one is a subclass and a row in ``methods/table.py``.

    A subclass keeps its arguments by ``save_hyperparameters``, among them ``class_names``, ``image_size``,
    ``freeze_batch_norm``, ``lr_interval`` and ``new_layer_lr_scale``, and sets ``backbone``.

    Args:
        optimizer: Called with the parameter groups.
        lr_scheduler: Called with the optimizer; null keeps the rate.

    Attributes:
        name: Its key in ``METHODS``; checkpoints carry it.
        kind: Its kind in the words of an error, such as "a classifier".
        predict_options: Options of ``gain predict`` that only this method takes, with their defaults.
        scored: Indices of the classes that mean scores run over.
        amount_unit: In a regression, the unit in which logits state amounts, ``(C,)``.
        class_weights: How much each class counts in L_cl, ``(C,)``; None where all count alike.
        starts_from_amounts: In a regression, true if the weights that it began with predict amounts.
        judged: Numbers of ``pairs`` and ``images`` that maps are judged on, by split, and ``by`` what, where that is
            ``boxes``; empty without maps.
        group_tables: The scores of every group, by split; empty without groups.
    """

    # This is Lightning's AttributeDict, whose attributes are the method's settings.
    hparams: Any
    name: ClassVar[str]
    kind: ClassVar[str]
    predict_options: ClassVar[Mapping[str, Any]] = {}
    backbone: Backbone
    scored: list[int]
    starts_from_amounts: bool = False
    amount_unit: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.judged: dict[str, dict[str, Any]] = {}
        self.group_tables: dict[str, GroupTable] = {}

    # What a method names ----------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """The name that a comparison groups runs by, such as ``gain_ext``."""
        data = None if self._trainer is None else data_of(self.trainer)
        return self.label(self.hparams, {} if data is None else vars(data))

    @classmethod
    def label(cls, settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        """Name the method that the settings make; a dashboard sorts runs by it before the method is made.

        Args:
            settings: The config's ``model``.
            data: The arguments of the config's ``data``.
        """
        return cls.name.lower()

    @property
    def takes_masks(self) -> bool:
        """Return whether masks guide the training; if not, all masks of a budget may choose settings."""
        return True

    @property
    def guides_maps(self) -> bool:
        """Return whether the method's name promises that maps are part of the loss."""
        return False

    def with_place(self, label: Tensor) -> Tensor:
        """Return labels ``(N, C)`` without the classes that have no place, ``no_object_classes``."""
        names = self.hparams.get("no_object_classes")
        if not names:
            return label
        label = label.clone()
        label[:, places_of(names, self.hparams.class_names, "no_object_classes")] = 0
        return label

    def new_layers(self) -> nn.Module:
        """Return the layers without loaded weights; they learn at ``new_layer_lr_scale`` times the rate."""
        raise NotImplementedError

    def validation_scores(self, data: pl.LightningDataModule | None = None) -> list[str]:
        """Return the keys of the scores that a validation on ``data`` logs as ``val/<key>``, the main one first."""
        return []

    def recorders(self, run_dir: Path) -> list[pl.Callback]:
        """Return the callbacks that write and draw this method's own results.

        Args:
            run_dir: The run folder.
        """
        return []

    def map_writer(
        self, images: Path, out: Path, pictures: list[Path], options: Mapping[str, Any]
    ) -> ResultWriter:
        """Return the callback that writes the results of ``gain predict``.

        Args:
            images: Folder that the pictures' names are relative to.
            out: Folder for the results.
            pictures: Paths of the pictures.
            options: Values of :attr:`predict_options`.

        Returns:
            The callback.
        """
        raise ValueError(f"gain predict has nothing to write of {self.kind}")

    def check_resumed(self, checkpoint: Mapping[str, Any], data: pl.LightningDataModule) -> None:
        """Refuse to go on from a checkpoint of other data.

        Args:
            checkpoint: The checkpoint that the training left.
            data: The data module that the training is to go on with.
        """

    # What Lightning calls ---------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Refuse a Trainer that would change the network, and data whose classes have other places."""
        how, seen = getattr(data_of(self.trainer), "resize", None), self.hparams.get("resize")
        if None not in (how, seen) and how != seen and stage != "predict":
            raise ValueError(
                f"resize is {how} of the data and {seen} of {self.name}: expected the same, which gain fit passes on"
            )
        theirs = getattr(data_of(self.trainer), "no_object_classes", None) or []
        ours = self.hparams.get("no_object_classes") or []
        if list(theirs) != list(ours) and stage != "predict":
            raise ValueError(
                f"no_object_classes is {theirs} of the data and {ours} of {self.name}: expected the same, which gain "
                "fit passes on to a method that takes it"
            )
        if stage == "fit":
            check_layer_sync(self.trainer, self.backbone)

    def train(self, mode: bool = True) -> "Method":
        """Set the mode of all layers; BatchNorm stays in evaluation mode if ``freeze_batch_norm``."""
        super().train(mode)
        if self.hparams.freeze_batch_norm:
            for layer in batch_norm_layers(self.backbone):
                layer.eval()
        return self

    def configure_optimizers(self) -> Any:
        """Make the optimizer with two parameter groups: the pretrained layers and the new ones."""
        new = list(self.new_layers().parameters())
        known = {id(parameter) for parameter in new}
        old = [parameter for parameter in self.parameters() if id(parameter) not in known]
        optimizer = self.optimizer([{"params": old}, {"params": new}])
        optimizer.param_groups[1]["lr"] *= self.hparams.new_layer_lr_scale
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        interval = "step" if isinstance(scheduler, ShareSchedule) else self.hparams.lr_interval
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def on_train_start(self) -> None:
        """Tell a schedule in shares how many steps the training has, which is known from here on."""
        for scheduler in (config.scheduler for config in self.trainer.lr_scheduler_configs):
            if isinstance(scheduler, ShareSchedule):
                length = length_of(self.trainer)
                if not length.is_finite:
                    raise no_end("model.lr_scheduler", type(scheduler).__name__)
                scheduler.begin(int(length.steps))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the method's name into the checkpoint, so that a reader finds the method again."""
        checkpoint["method"] = self.name


def share_of_step(trainer: pl.Trainer, batch_idx: int) -> float:
    """Return the factor on a batch's loss that makes a step the mean over its batches.

    Lightning divides every loss by ``accumulate_grad_batches``, but the last step of an epoch may have fewer
    batches.

    Args:
        trainer: Trainer that knows how many batches a step and an epoch have.
        batch_idx: Index of the batch in its epoch.

    Example:
        >>> from types import SimpleNamespace
        >>> trainer = SimpleNamespace(accumulate_grad_batches=4, num_training_batches=6)
        >>> [share_of_step(trainer, batch_idx) for batch_idx in range(6)]
        [1.0, 1.0, 1.0, 1.0, 2.0, 2.0]
    """
    most = trainer.accumulate_grad_batches
    left = trainer.num_training_batches - batch_idx // most * most
    return most / min(most, left)
