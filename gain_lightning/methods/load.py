"""A checkpoint becomes the model that wrote it."""

from pathlib import Path

from gain_lightning.methods.gain import GAIN
from gain_lightning.runs.checkpoints import check_whole, read_checkpoint, unfit_checkpoint
from gain_lightning.segmentation.sec import SEC


def load_model(ckpt_path: Path) -> GAIN | SEC:
    """The model of a checkpoint, its settings included.

    Args:
        ckpt_path: A checkpoint that ``gain fit`` wrote.

    Returns:
        The model on the CPU.

    Raises:
        FileNotFoundError, ValueError: As of :func:`read_checkpoint`.
    """
    checkpoint = read_checkpoint(ckpt_path)
    check_whole(checkpoint, ckpt_path)
    try:
        hparams = {**checkpoint["hyper_parameters"], "weights": "none"}
        model = SEC(**hparams) if "crf_shrink" in hparams else GAIN(**hparams)
        model.load_state_dict(checkpoint["state_dict"])
    except Exception as error:
        raise unfit_checkpoint(ckpt_path, error) from error
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
