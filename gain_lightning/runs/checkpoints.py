"""Checkpoints: written whole or not at all, read without running code, refused where they do not fit."""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from torch import Tensor

from gain_lightning.runs.folder import checkpoint_files
from gain_lightning.runs.summary import read_summary
from gain_lightning.support.files import remove_parts, written_whole
from gain_lightning.support.home import map_strings

_KEYS = ("state_dict", "hyper_parameters")
# What a checkpoint has beside them for a training that goes on.
_TRAINING = ("global_step", "epoch", "optimizer_states", "loops", "callbacks")
# The checkpoint of the best validation, where a run keeps one.
BEST = "best.ckpt"
# What stands for the checkpoint's own folder in the paths that callbacks keep.
CHECKPOINT_FOLDER = "{folder of this checkpoint}"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old file, in its folder, and then takes its place: a kill or a full disk leaves the old one.

    Lightning's own writes to the system's temporary folder and copies from there, if that is another file system.
    What callbacks keep of paths in the checkpoint's folder is relative to it, so that a run can be moved and shared.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OSError: If there is no room; the old file stays, the new one is gone.
        """
        path = Path(path)
        # of a training that was killed here
        remove_parts(path.parent, path.name)
        if "callbacks" in checkpoint:
            folder = os.path.realpath(path.parent)
            checkpoint = {
                **checkpoint,
                "callbacks": _moved(checkpoint["callbacks"], folder, CHECKPOINT_FOLDER),
            }
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            with written_whole(path, is_synced=True) as part:
                part.write_bytes(buffer.getbuffer())
        except OSError as error:
            size = f"{buffer.getbuffer().nbytes / 2**20:.1f} MiB"
            what = (
                f"a checkpoint of {size} cannot be written ({error.strerror}); earlier ones are still there"
            )
            raise OSError(error.errno, what, str(path)) from error

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint."""
        checkpoint = super().load_checkpoint(path, *args, **kwargs)
        if "callbacks" in checkpoint:
            folder = os.path.realpath(Path(path).parent)
            checkpoint["callbacks"] = _moved(checkpoint["callbacks"], CHECKPOINT_FOLDER, folder)
        return checkpoint


def _moved(value: Any, old: str, new: str) -> Any:
    """Paths at or below the folder ``old``, wherever they are in ``value``, below ``new``."""
    return map_strings(
        value, lambda text: new + text[len(old) :] if text == old or text.startswith(f"{old}/") else text
    )


def newest_checkpoint(folder: Path) -> Path:
    """What ``--ckpt_path last`` means: ``last.ckpt``, unless another at or below the folder is of a later step.

    ``best.ckpt`` does not count beside it: it is of the midst of an epoch, whose end a killed training repeats.
    """
    last, steps = folder / "last.ckpt", {}
    for path in checkpoint_files(folder):
        if path == folder / BEST and last.exists():
            continue
        try:
            steps[path] = int(read_checkpoint(path)["global_step"])
        except (OSError, KeyError, TypeError, ValueError):  # a broken link, an export of others
            steps[path] = -1
    if steps.get(last) == -1:
        return last  # to be refused by name
    return max(steps, key=lambda path: (steps[path], path == last), default=last)


def tested_checkpoint(run_dir: Path) -> Path:
    """The checkpoint that a run's test was of: the best one where ``summary.json`` says so, else the newest."""
    best = run_dir / "checkpoints" / BEST
    is_tested = best.is_file() and "tested" in read_summary(run_dir)
    return best if is_tested else newest_checkpoint(run_dir / "checkpoints")


def find_checkpoint(run_dir: Path, ckpt_path: str, verb: str) -> Path:
    """The file to resume from, or to score.

    A training resumes from its own run alone, and no test's scores take the place of another run's.

    Args:
        run_dir: The run folder.
        ckpt_path: As given; ``last`` is the folder's newest, and ``best`` that of the best validation.
        verb: ``fit``, ``validate`` or ``test``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it belongs to another run.
    """
    folder = run_dir / "checkpoints"
    if verb == "fit" and ckpt_path == "best":
        raise ValueError("--ckpt_path best: a training goes on from its last checkpoint, expected last")
    if ckpt_path == "last":
        path = newest_checkpoint(folder)
    else:
        path = folder / BEST if ckpt_path == "best" else Path(ckpt_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"--ckpt_path {ckpt_path}: {path} does not exist; --run_dir names the run")
    if path.resolve().is_relative_to(folder.resolve()) or verb == "validate":
        return path
    if verb == "fit":
        raise ValueError(
            f"--ckpt_path {path} belongs to another run than {run_dir}: expected a checkpoint of this "
            "run to resume it, or --model.weights to start from another's weights"
        )
    summary = read_summary(run_dir)
    if checkpoint_files(folder) or (summary and not summary.get("test_alone")):
        raise ValueError(
            f"--ckpt_path {path} belongs to another run than {run_dir}, whose scores would be replaced: expected "
            "another --run_dir for its scores"
        )
    return path


