"""``gain fit | validate | test``: an experiment read from YAML, in a run folder of its own."""

import contextlib
import itertools
import math
import os
import time
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins import CheckpointIO, LayerSync
from pytorch_lightning.utilities import rank_zero_warn

from gain_lightning.methods.base import Method
from gain_lightning.methods.layer_sync import SyncEveryBatchNorm
from gain_lightning.methods.table import METHODS
from gain_lightning.methods.threads import choose_threads
from gain_lightning.methods.trainer import is_trial
from gain_lightning.runs.checkpoints import (
    BEST,
    WholeCheckpoints,
    check_fits,
    find_checkpoint,
    read_checkpoint,
)
from gain_lightning.runs.folder import lock, refuse_second_run
from gain_lightning.runs.settings import refuse_other_settings
from gain_lightning.support.home import expand_home, hide_home
from gain_lightning.support.wandb_session import end_wandb
from gain_lightning.training.config_parser import ConfigParser, arguments_of, explain, method_of
from gain_lightning.training.guards import FiniteGuard
from gain_lightning.training.keep import KeepBest, facts_of_best, metric_to_keep_by
from gain_lightning.training.memory import ReturnFreedMemory, keep_few_kernels, keep_freed_memory
from gain_lightning.training.metrics_file import MetricsFile
from gain_lightning.training.resume import ExactResume, Trainer
from gain_lightning.training.run_record import RunRecord
from gain_lightning.training.saved_config import SaveConfig, as_list, is_wandb, prepare_logger, wandb_labels
from gain_lightning.training.score_lines import print_scores


def run_experiment(argv: list[str]) -> None:
    """Run ``fit``, ``validate`` or ``test``.

    Args:
        argv: The verb and its options.

    Raises:
        SystemExit: 2 if an option or a key of a config is not understood.
    """
    failed = True
    try:
        _run_cli(argv)
        failed = False
    except ValueError as error:
        raise ValueError(explain(str(error))) from error
    finally:
        end_wandb(failed=failed)


def _run_cli(argv: list[str]) -> None:
    # A config may name these data modules without their path only if they are imported.
    from gain_lightning.datasets import folder, shapes, voc12  # noqa: F401

    model, data = METHODS[method_of(argv)].load()
    ExperimentCLI(
        argv[0],
        model,
        data,
        trainer_class=Trainer,
        subclass_mode_data=True,
        args=argv,
        parser_class=ConfigParser,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        save_config_callback=SaveConfig,
        # Attention maps need gradients in validation too, so inference mode is off.
        trainer_defaults={
            "inference_mode": False,
            "log_every_n_steps": 10,
            "num_sanity_val_steps": 0,
        },
    )


