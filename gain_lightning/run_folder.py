"""The folder of one run: who writes there, which of its checkpoints is meant, and what may change by then."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from gain_lightning.checkpoints import newest_checkpoint
from gain_lightning.files import read_json
from gain_lightning.studies.runs import flatten
from gain_lightning.yaml_files import read_config

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Settings that a training may get when it goes on: where files lie now, and how fast they and features come.
FREE = {"root", "cues", "weights", "num_workers", "crf_workers", "compile_features", "checkpoint_features"}


def lock(run_dir: Path) -> TextIO | None:
    """Keep other processes from writing to a run's folder for as long as the file that is returned is open.

    Raises:
        BlockingIOError: If another process does.
    """
    if fcntl is None:
        return None
    run_dir.mkdir(parents=True, exist_ok=True)
    file = (run_dir / ".lock").open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process: its loaders may outlive a kill
    except OSError as error:
        file.close()
        raise BlockingIOError(
            f"{run_dir} is in use by another gain fit or gain test: expected another --run_dir, or to wait for its end"
        ) from error
    return file


def read_summary(run_dir: Path) -> dict[str, Any]:
    """``summary.json`` of a run; nothing if there is none yet.

    Raises:
        ValueError: If it is no summary.
    """
    path = run_dir / "summary.json"
    summary = read_json(path)
    if not isinstance(summary.get("metrics", {}), dict):
        raise ValueError(f"{path}: not a run's summary, whose metrics are an object")
    return summary


def refuse_second_run(run_dir: Path) -> None:
    """Refuse to begin a training over another; one that never got through an epoch is begun again.

    Raises:
        FileExistsError: If the folder holds a run.
    """
    if read_summary(run_dir).get("state") == "finished" or any(run_dir.glob("checkpoints/*.ckpt")):
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
    path = newest_checkpoint(folder) if ckpt_path == "last" else Path(ckpt_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"--ckpt_path {ckpt_path}: {path} does not exist; --run_dir names the run")
    if path.resolve().parent == folder.resolve() or verb == "validate":
        return path
    if verb == "fit":
        raise ValueError(
            f"--ckpt_path {path} belongs to another run than {run_dir}: expected a checkpoint of this "
            "run to resume it, or --model.weights to start from another's weights"
        )
    if any(folder.glob("*.ckpt")):
        raise ValueError(
            f"--ckpt_path {path} belongs to another run than {run_dir}, whose scores would be replaced: expected "
            "another --run_dir for its scores"
        )
    return path


def refuse_other_settings(run_dir: Path, config: Mapping[str, Any], verb: str) -> None:
    """Refuse settings of model, data or seed that differ from those that the run was trained with.

    Args:
        run_dir: The run folder; without a ``config.yaml`` nothing is known.
        config: What is asked for, as ``config.yaml`` would have it.
        verb: ``fit`` or ``test``, for the message.

    Raises:
        ValueError: If one does.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        return
    before, now = (
        flatten({key: given.get(key) for key in ("seed_everything", "data", "model")})
        for given in (read_config(path), config)
    )
    for key in [key for key in now if key in before and key.rpartition(".")[2] not in FREE]:
        if now[key] != before[key]:
            instead = {
                "fit": "another --run_dir, and --model.weights to start from this run's weights",
                "test": "another --run_dir for such scores, with this run's --ckpt_path FILE",
            }[verb]
            raise ValueError(
                f"{key} is {now[key]}, but {run_dir} was trained with {before[key]}: expected the same, or {instead}"
            )