def read_checkpoint(ckpt_path: Path) -> dict[str, Any]:
    """A checkpoint's content on the CPU, its tensors not read before they are used.

    Args:
        ckpt_path: A checkpoint that ``gain fit`` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of ours; checkpoints with code in them are refused.
    """
    if not ckpt_path.is_file():
        raise FileNotFoundError(f"--ckpt_path {ckpt_path}: no such file")
    try:
        checkpoint: dict[str, Any] = torch.load(ckpt_path, map_location="cpu", weights_only=True, mmap=True)
        missing = [key for key in _KEYS if not isinstance(checkpoint.get(key), Mapping)]
    except Exception as error:  # whatever the reader trips over, the file is unfit
        raise unfit_checkpoint(ckpt_path, error) from error
    if missing:
        raise ValueError(f"--ckpt_path {ckpt_path}: not a checkpoint of gain fit (it has no {missing[0]})")
    return checkpoint


def check_whole(checkpoint: dict[str, Any], ckpt_path: Path) -> None:
    """Refuse a checkpoint with damage inside, or with weights that no training can have left.

    Args:
        checkpoint: What :func:`read_checkpoint` found.
        ckpt_path: Its file.

    Raises:
        ValueError: If a part's checksum is wrong, or a weight is not finite.
    """
    if zipfile.is_zipfile(ckpt_path):
        try:
            with zipfile.ZipFile(ckpt_path) as parts:
                broken = parts.testzip()
        except Exception as error:  # whatever damage makes the reader raise
            raise unfit_checkpoint(ckpt_path, error) from error
        if broken is not None:
            raise ValueError(f"--ckpt_path {ckpt_path}: damaged, the checksum of its part {broken} is wrong")
    for name, tensor in checkpoint["state_dict"].items():
        if not isinstance(tensor, Tensor):
            raise unfit_checkpoint(ckpt_path, TypeError(f"{name} is no tensor but {type(tensor).__name__}"))
        if not torch.isfinite(tensor).all():
            raise ValueError(f"--ckpt_path {ckpt_path}: the weights {name} are not finite")


def check_fits(
    checkpoint: dict[str, Any], model: pl.LightningModule, ckpt_path: Path, *, resumed: bool = False
) -> None:
    """Refuse a checkpoint of other classes, whose scores would be given to these, or of another network.

    Args:
        checkpoint: What :func:`read_checkpoint` found.
        model: Where it is to be loaded.
        ckpt_path: Its file.
        resumed: A training is to go on from it.

    Raises:
        ValueError: If the checkpoint does not fit.
    """
    check_whole(checkpoint, ckpt_path)
    missing = [key for key in _TRAINING if key not in checkpoint] if resumed else []
    if missing:
        raise ValueError(
            f"--ckpt_path {ckpt_path} has weights but no {missing[0]}, so that no training can go on from it: expected "
            "a checkpoint that gain fit wrote, or --model.weights to start from these weights"
        )
    classes = list(checkpoint["hyper_parameters"].get("class_names") or ())
    if classes != list(model.hparams["class_names"]):
        raise ValueError(
            f"--ckpt_path {ckpt_path} is of the classes {', '.join(classes)}, but the data has "
            f"{', '.join(model.hparams['class_names'])}: expected the same in the same order"
        )
    ours, theirs = model.state_dict(), checkpoint["state_dict"]
    for name in [*ours, *theirs]:
        sizes = [list(state[name].shape) if name in state else None for state in (ours, theirs)]
        if sizes[0] != sizes[1]:
            words = ["nothing" if size is None else f"{size}" for size in sizes]
            raise ValueError(
                f"--ckpt_path {ckpt_path} is of another network: {name} is {words[1]} there, "
                f"{words[0]} in this config"
            )


def unfit_checkpoint(ckpt_path: Path, error: Exception) -> ValueError:
    """Return the error that says that a file is no checkpoint of ours, with the reason of another error."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return ValueError(f"--ckpt_path {ckpt_path}: not a checkpoint of gain fit ({reason})")
