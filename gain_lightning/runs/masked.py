"""``masked_ids.txt`` of a run: the mask list of the images whose masks it was trained with."""

from pathlib import Path

MASKED_IDS = "masked_ids.txt"


def masked_list(run_dir: Path) -> Path | None:
    """Return the mask list that a run kept; None if no image carried a mask."""
    path = run_dir / MASKED_IDS
    return path if path.is_file() and path.stat().st_size else None
