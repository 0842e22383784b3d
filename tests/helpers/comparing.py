"""A comparison of run folders, and one row of it."""

from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import compare


def compared(paths, **kwargs):
    return compare([read_run(path) for path in paths], **kwargs)


def difference(comparison, metric, a, b):
    (row,) = (row for row in comparison.differences if (row.metric, row.a, row.b) == (metric, a, b))
    return row
