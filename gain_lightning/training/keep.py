"""The checkpoint of the best validation, kept beside the last one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_warn

from gain_lightning.datasets.sample import judged_by
from gain_lightning.methods.trainer import data_of
from gain_lightning.runs.checkpoints import BEST, read_checkpoint
from gain_lightning.scores import score_of
from gain_lightning.support.names import places_of

# A score of maps that a validation has, by what judges there.
_INSTEAD = {"mask": "seed_miou", "box": "energy_in_box"}


class KeepBest(ModelCheckpoint):
    """Keeps ``best.ckpt``, the weights with the best score of a validation; of equal scores the first counts.

    Its state lies in every checkpoint, so that a training that goes on knows the best so far.

    Args:
        run_dir: The run folder.
        metric: See :func:`metric_to_keep_by`.
    """

    def __init__(self, run_dir: Path, metric: str) -> None:
        super().__init__(
            run_dir / "checkpoints",
            filename=Path(BEST).stem,
            monitor=metric,
            mode="min" if score_of(metric).better == "lower" else "max",
            auto_insert_metric_name=False,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a score that the validation will not have; warn if the test's images choose their checkpoint."""
        data = data_of(trainer)
        score, truth = score_of(str(self.monitor)), judged_by(getattr(data, "val_set", None))
        if str(self.monitor).startswith("val/") and score.over != "images" and score.truth != truth:
            marks = {"mask": "masks", "box": "boxes"}
            raise ValueError(
                f"keep_score names {score.key}, a score of {marks[score.truth]}, but val is judged by {marks[truth]}: "
                f"expected one of those, such as {_INSTEAD[truth]}"
            )
        test_sets = getattr(getattr(data, "images", data), "test_sets", None) or {}
        if str(self.monitor).startswith("val/") and next(iter(test_sets), None) == "val":
            rank_zero_warn(
                f"keep best chooses a checkpoint by {self.monitor}, and the test is on val too: its scores are of the "
                "images that it was chosen on, so expected better than on new ones"
            )


def metric_to_keep_by(name: str | None, known: Sequence[str], *, has_select: bool) -> str:
    """Return the metric that the best checkpoint is kept by.

    Args:
        name: A score of the validation, such as ``mean_ap`` or ``val/mean_ap``, or one on the masked images that are
            held out for choosing, such as ``select/seed_miou_best``; None takes the first one known.
        known: The scores that the method logs in a validation.
        has_select: Whether images are held out for choosing.

    Raises:
        ValueError: If there is no such score, or no such images.

    Example:
        >>> metric_to_keep_by(None, ["mean_ap", "energy"], has_select=False)
        'val/mean_ap'
        >>> metric_to_keep_by("energi", ["mean_ap", "energy"], has_select=False)
        Traceback (most recent call last):
        ValueError: keep_score names 'energi', expected names among mean_ap, energy; did you mean 'energy'?
    """
    metrics = {key: f"val/{key}" for key in known if score_of(key).better != "neither"}
    if has_select:
        # Masks judge there, or boxes that are drawn as masks.
        of_maps = [key for key in metrics if score_of(key).over != "images" and score_of(key).truth == "mask"]
        metrics |= {f"select/{key}": f"select/{key}" for key in of_maps}
    names = list(metrics)
    if not names:
        raise ValueError("keep is best, but this method has no score of a validation: expected keep last")
    name = names[0] if name is None else name.removeprefix("val/")
    (place,) = places_of([name], names, "keep_score")
    return metrics[names[place]]


def facts_of_best(path: Path) -> dict[str, Any]:
    """Return what ``summary.json`` says of a test of ``best.ckpt``: the file, its epoch and step, and its score."""
    checkpoint = read_checkpoint(path)
    facts = {"checkpoint": path.name, "epoch": checkpoint["epoch"], "step": checkpoint["global_step"]}
    for key, state in checkpoint["callbacks"].items():
        if key.startswith(KeepBest.__name__):
            facts |= {"score": state["monitor"], "value": float(state["best_model_score"])}
    return facts
