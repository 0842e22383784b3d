"""JTT: the errors of an earlier training are drawn more often (Liu et al., ICML 2021)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info

from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.methods.borders import normalized
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.finished_run import checkpoint_of_run
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_settings import method_name
from gain_lightning.methods.load import load_classifier
from gain_lightning.methods.trainer import data_of, is_trial
from gain_lightning.support.files import write_atomically


class JTT(GAIN):
    """A classifier, guided or not, that sees the training errors of an earlier run ``upweight`` times as often.

    The earlier run is a plain one, short or strongly regularised, so that it fits the majority and not yet the rest:
    its errors then are images against the bias. No group is asked for. The training takes as many steps as without;
    the names of the errors are written to ``errors.txt`` in the run folder.

    Source:
        Liu et al., *Just Train Twice: Improving Group Robustness without Training Group Information*, ICML 2021,
        Algorithm 1; upweight is its lambda_up.

    Args:
        identified_by: The folder of the finished run, see
            :func:`gain_lightning.methods.finished_run.checkpoint_of_run`.
        upweight: How often an error is drawn while another image is drawn once.
        gain: Every argument of :class:`gain_lightning.GAIN`.

    Attributes:
        errors: The names of the images that the earlier run gets wrong.

    Raises:
        ValueError: If an argument is out of range.
    """

    name = "JTT"

    def __init__(self, identified_by: str | None = None, upweight: int = 20, **gain: Any) -> None:
        super().__init__(**gain)
        if upweight < 1:
            raise ValueError(f"model.upweight is {upweight}, expected a whole number from 1 on")
        if self.task.has_amounts:
            raise ValueError(
                "method JTT takes wrong decisions for errors, which amounts have none of: expected GAIN"
            )
        self.errors: list[str] = []

    @classmethod
    def label(cls, settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        """Return ``jtt``, joined to guidance if there is any."""
        return method_name(settings, data, "jtt")

    def recorders(self, run_dir: Path) -> list[pl.Callback]:
        """Return the recorders of GAIN, and that of the errors."""
        return [*super().recorders(run_dir), ErrorList(run_dir)]

    def setup(self, stage: str) -> None:
        """Find the errors of the earlier run, and let the weak stream draw them more often."""
        super().setup(stage)
        if stage != "fit":
            return
        data, path = data_of(self.trainer), checkpoint_of_run(self.hparams.identified_by, "identified_by")
        if data.balance_by is not None:
            raise ValueError(
                f"data.balance_by is {data.balance_by}, but method JTT says how often images are drawn: expected null"
            )
        earlier = load_classifier(path)
        if list(earlier.hparams.class_names) != list(self.hparams.class_names):
            raise ValueError(
                f"model.identified_by: {path} is of the classes {', '.join(earlier.hparams.class_names)}, expected "
                f"{', '.join(self.hparams.class_names)}"
            )
        is_wrong = errors_of(earlier.to(self.trainer.strategy.root_device), data)
        if not is_wrong.any() or is_wrong.all():
            raise ValueError(
                f"model.identified_by: {path} gets {int(is_wrong.sum())} of {len(is_wrong)} training images wrong, so "
                "that JTT has nothing to draw more often: expected a run that fits most images and not all, shorter "
                "or with more weight decay"
            )
        self.errors = [str(data.train_set.ids[row]) for row in np.flatnonzero(is_wrong).tolist()]
        data.times = np.where(is_wrong, self.hparams.upweight, 1)
        rank_zero_info(
            f"JTT: {len(self.errors)} of {len(is_wrong)} training images are errors of {path.parent.parent}; they make "
            f"{data.times[is_wrong].sum() / data.times.sum():.0%} of the draws"
        )


@torch.no_grad()
def errors_of(model: Classifier, data: TwoStreamDataModule) -> np.ndarray:
    """Tell which training images a classifier gets wrong, each as it is, without augmentation.

    Args:
        model: The classifier, on its device.
        data: The data module, whose accuracy class is judged where it has one.

    Returns:
        ``(n,)`` bool, in the order of the training set.
    """
    model.eval()
    right = []
    for batch in data.in_order(data.image_set()):
        there, label = {**batch, "image": batch["image"].to(model.device)}, batch["label"].to(model.device)
        score = model.scores(model(normalized(model.backbone, there)))
        right.append(model.task.judge(score, model.multi_hot(label), data.accuracy_class))
    return np.asarray(torch.cat(right).cpu() == 0)


class ErrorList(pl.Callback):
    """Writes ``errors.txt``, the names of the images that JTT draws more often.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the names, one a line."""
        if trainer.is_global_zero and not is_trial(trainer) and isinstance(pl_module, JTT):
            write_atomically(self.run_dir / "errors.txt", "".join(f"{name}\n" for name in pl_module.errors))
