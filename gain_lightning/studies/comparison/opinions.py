"""Notes on the second opinions that ``gain check-maps`` left in run folders."""

from collections.abc import Sequence

from gain_lightning.runs.map_checks import read_opinion
from gain_lightning.studies.comparison.groups import Group


def opinion_notes(groups: Sequence[Group]) -> list[str]:
    """Return a note for every run that is flagged, and one if the opinions are of different images."""
    found = {run.path: read_opinion(run.path) for group in groups for run in group.runs}
    opinions = {path: opinion for path, opinion in found.items() if opinion}
    notes = [
        f"gain check-maps flags {path}: {opinion['words']}."
        for path, opinion in opinions.items()
        if opinion["state"] == "disagree"
    ]
    first = next(iter(opinions), "")
    others = [path for path, opinion in opinions.items() if opinion["ids"] != opinions[first]["ids"]]
    if others:
        notes.append(
            f"gain check-maps judged other images in {', '.join(others)} than in {first}: its energies do not compare."
        )
    return notes
