"""Load a checkpoint into the model that wrote it."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gain_lightning.methods.base import Method
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.table import METHODS, import_object
from gain_lightning.runs.checkpoints import check_whole, read_checkpoint, unfit_checkpoint
from gain_lightning.runs.old_settings import today_of_checkpoint


def load_model(ckpt_path: Path) -> Method:
    """Load the model of a checkpoint with its settings.

    Args:
        ckpt_path: A checkpoint that ``gain fit`` wrote.

    Returns:
        The model on the CPU.

    Raises:
        FileNotFoundError, ValueError: If the checkpoint is missing or unfit, see :func:`read_checkpoint`.
    """
    checkpoint = read_checkpoint(ckpt_path)
    check_whole(checkpoint, ckpt_path)
    try:
        settings = {**today_of_checkpoint(checkpoint["hyper_parameters"]), "weights": "none"}
        model = method_class(checkpoint)(**settings)
        model.load_state_dict(checkpoint["state_dict"])
    except Exception as error:
        raise unfit_checkpoint(ckpt_path, error) from error
    return model


def load_classifier(ckpt_path: Path) -> Classifier:
    """Load a classifier as :func:`load_model` does.

    Raises:
        ValueError: If the checkpoint is of another network, which has no attention maps.
    """
    model = load_model(ckpt_path)
    if not isinstance(model, Classifier):
        raise ValueError(f"{ckpt_path} is of {model.kind} ({model.name}), expected a classifier's")
    return model


def method_class(checkpoint: Mapping[str, Any]) -> type[Method]:
    """Return the method that a checkpoint names.

    Older checkpoints name none; they belong to the first method that takes their settings.

    Args:
        checkpoint: A checkpoint with its ``hyper_parameters``.

    Raises:
        ValueError: If no method has this name, or none takes these settings.
    """
    name = checkpoint.get("method")
    if name is not None and name not in METHODS:
        raise ValueError(f"its method is {name!r}, expected one of {', '.join(METHODS)}")
    if name is not None:
        named: type[Method] = import_object(METHODS[name].path)
        return named
    settings = today_of_checkpoint(checkpoint["hyper_parameters"])
    for row in METHODS.values():
        method: type[Method] = import_object(row.path)
        if settings.keys() <= inspect.signature(method).parameters.keys():
            return method
    raise ValueError(f"no method of {', '.join(METHODS)} takes its settings")
