"""Early ends of a sweep's trials: Optuna's Hyperband stops a trial when others did better at its age."""

import json
import math
import os
from typing import Any

import optuna
import pytorch_lightning as pl
from optuna.trial import Trial
from pytorch_lightning.utilities import rank_zero_warn

from gain_lightning.support.optuna_storage import TRIAL_VARIABLE, open_storage
from gain_lightning.training.run_record import RunRecord


class Pruning(pl.Callback):
    """Reports the sweep's metric after every validation, and stops where Hyperband says so.

    Args:
        record: The run's record, which notes that the run was pruned.
        trial: The sweep's words in the environment: storage, study, number within the storage, rule.
    """

    def __init__(self, record: RunRecord, trial: str) -> None:
        self.record = record
        self.storage, self.study, self.trial_id, self.rule = json.loads(trial)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Warn if the rule can end nothing."""
        first, epochs = self.rule["min_iter"], trainer.max_epochs
        if epochs is not None and 0 < epochs <= first:
            rank_zero_warn(
                f"early_terminate.min_iter is {first}, and a training takes {epochs} epochs: no trial ends early"
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the metric and ask whether to stop; all ranks stop, or none."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        name = self.rule["metric"]
        # The metric is not logged yet; when the trial ends, the sweep reports it with the known names.
        if name not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[name])
        epoch = trainer.current_epoch + 1
        is_over = trainer.is_global_zero and self._is_over(value, epoch)
        # After the last epoch a stop would only spare the test.
        is_over &= epoch != trainer.max_epochs
        if trainer.strategy.broadcast(is_over):
            trainer.should_stop = True
            self.record.outcome = "pruned"

    def _is_over(self, value: float, epoch: int) -> bool:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = optuna.pruners.HyperbandPruner(
            min_resource=self.rule["min_iter"],
            max_resource=self.rule.get("max_iter", "auto"),
            reduction_factor=self.rule["eta"],
        )
        study = optuna.load_study(study_name=self.study, storage=open_storage(self.storage), pruner=pruner)
        trial = Trial(study, self.trial_id)
        trial.report(
            value if math.isfinite(value) else -math.inf if self.rule["maximize"] else math.inf, epoch
        )
        return trial.should_prune()


def pruning_callbacks(record: RunRecord) -> list[Any]:
    """Return the callback, if this process is a trial of a sweep that prunes."""
    trial = os.environ.get(TRIAL_VARIABLE, "")
    return [Pruning(record, trial)] if trial and json.loads(trial)[3] else []
