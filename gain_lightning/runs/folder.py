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


def find_checkpoint(run_dir: Path, ckpt_path: str, verb: str) -> Path:
    """The file to resume from, or to score.

    A training resumes from its own run alone, and no test's scores take the place of another run's.

    Args:
        run_dir: The run folder.
        ckpt_path: As given; ``last`` is the folder's newest.
        verb: ``fit``, ``validate`` or ``test``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it belongs to another run.
    """
    folder = run_dir / "checkpoints"
    if ckpt_path == "last":
        # it needs torch, for which who asks for files alone need not wait
        from gain_lightning.runs.checkpoints import newest_checkpoint

        path = newest_checkpoint(folder)
    else:
        path = Path(ckpt_path).expanduser()
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
