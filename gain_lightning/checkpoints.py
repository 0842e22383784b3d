"""Models out of checkpoints that ``gain fit`` wrote; no weights are downloaded, no code in them runs."""

from pathlib import Path

import torch

from gain_lightning.module import GAIN
from gain_lightning.segmentation.module import SEC


def load_model(ckpt_path: Path) -> GAIN | SEC:
    """The model of a checkpoint, its settings included.

    Args:
        ckpt_path: A checkpoint that ``gain fit`` wrote.

    Returns:
        The model on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of ours; checkpoints with code in them are refused.
    """
    if not ckpt_path.is_file():
        raise FileNotFoundError(f"--ckpt_path {ckpt_path}: no such file")
    try:
        checkpoint = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        hparams = {**checkpoint["hyper_parameters"], "weights": "none"}
        model = SEC(**hparams) if "crf_shrink" in hparams else GAIN(**hparams)
        model.load_state_dict(checkpoint["state_dict"])
    except Exception as error:  # whatever the reader trips over, the file is unfit
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"--ckpt_path {ckpt_path}: not a checkpoint of gain fit ({reason})") from error
    return model


def load_classifier(ckpt_path: Path) -> GAIN:
    """As :func:`load_model`, of a classifier alone.

    Raises:
        ValueError: If the checkpoint is of a segmentation network, which has no attention maps.
    """
    model = load_model(ckpt_path)
    if not isinstance(model, GAIN):
        raise ValueError(f"{ckpt_path} is of a segmentation network (SEC), expected a classifier's")
    return model
