"""DFR: the last layer of a finished run is trained anew on balanced groups (Kirichenko et al., ICLR 2023)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from gain_lightning.datasets.balance import groups_of, merge_groups
from gain_lightning.datasets.sample import PictureSet, Streams
from gain_lightning.datasets.streams import run_seed
from gain_lightning.methods.borders import normalized
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.finished_run import checkpoint_of_run
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_settings import method_name
from gain_lightning.methods.last_layer import LastLayer, retrain
from gain_lightning.methods.trainer import data_of
from gain_lightning.runs.checkpoints import check_fits, read_checkpoint

STRENGTHS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


class DFR(GAIN):
    """A finished run whose last layer alone is trained anew, on as many validation images of each group.

    The network keeps the features that the run learned, by whatever method, so a run of GAIN_ext gives GAIN_ext + DFR.
    The config is that of the run, with this method and ``from_run`` beside it. Validation images are trained on, so
    scores of the validation say nothing any more; the test does. Where pictures have many labels and the data judge
    one class (``accuracy_class``), whose presence makes the groups, that class alone gets new weights.

    Source:
        Kirichenko et al., *Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations*, ICLR 2023;
        see :func:`gain_lightning.methods.last_layer.retrain`.

    Args:
        from_run: The folder of the finished run, see
            :func:`gain_lightning.methods.finished_run.checkpoint_of_run`.
        draws: Number of balanced draws whose layers are averaged.
        strengths: Prices of the weights to choose from, see
            :func:`gain_lightning.methods.last_layer.fit_sparse`; null takes six from 0.3 to 0.001.
        gain: Every argument of :class:`gain_lightning.GAIN`, as the run has them.

    Raises:
        ValueError: If an argument is out of range.
    """

    name = "DFR"

    def __init__(
        self,
        from_run: str | None = None,
        draws: int = 10,
        strengths: list[float] | None = None,
        **gain: Any,
    ) -> None:
        super().__init__(**gain)
        if draws < 1:
            raise ValueError(f"model.draws is {draws}, expected at least 1")
        if strengths is not None and not (strengths and all(0 < each < float("inf") for each in strengths)):
            raise ValueError(f"model.strengths is {strengths}, expected positive numbers")
        if self.task.has_amounts:
            raise ValueError("method DFR decides between classes, and amounts are none: expected GAIN")
        if self.hparams.tile_size is not None:
            raise ValueError(
                f"model.tile_size is {self.hparams.tile_size}, but method DFR trains a layer that sees whole pictures: "
                "expected null"
            )
        # One call fits the layer; there is no gradient to step along.
        self.automatic_optimization = False

    @classmethod
    def label(cls, settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        """Return ``dfr``, joined to the guidance that the run had."""
        return method_name(settings, data, "dfr")

    @property
    def guides_maps(self) -> bool:
        """Return False: the maps were guided in the run, if they were."""
        return False

    def recorders(self, run_dir: Path) -> list[pl.Callback]:
        """Return the recorders of a classifier; there is no cost of guidance to foresee."""
        return Classifier.recorders(self, run_dir)

    def configure_optimizers(self) -> Optimizer:
        """Make an optimizer that moves nothing, by which Lightning counts the one step."""
        return SGD(self.new_layers().parameters(), lr=0.0)

    def setup(self, stage: str) -> None:
        """Take the run's network, and refuse validation images that lack a group."""
        super().setup(stage)
        if stage != "fit":
            return
        data, path = data_of(self.trainer), checkpoint_of_run(self.hparams.from_run, "from_run")
        groups = groups_of(data.val_set, data.told_groups, "method DFR", of="validation")
        counts = np.bincount(groups)
        if counts.min() < 2:
            names, _ = merge_groups(data.told_groups)
            raise ValueError(
                f"method DFR needs 2 validation images of every group, but there is 1 of {names[counts.argmin()]}: one "
                "half is trained on, and one chooses the strength"
            )
        self._linear()
        self._take_network(path)

    def _take_network(self, path: Path) -> None:
        checkpoint = read_checkpoint(path)
        theirs = checkpoint["hyper_parameters"].get("task", "multi_label")
        if theirs != self.hparams.task:
            raise ValueError(
                f"model.task is {self.hparams.task}, but {path} was trained for {theirs}: expected the same"
            )
        network = {
            key: value for key, value in checkpoint["state_dict"].items() if key.startswith("backbone.")
        }
        state = {**self.state_dict(), **network}
        check_fits({**checkpoint, "state_dict": state}, self, path)
        self.load_state_dict(state)

    def on_train_start(self) -> None:
        """Do nothing: no guidance begins, and no rate follows a schedule."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Leave a batch as it is: nothing is mapped."""
        return batch

    def training_step(self, batch: Streams, batch_idx: int) -> None:
        """Train the last layer, and end the training."""
        data = data_of(self.trainer)
        features, label = self._features(data.val_set)
        classes = self._classes(data.accuracy_class)
        found = retrain(
            features,
            label[:, classes],
            groups_of(data.val_set, data.told_groups, "method DFR", of="validation"),
            task=self.hparams.task,
            strengths=self.hparams.strengths or STRENGTHS,
            draws=self.hparams.draws,
            seed=run_seed(),
        )
        self._set_layer(found.layer, classes)
        rank_zero_info(
            f"DFR: the last layer is the mean of {self.hparams.draws} draws of {found.per_group} validation images of "
            f"each group; strength {found.strength:g}, worst group {found.worst_group:.1%} of the half held out"
        )
        self.log_dict({"train/strength": found.strength, "train/held_out_worst_group": found.worst_group})
        self.optimizers().step()  # type: ignore[union-attr]
        self.trainer.should_stop = True

    def _classes(self, accuracy_class: str | None) -> list[int]:
        """Return the classes that get new weights; those of a softmax decide together."""
        names = list(self.hparams.class_names)
        if self.hparams.task == "multi_label" and accuracy_class is not None:
            return [names.index(accuracy_class)]
        return list(range(len(names)))

    @torch.no_grad()
    def _features(self, images: PictureSet) -> tuple[Tensor, Tensor]:
        """Compute what the last layer is given of every picture of a set, ``(n, K)``, and the labels, ``(n, C)``."""
        layer, given, labels = self.backbone.classifier, [], []
        hook = layer.register_forward_pre_hook(lambda layer, inputs: given.append(inputs[0].flatten(1)))
        was_training = self.training
        self.eval()
        try:
            for batch in data_of(self.trainer).in_order(images):
                self(normalized(self.backbone, {**batch, "image": batch["image"].to(self.device)}))
                labels.append(self.multi_hot(batch["label"].to(self.device)))
        finally:
            hook.remove()
            self.train(was_training)
        return torch.cat(given).float(), torch.cat(labels).float()

    def _linear(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias of the last layer.

        Raises:
            ValueError: If it is not one linear layer with a bias.
        """
        layer: nn.Module = self.backbone.classifier
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if (
            not isinstance(weight, Tensor)
            or not isinstance(bias, Tensor)
            or weight[0].numel() != weight.shape[1]
        ):
            raise ValueError(
                f"method DFR trains one linear layer with a bias, but {self.hparams.backbone} ends in another "
                f"({type(layer).__name__}): expected another backbone"
            )
        return weight, bias

    @torch.no_grad()
    def _set_layer(self, new: LastLayer, classes: list[int]) -> None:
        """Give some classes of the network's last layer new weights."""
        weight, bias = self._linear()
        weight[classes] = new.weight.view(len(classes), *weight.shape[1:])
        bias[classes] = new.bias
