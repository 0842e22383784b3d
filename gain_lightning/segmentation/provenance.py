"""``provenance.json`` of a folder of seeds: what they were made from, and whether all are made; without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gain_lightning.support.files import read_json, write_json

PROVENANCE = "provenance.json"


def write_provenance(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``provenance.json`` of a folder of seeds: their options, checkpoint and data, and whether all are made."""
    write_json(folder / PROVENANCE, provenance)


def read_provenance(folder: Path) -> dict[str, Any]:
    """Read ``provenance.json`` of a folder of seeds; nothing if there is none, as of cues that others made.

    Raises:
        ValueError: If it is no JSON object.
    """
    return read_json(folder / PROVENANCE)
