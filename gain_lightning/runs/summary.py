"""``summary.json`` of a run."""

from pathlib import Path
from typing import Any

from gain_lightning.support.files import read_json


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
