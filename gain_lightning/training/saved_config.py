"""``config.yaml`` of a run and of its W&B runs: the config as it was given, without the run's own folder."""

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

from gain_lightning.methods.base import Method
from gain_lightning.runs.settings import CONFIG, write_settings
from gain_lightning.support.home import hide_home
from gain_lightning.support.wandb_session import prepare_wandb


class SaveConfig(SaveConfigCallback):
    """Writes ``config.yaml`` into the run folder, and the config, nested, into every W&B run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "overwrite": True, "save_to_log_dir": False})

    def save_config(self, trainer: pl.Trainer, pl_module: Method, stage: str) -> None:
        """Write the config; a validation writes none, and a test leaves the training's config in place."""
        run_dir = Path(self.config.run_dir)
        if stage == "validate" or (stage != "fit" and (run_dir / CONFIG).is_file()):
            return
        config = self.config.clone()
        # The file serves to run the experiment again, not to resume this run.
        config["ckpt_path"] = None
        for logger in as_list(config["trainer"].get("logger")):
            if is_wandb(logger):
                forget_run_dir(logger, run_dir, wandb_labels(config, type(pl_module)))
        text = self.parser.dump(hide_home(config), skip_unset=False)
        write_settings(run_dir, text)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(yaml.safe_load(text), allow_val_change=True)


def as_list(value: Any) -> list[Any]:
    """Return the entries of a Trainer's setting that takes one or several; a plain True or False gives none."""
    if value is None or isinstance(value, bool):
        return []
    return value if isinstance(value, list) else [value]


def is_wandb(logger: Any) -> bool:
    """Return True if a logger of a config is W&B's."""
    return str(logger.get("class_path", "")).endswith("WandbLogger")


def wandb_labels(config: Any, method_class: Any) -> dict[str, Any]:
    """Return the labels that a dashboard sorts runs by.

    The group is the sweep or the experiment; the job type and a tag are the method.
    """
    files = [Path(str(path)) for path in config.get("config") or []]
    trial = os.environ.get("GAIN_TRIAL_DIR")
    sweep = Path(trial).parent.parent.name if trial else None
    method = method_class.label(config["model"], config["data"].get("init_args") or {})
    group = sweep or (files[-1].resolve().parent.name if files else None)
    return {"group": group, "job_type": method, "tags": [method, *([f"sweep {sweep}"] if sweep else [])]}


def prepare_logger(logger: Any, run_dir: Path, labels: dict[str, Any]) -> None:
    """Give a W&B logger its folder, name and labels."""
    logger["dict_kwargs"] = {**labels, **(logger.get("dict_kwargs") or {})}
    init_args = logger.init_args
    init_args["save_dir"] = str(run_dir)
    if init_args.get("name") is None:
        init_args["name"] = run_dir.name
    prepare_wandb(run_dir)


def forget_run_dir(logger: Any, run_dir: Path, labels: dict[str, Any]) -> None:
    """Undo :func:`prepare_logger` in a config that is saved, so that another run can take it."""
    own = {key: value for key, value in (logger.get("dict_kwargs") or {}).items() if labels.get(key) != value}
    logger["dict_kwargs"] = own
    if not own:
        del logger["dict_kwargs"]
    init_args = logger.init_args
    init_args["save_dir"] = "."
    if init_args["name"] == run_dir.name:
        init_args["name"] = None
