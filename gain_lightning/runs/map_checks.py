"""``map_checks.json`` of a run: whether its maps show what its network decides by."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gain_lightning.runs.errors import RunError
from gain_lightning.support.files import read_json, write_json

MAP_CHECKS = "map_checks.json"


def write_map_checks(run_dir: Path, result: Mapping[str, Any]) -> None:
    """Write ``map_checks.json``."""
    write_json(run_dir / MAP_CHECKS, result)


def forget_map_checks(run_dir: Path) -> None:
    """Remove ``map_checks.json``, which speaks of maps that are no more."""
    (run_dir / MAP_CHECKS).unlink(missing_ok=True)


def read_opinion(path: str | Path) -> dict[str, Any]:
    """Read the second opinion on a run's maps.

    Args:
        path: Folder of the run.

    Returns:
        What ``methods.second_opinion`` found; nothing if nobody asked for it, or no image has a mask.

    Raises:
        RunError: If the file is unreadable, or its second opinion is incomplete.
    """
    name = Path(path, MAP_CHECKS)
    try:
        opinion = read_json(name).get("second_opinion") or {}
    except (OSError, ValueError) as error:
        raise RunError(f"{name}: unreadable ({error})") from error
    try:
        if opinion:
            opinion_scores(opinion)
            [opinion[key] for key in ("state", "words", "ids")]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{name}: its second opinion lacks a part, or one is no number ({error})") from error
    return dict(opinion)


def opinion_scores(opinion: Mapping[str, Any]) -> dict[str, float]:
    """Return the energy inside masks by every attribution, as metrics of a run.

    Example:
        >>> opinion_scores({"energy": {"attention": {"mean": 0.9}, "occlusion": {"mean": 0.25}}})
        {'test/energy_occlusion': 0.25}
    """
    return {
        f"test/energy_{key}": float(found["mean"])
        for key, found in opinion.get("energy", {}).items()
        if key != "attention"
    }
