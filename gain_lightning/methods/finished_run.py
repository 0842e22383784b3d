"""The finished run that a rival begins from: JTT takes its errors, DFR its features."""

from pathlib import Path

from gain_lightning.datasets.streams import run_seed
from gain_lightning.runs.checkpoints import tested_checkpoint
from gain_lightning.runs.folder import require_checkpoints
from gain_lightning.runs.summary import read_summary


def checkpoint_of_run(folder: str | None, key: str) -> Path:
    """Return the checkpoint that a finished run was tested by.

    Args:
        folder: The run folder; ``{seed}`` in it stands for the seed of this run, so that a sweep over seeds takes the
            run of each.
        key: The setting that names it, for the error.

    Raises:
        ValueError: If no run is named, or it is not finished.
        FileNotFoundError: If there is no such folder, or it has no checkpoint.
    """
    if not folder:
        raise ValueError(f"model.{key} names no run, expected the folder of a finished one")
    run_dir = Path(folder.replace("{seed}", str(run_seed()))).expanduser()
    if not run_dir.is_dir():
        raise FileNotFoundError(f"model.{key} {run_dir}: no such folder, expected that of a finished run")
    state = read_summary(run_dir).get("state")
    if state != "finished":
        raise ValueError(f"model.{key} {run_dir}: its state is {state!r}, expected a finished run")
    require_checkpoints(run_dir)
    return tested_checkpoint(run_dir)
