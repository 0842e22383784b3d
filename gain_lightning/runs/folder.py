"""The folder of one run: its lock and its checkpoints."""

from pathlib import Path
from typing import TextIO

from gain_lightning.runs.summary import read_summary
from gain_lightning.support.locks import take_lock


def lock(run_dir: Path) -> TextIO:
    """Keep other processes from writing to a run's folder for as long as the file that is returned is open.

    On a file system without locks nobody is kept out.

    Raises:
        BlockingIOError: If another process writes there.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    file = (run_dir / ".lock").open("a")
    try:
        take_lock(file, is_inherited=False)
    except BlockingIOError as error:
        file.close()
        raise BlockingIOError(
            f"{run_dir} is in use by another gain fit or gain test: expected another --run_dir, or to wait for its end"
        ) from error
    except OSError:
        pass
    return file


def checkpoint_files(folder: Path) -> list[Path]:
    """All checkpoints at and below a run's ``checkpoints/``: the one answer to whether it has any, and which."""
    return sorted(folder.rglob("*.ckpt"))


def require_checkpoints(run_dir: Path) -> None:
    """Refuse a folder without any checkpoint.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not checkpoint_files(run_dir / "checkpoints"):
        raise FileNotFoundError(f"{run_dir}: has no checkpoint in checkpoints/, expected the folder of a run")


def refuse_second_run(run_dir: Path) -> None:
    """Refuse to begin a training over another; one that never got through an epoch is begun again.

    Raises:
        FileExistsError: If the folder holds a run.
    """
    if read_summary(run_dir).get("state") == "finished" or checkpoint_files(run_dir / "checkpoints"):
        raise FileExistsError(
            f"{run_dir} already holds a run: expected another --run_dir, or --ckpt_path last to resume it"
        )