class ExperimentCLI(LightningCLI):
    """LightningCLI with a run folder, where config, metrics, records and checkpoints lie side by side."""

    def __init__(self, verb: str, *args: Any, **kwargs: Any) -> None:
        self.verb = verb
        super().__init__(*args, **kwargs)

    def subcommands(self) -> dict[str, set[str]]:
        """Return the verb with the arguments of the Trainer's method that it hides."""
        # The parsers of the other verbs are not built, since each takes a third of a second.
        data = {"train_dataloaders", "val_dataloaders"} if self.verb == "fit" else {"dataloaders", "verbose"}
        return {self.verb: {"model", "datamodule", "weights_only"} | data}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our own options, and link the model's arguments that come from the data."""
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder of this run; null makes runs/<name of the config>-<time>.",
        )
        parser.add_argument(
            "--method",
            type=str | None,
            default=None,
            help=f"One of {', '.join(METHODS)}; null takes the one that the data module is made for.",
        )
        parser.add_argument(
            "--test_after_fit", type=bool, default=True, help="Score the test sets when training has ended."
        )
        parser.add_argument(
            "--keep",
            type=Literal["last", "best"],
            default="last",
            help="The weights to test: of the last epoch, or of the best validation, kept as best.ckpt.",
        )
        parser.add_argument(
            "--keep_score",
            type=str | None,
            default=None,
            help="That makes a validation the best, such as mean_ap, seed_miou or select/seed_miou_best; null takes "
            "mean_ap, mae of amounts, miou of a segmentation.",
        )
        parser.add_argument(
            "--threads",
            type=int | None,
            default=None,
            help="That a CPU computes with; null takes as many as cores are free, unless OMP_NUM_THREADS is set.",
        )
        parser.link_arguments(
            "data.class_names", "model.class_names", compute_fn=list, apply_on="instantiate"
        )
        parser.link_arguments("data.image_size", "model.image_size", apply_on="instantiate")
        method: Any = self.model_class
        taken = arguments_of([method])
        for name in ("resize", "no_object_classes"):
            if name in taken:
                parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
        if "group_names" in taken:
            parser.link_arguments(
                "data.told_groups", "model.group_names", compute_fn=list, apply_on="instantiate"
            )

    def _parse_ckpt_path(self) -> None:
        """Keep the config as it is given: a checkpoint's settings never replace it silently."""

    def before_instantiate_classes(self) -> None:
        """Settle the run folder before anything is made."""
        config = self.config[self.subcommand]
        for key in ("data", "trainer"):
            config[key] = expand_home(config[key])
        # Checkpoints keep the model's settings.
        config["model"] = hide_home(config["model"])
        _check_trainer_settings(config["trainer"])
        self.run_dir = self._run_dir(config).expanduser()
        config["run_dir"] = str(self.run_dir)
        config["trainer"]["default_root_dir"] = str(self.run_dir)
        if self.subcommand == "fit" and not config.get("ckpt_path"):
            refuse_second_run(self.run_dir)
        else:
            path = find_checkpoint(self.run_dir, config.get("ckpt_path") or "last", self.verb)
            config["ckpt_path"] = str(path)
            if self.subcommand != "validate" and not config["trainer"].get("fast_dev_run"):
                text = self._parser(self.subcommand).dump(hide_home(config), skip_unset=False)
                refuse_other_settings(self.run_dir, yaml.safe_load(text), self.verb)
        for logger in as_list(config["trainer"].get("logger")):
            if is_wandb(logger) and self.subcommand == "fit":
                prepare_logger(logger, self.run_dir, wandb_labels(config, self.model_class))

    def _run_dir(self, config: Any) -> Path:
        if config.get("run_dir"):
            return Path(config["run_dir"])
        # A sweep chooses the folders of its trials.
        if "GAIN_TRIAL_DIR" in os.environ:
            return Path(os.environ["GAIN_TRIAL_DIR"])
        # The first process of a run chooses a folder, and the others inherit its choice.
        if "LOCAL_RANK" not in os.environ:
            files = [str(path) for path in config.get("config") or []]
            name = Path(files[-1]).stem if files else "run"
            stem = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
            names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
            os.environ["GAIN_RUN_DIR"] = next(name for name in names if not Path(name).exists())
        if "GAIN_RUN_DIR" not in os.environ:
            raise ValueError(
                "several processes were started at once: expected --run_dir, so that they agree on it"
            )
        return Path(os.environ["GAIN_RUN_DIR"])

    def instantiate_classes(self) -> None:
        """Make data, model and trainer, and refuse a checkpoint that does not fit them."""
        super().instantiate_classes()
        ckpt_path = self.config[self.subcommand]["ckpt_path"]
        if ckpt_path:
            path, resumed = Path(ckpt_path), self.subcommand == "fit"
            checkpoint = read_checkpoint(path)
            check_fits(checkpoint, self.model, path, resumed=resumed)
            if resumed:
                self.model.check_resumed(checkpoint, self.datamodule)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the verb; other processes stay out of the run's folder until it ends, in whatever way."""
        writes = subcommand != "validate" and self.trainer.is_global_zero and not is_trial(self.trainer)
        with (lock(self.run_dir) if writes else None) or contextlib.nullcontext():
            # Another run may have used the folder while the data were read.
            if writes and not self.config[subcommand]["ckpt_path"]:
                refuse_second_run(self.run_dir)
            super()._run_subcommand(subcommand)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Make the trainer with the run's record, beside the loggers and callbacks of the config."""
        config = self.config_init[self.subcommand]["trainer"]
        loggers = as_list(config.get("logger"))
        # Scores of a later test go to the summary: they are no part of the training's curves.
        kwargs["logger"] = [MetricsFile(self.run_dir), *loggers] if self.subcommand == "fit" else False
        callbacks = as_list(config.get("callbacks"))
        self.record = RunRecord(self.run_dir)
        self.record.is_resumed = self.subcommand == "fit" and bool(self.config["fit"]["ckpt_path"])
        self.record.test_follows = self.subcommand == "fit" and self.config["fit"]["test_after_fit"]
        kwargs["callbacks"] = [
            *callbacks,
            *self.model.recorders(self.run_dir),
            self.record,
            ExactResume(self.run_dir),
            *_pruning_callbacks(self.record),
            FiniteGuard(),
            ReturnFreedMemory(),
            LearningRateMonitor(),
        ]
        kwargs["plugins"] = [*as_list(config.get("plugins"))]
        if not any(isinstance(plugin, CheckpointIO) for plugin in kwargs["plugins"]):
            kwargs["plugins"].append(WholeCheckpoints())
        if config.get("sync_batchnorm") and not any(
            isinstance(plugin, LayerSync) for plugin in kwargs["plugins"]
        ):
            kwargs["plugins"].append(SyncEveryBatchNorm())
        own = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
        for callback in own:
            self._keep_here(callback)
        if not own and config.get("enable_checkpointing") is not False:
            # It saves at the end of every epoch, even if not every epoch is validated.
            kwargs["callbacks"].append(
                ModelCheckpoint(
                    self.run_dir / "checkpoints",
                    filename="epoch_{epoch:03d}",
                    save_last=True,
                    save_top_k=1,
                    auto_insert_metric_name=False,
                    save_on_train_epoch_end=True,
                    enable_version_counter=False,
                )
            )
        if self.subcommand == "fit" and self.config["fit"]["keep"] == "best":
            kwargs["callbacks"].append(self._keep_best(config))
        trainer = super().instantiate_trainer(**kwargs)
        if trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
            keep_few_kernels(self.model)
            self._set_threads(trainer)
        return trainer

    def _set_threads(self, trainer: pl.Trainer) -> None:
        """Set torch's number of threads, and print it."""
        asked = self.config[self.subcommand]["threads"]
        # Lightning gives each of several processes its share of the cores.
        if trainer.world_size > 1 and asked is None:
            return
        is_deterministic = bool(self.config[self.subcommand]["trainer"].get("deterministic"))
        chosen = choose_threads(asked, is_deterministic=is_deterministic)
        layout = str(self.model.backbone.memory_format).removeprefix("torch.").removesuffix("_format")
        if trainer.is_global_zero:
            print(f"{chosen}. Memory format: {layout}")

    def _keep_here(self, callback: ModelCheckpoint) -> None:
        """Let a ModelCheckpoint of the config write into the run's folder, and ``last`` name the newest file.

        Raises:
            ValueError: If it names another folder.
        """
        folder = self.run_dir / "checkpoints"
        if callback.dirpath is None:
            callback.dirpath = str(folder)
        for key, path in (("dirpath", callback.dirpath), ("filename", callback.filename)):
            if not Path(callback.dirpath, path or "").resolve().is_relative_to(folder.resolve()):
                raise ValueError(
                    f"ModelCheckpoint.{key} is {path}, expected none: checkpoints lie in their run's folder, {folder}, "
                    "where --ckpt_path last finds them"
                )
        callback._enable_version_counter = False

    def _keep_best(self, trainer: Any) -> KeepBest:
        """Make the callback that keeps the best checkpoint.

        Raises:
            ValueError: If there is nothing to choose by, or no checkpoint is to be written.
        """
        if trainer.get("enable_checkpointing") is False:
            raise ValueError(
                "keep is best, but trainer.enable_checkpointing is false: expected true, or keep last"
            )
        has_select = getattr(self.datamodule, "select_on", None) is not None
        known = self.model.validation_scores(self.datamodule)
        return KeepBest(
            self.run_dir, metric_to_keep_by(self.config["fit"]["keep_score"], known, has_select=has_select)
        )

    def after_fit(self) -> None:
        """Score the test sets with the weights that training ended with, or with the best ones."""
        if (
            self.config["fit"]["test_after_fit"]
            and not is_trial(self.trainer)
            and not self.trainer.interrupted
            and self.record.outcome == "finished"
        ):
            best = self.run_dir / "checkpoints" / BEST
            keeps_best = self.config["fit"]["keep"] == "best"
            if keeps_best and not best.is_file():
                rank_zero_warn(
                    "no validation was scored, so there is no best checkpoint: the last weights are tested"
                )
            chosen = {"ckpt_path": str(best)} if keeps_best and best.is_file() else {}
            self.test(self.model, datamodule=self.datamodule, **chosen)

    def validate(self, model: Method, **kwargs: Any) -> None:
        """Score the validation set and print the scores."""
        scores = self.trainer.validate(model, verbose=False, **kwargs)
        if self.trainer.is_global_zero:
            print_scores(scores, model.judged.get("val"), model.group_tables.get("val"))

    def test(self, model: Method, **kwargs: Any) -> None:
        """Score the test sets and print the scores."""
        path = Path(kwargs.get("ckpt_path") or "")
        is_best = path.name == BEST and path.resolve().is_relative_to(self.run_dir.resolve())
        self.record.tested = facts_of_best(path) if is_best else None
        scores = self.trainer.test(model, verbose=False, **kwargs)
        if self.trainer.is_global_zero:
            first = next(iter(self.datamodule.test_sets))
            print_scores(scores, model.judged.get("test"), model.group_tables.get("test"), test_set=first)
        if self.trainer.is_global_zero and not is_trial(self.trainer):
            print(f"run folder: {hide_home(str(self.run_dir))}")


