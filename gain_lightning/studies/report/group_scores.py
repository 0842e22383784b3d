"""The scores of every group of images, a column for each method: they show where a method gains and where it loses."""

from typing import NamedTuple

from gain_lightning.runs.groups import read_groups
from gain_lightning.scores import score_of
from gain_lightning.studies.comparison.groups import Comparison
from gain_lightning.studies.comparison.tables import show


class GroupRow(NamedTuple):
    """A group of images.

    Attributes:
        name: Its name.
        num_images: Its images in the test, or – where no run says it.
        num_train: Its images in the training.
        cells: The score of every method, and whether it is the best of the row.
    """

    name: str
    num_images: str
    num_train: str
    cells: list[tuple[str, bool]]


def group_scores(comparison: Comparison) -> list[GroupRow]:
    """Return a row for every group of images; none where the data have no groups.

    Raises:
        RunError: If a ``per_group.csv`` is malformed.
    """
    first = read_groups(comparison.groups[0].runs[0].path)
    rows = []
    for metric in comparison.image_groups:
        score = score_of(metric)
        stats = [group.metrics.get(metric) for group in comparison.groups]
        means = [stat.mean for stat in stats if stat is not None]
        best = min(means) if score.better == "lower" else max(means)
        cells = [
            (show(metric, stat), stat is not None and len(means) > 1 and f"{stat.mean:.3f}" == f"{best:.3f}")
            for stat in stats
        ]
        num_images, num_train = (
            _count(first.of(column).get(score.name) if first else None)
            for column in ("num_images", "num_train")
        )
        rows.append(GroupRow(score.name, num_images, num_train, cells))
    return rows


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"
