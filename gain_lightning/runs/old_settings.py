"""Settings of earlier versions in today's keys and units; every reader of configs and checkpoints asks here."""

from collections.abc import Mapping
from typing import Any

# Keys below ``model`` that counted epochs, and today's, which are shares of the whole training.
IN_SHARES = {"warmup_epochs": "warmup", "ramp_epochs": "ramp"}
# Dotted keys that came later, and the values that runs without them had.
BEFORE = {"data.min_steps_per_epoch": 1, "data.resize": "squash", "keep": "last"}
# Arguments of a data module that came later, beside one that every run's config names, and the values that runs without
# them had.
_BEFORE_OF_DATA = {"FolderDataModule": ("val_fraction", {"val_draw": "random"})}
# Lightning trains as many where a config names no end.
DEFAULT_EPOCHS = 1000


def today(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Translate the settings of an earlier version.

    Args:
        config: A config as it was written.

    Returns:
        The config in today's keys, and a line for each key that was translated. Epochs of a training that is counted
        in steps alone have no share, so that such a key stays as it is. Where a run wrote the config, as its key
        ``ckpt_path`` tells, the data are drawn as they were.

    Example:
        >>> today({"model": {"warmup_epochs": 3}, "trainer": {"max_epochs": 12}})
        ({'model': {'warmup': 0.25}, 'trainer': {'max_epochs': 12}}, ['model.warmup_epochs 3 of \
trainer.max_epochs 12 is written model.warmup: 0.25 now, a share of the training'])
    """
    if "ckpt_path" in config and "data" in config:
        config = {**config, "data": _data_of_run(config.get("data"))}
    model, notes = config.get("model"), []
    if not isinstance(model, Mapping):
        return dict(config), []
    epochs, found = _epochs(config.get("trainer")), {}
    for key, value in model.items():
        new = IN_SHARES.get(key)
        share = _share(value, epochs) if new and new not in model else None
        if new is None or share is None:
            found[key] = value
            continue
        found[new] = share
        notes.append(
            f"model.{key} {value} of trainer.max_epochs {epochs} is written model.{new}: {share} now, a share of "
            "the training"
        )
    return {**config, "model": found}, notes


def today_of_checkpoint(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the settings that a checkpoint keeps.

    A checkpoint does not say how long its training was, and its weights need no schedule: schedules in epochs are left
    out. A training that goes on takes its settings from ``config.yaml``.
    """
    return {key: value for key, value in settings.items() if key not in IN_SHARES}


def _data_of_run(data: Any) -> Any:
    """Add to the data of a run, and to the images inside them, what was not yet a setting."""
    if not isinstance(data, Mapping) or not isinstance(data.get("init_args"), Mapping):
        return data
    settings = dict(data["init_args"])
    if "images" in settings:
        settings["images"] = _data_of_run(settings["images"])
    always, before = _BEFORE_OF_DATA.get(str(data.get("class_path")).rpartition(".")[2], ("", {}))
    return {**data, "init_args": {**(before if always in settings else {}), **settings}}


def _epochs(trainer: Any) -> int | None:
    """Number of epochs of a training; None if it is counted otherwise."""
    trainer = trainer if isinstance(trainer, Mapping) else {}
    epochs = trainer.get("max_epochs")
    if epochs is None and trainer.get("max_steps") in (None, -1) and trainer.get("max_time") is None:
        return DEFAULT_EPOCHS
    return epochs if isinstance(epochs, int) and epochs > 0 else None


def _share(value: Any, epochs: int | None) -> float | None:
    """Share of a training that a number of epochs is, at most 1, in six digits; None where there is no such share."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    if value == 0:
        return 0.0
    return None if epochs is None else round(min(value / epochs, 1.0), 6)