def _check_trainer_settings(trainer: Any) -> None:
    """Refuse settings that Lightning takes without a word, or trips over later."""
    for key, least, what in (
        ("accumulate_grad_batches", 1, "an integer from 1 on"),
        ("gradient_clip_val", 0, "a number from 0 on"),
    ):
        value = trainer.get(key)
        if value is not None and not (value >= least and math.isfinite(value)):
            raise ValueError(f"trainer.{key} is {value}, expected {what}")
    every = trainer.get("val_check_interval")
    if isinstance(every, (int, float)) and not every > 0:
        raise ValueError(f"trainer.val_check_interval is {every}, expected a positive number")
    if trainer.get("overfit_batches"):
        raise ValueError(
            f"trainer.overfit_batches is {trainer['overfit_batches']}, but streams have an order of their own: "
            "expected 0, and trainer.limit_train_batches"
        )
    if trainer.get("limit_train_batches") == 0:
        raise ValueError("trainer.limit_train_batches is 0, expected some: nothing would be trained")


def _pruning_callbacks(record: RunRecord) -> list[pl.Callback]:
    # Outside a sweep Optuna is not imported.
    if "GAIN_SWEEP_TRIAL" not in os.environ:
        return []
    from gain_lightning.training.pruning import pruning_callbacks

    return pruning_callbacks(record)
