"""``summary.json`` of a run: its state, its scores, and the versions and device that it ran on."""

import math
import os
import platform
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from gain_lightning.methods.base import Method
from gain_lightning.methods.terms import TERMS
from gain_lightning.methods.trainer import data_of, is_trial
from gain_lightning.runs.folder import checkpoint_files
from gain_lightning.runs.masked import MASKED_IDS
from gain_lightning.runs.provenance import git_commit
from gain_lightning.runs.summary import clear_error, read_summary, write_error, write_summary
from gain_lightning.support.files import write_atomically
from gain_lightning.support.home import without_home
from gain_lightning.training.metrics_file import MetricsFile

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy", "albumentations")


class RunRecord(pl.Callback):
    """Writes ``summary.json`` and ``masked_ids.txt``.

    It has to come after the callbacks whose files a finished run has.

    Args:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        # State of a training that ends by itself; a sweep's pruning changes it.
        self.outcome = "finished"
        self.summary: dict[str, Any] = {}
        self.started = time.time()
        self.spent_before = 0.0
        # If a test follows, the training is finished once it is tested.
        self.test_follows = False
        # True after the training, until the test that follows is over.
        self.is_fitted = False
        # True for the test of a checkpoint from elsewhere, in a folder of its own.
        self.test_alone = False
        # What the summary says of the best checkpoint, if the test is of it.
        self.tested: dict[str, Any] | None = None
        # A resumed run may end before it validates again, so earlier scores are kept.
        self.is_resumed = False

    def _write(self, trainer: pl.Trainer, **changes: Any) -> None:
        self.summary.update(changes)
        if trainer.is_global_zero and not is_trial(trainer):
            write_summary(self.run_dir, self.summary)

    def setup(self, trainer: pl.Trainer, pl_module: Method, stage: str) -> None:
        """Write before the first step that the run is running."""
        # A validation prints its scores and leaves the run as it is.
        if stage == "validate":
            return
        earlier = read_summary(self.run_dir)
        # A test keeps the training's summary.
        if stage != "fit":
            self.summary = self.summary or earlier
        data = data_of(trainer)
        self.test_alone = stage == "test" and (not self.summary or "test_alone" in self.summary)
        if stage == "fit" or self.test_alone:
            self.spent_before = earlier.get("wall_time_s", 0.0)
            clear_error(self.run_dir)
            self.summary = {"test_alone": True} if self.test_alone else {}
            facts = {
                "method": pl_module.method,
                "seed": int(seed) if (seed := os.environ.get("PL_GLOBAL_SEED")) else None,
                "accuracy_class": data.accuracy_class,
                "num_masked": len(data.masked_ids),
                **({"num_select": len(data.select_ids)} if data.select_ids else {}),
                "git_commit": git_commit(),
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in PACKAGES},
                },
                "device": device_name(trainer),
            }
            kept = earlier.get("metrics", {}) if self.is_resumed else {}
            kept = {
                key: value for key, value in kept.items() if key.startswith(("train/", "val/", "select/"))
            }
            # A resumed run whose summary has no note of guidance gets none.
            guided = {}
            if pl_module.guides_maps and stage == "fit" and ("guided" in earlier or not self.is_resumed):
                guided = {"guided": self.is_resumed and earlier["guided"]}
            begun = {**facts, **guided, "metrics": kept, "wall_time_s": self.spent_before}
            self._write(trainer, state="running", **begun)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                    logger.experiment.config.update({"run": facts}, allow_val_change=True)
        if stage == "fit" and data.masked_ids and trainer.is_global_zero and not is_trial(trainer):
            write_atomically(self.run_dir / MASKED_IDS, data.mask_list)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue the metrics where the checkpoint stands, and let short epochs log the loss at least once."""
        settings: Any = trainer
        settings.log_every_n_steps = min(settings.log_every_n_steps, int(trainer.num_training_batches) or 1)
        if trainer.is_global_zero and not is_trial(trainer):
            for logger in trainer.loggers:
                if isinstance(logger, MetricsFile) and trainer.global_step:
                    logger.drop_from(trainer.global_step)
                elif isinstance(logger, MetricsFile):
                    logger.begin_anew()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Method, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the first step in which maps were guided, that is, in which one of :data:`TERMS` was in the loss."""
        if self.summary.get("guided") or not pl_module.guides_maps:
            return
        if {f"train/{name}" for name in TERMS} & getattr(pl_module, "logged", {}).keys():
            self._write(trainer, guided=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the scores of a validation, for a resume that has none of its own."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._note_scores(trainer)

    def _note_scores(self, trainer: pl.Trainer, **changes: Any) -> None:
        metrics = dict(self.summary.get("metrics", {}))
        for key, value in trainer.callback_metrics.items():
            if key.startswith(("train/", "val/", "select/", "test/", "center/")):
                metrics[key] = float(value) if math.isfinite(value) else None
        self._write(trainer, metrics=metrics, **changes)

    def _cost(self) -> dict[str, float]:
        """Return the seconds of training, those before a resume included, and the peak memory."""
        return {"wall_time_s": round(self.spent_before + time.time() - self.started, 1), **peak_memory()}

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the end of training; the run is finished only once the test that follows is over."""
        if self.summary.get("guided") is False:
            rank_zero_warn(
                f"no step of this training was guided, so that it is no run of {pl_module.method}: expected a "
                'smaller model.warmup, and masks for L_e; summary.json says "guided": false'
            )
        self.is_fitted = self.test_follows and self.outcome == "finished"
        self._note_scores(trainer, state="running" if self.is_fitted else self.outcome, **self._cost())

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the rows of an earlier test, which a resumed run with nothing left to train repeats."""
        if self.is_fitted and trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, MetricsFile):
                    logger.drop_from(trainer.global_step)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the scores of a test, after all other files of the test."""
        # A test never turns a killed training into a finished one.
        is_end, self.is_fitted = self.test_alone or self.is_fitted, False
        judged = getattr(pl_module, "judged", {}).get("test")
        facts = {"test_set": next(iter(data_of(trainer).test_sets))} | ({"judged": judged} if judged else {})
        self.summary.pop("tested", None)
        facts |= {"tested": self.tested} if self.tested else {}
        self._note_scores(trainer, **facts, **({"state": "finished"} if is_end else {}))

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write how the run ended, and keep the traceback."""
        is_training = trainer.state.fn == "fit" or self.is_fitted
        # A stopped test leaves the run as it was.
        if not self.summary or not (is_training or self.test_alone):
            return
        killed = isinstance(exception, (KeyboardInterrupt, SystemExit))
        error = without_home(f"{type(exception).__name__}: {exception}")
        self._write(trainer, state="killed" if killed else "failed", error=error, **self._cost())
        if killed and trainer.is_global_zero and is_training:
            from_last = " --ckpt_path last" if checkpoint_files(self.run_dir / "checkpoints") else ""
            rank_zero_info(f"Resume: gain fit --config {self.run_dir / 'config.yaml'}{from_last}")
        if trainer.is_global_zero and not is_trial(trainer):
            text = without_home("".join(traceback.format_exception(exception)))
            write_error(self.run_dir, text)


def device_name(trainer: pl.Trainer) -> str:
    """Return the name of the device that the run computes on."""
    if trainer.strategy.root_device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(trainer.strategy.root_device)}"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def peak_memory() -> dict[str, int]:
    """Return the peak memory of the process, MiB, and of its GPU if it has one."""
    if sys.platform == "win32":
        return {}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20}
    if torch.cuda.is_available():
        peak["peak_gpu_mib"] = torch.cuda.max_memory_allocated() >> 20
    return peak
