"""How a run stands: ``summary.json``, with its scores and what it was made with, and ``error.txt``, why it failed.

``summary.json`` says in which ``state`` the run is (``running``, ``finished``, ``pruned``, ``killed`` or ``failed``),
by which ``method`` and ``seed`` it was trained, its last ``metrics`` by name, null where they were not finite, and
the commit, versions, device, time and memory. ``tested`` says of which epoch and score the best checkpoint is, where
the scores of the test are its own; without it they are the last one's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gain_lightning.runs.errors import RunError
from gain_lightning.support.files import read_json, write_atomically, write_json

SUMMARY = "summary.json"


def write_summary(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json`` of a run."""
    write_json(run_dir / SUMMARY, summary)


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Read ``summary.json`` of a run; this alone says when one is broken.

    Args:
        run_dir: The run folder.

    Returns:
        The summary; nothing if there is none yet.

    Raises:
        RunError: If it cannot be read, is not JSON, or is no object whose metrics are an object.
    """
    path = run_dir / SUMMARY
    try:
        summary = read_json(path)
    except OSError as error:
        raise RunError(f"{path}: not readable ({error.strerror})") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    if not isinstance(summary.get("metrics", {}), dict):
        kind = type(summary["metrics"]).__name__
        raise RunError(f"{path}: not a run's summary, its metrics are a {kind}, expected an object")
    return summary


def write_error(run_dir: Path, text: str) -> None:
    """Write ``error.txt`` of a run that failed, for a person to read."""
    write_atomically(run_dir / "error.txt", text)


def clear_error(run_dir: Path) -> None:
    """Remove ``error.txt`` of a run that is begun again."""
    (run_dir / "error.txt").unlink(missing_ok=True)
