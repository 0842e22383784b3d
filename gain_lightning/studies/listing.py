"""List every run below a folder, whatever its state, as a table."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.settings import CONFIG
from gain_lightning.runs.summary import SUMMARY, read_summary
from gain_lightning.scores import SCORES, Score
from gain_lightning.support.messages import printable
from gain_lightning.support.walk import is_left_behind

# The scores that have a column in the table.
LISTED = [score for score in SCORES if score.listed]
# A run that says it is running and has written nothing for so many days is most likely dead.
STALE_DAYS = 2


def run_folders(root: str) -> Iterator[str]:
    """Yield the folders with a run's summary or config at or below ``root``, sorted; none inside another one."""
    for folder, inner, files in os.walk(root):
        # `wandb_runs` holds the runs that gain compare fetched from W&B.
        inner[:] = sorted(name for name in inner if name != "wandb_runs" and not is_left_behind(name))
        is_run = SUMMARY in files and "report.html" not in files
        if is_run or (CONFIG in files and "checkpoints" in inner):
            inner.clear()
            yield folder


def run_row(path: str, root: str) -> list[str]:
    """Return one run as cells of text."""
    name = os.path.relpath(path, root) if path != root else os.path.basename(os.path.abspath(path))
    file = Path(path) / SUMMARY
    if not file.exists():
        return [name, f"no {SUMMARY}", "", "", *("" for _ in LISTED)]
    try:
        summary = read_summary(Path(path))
    except RunError:
        return [name, f"broken {SUMMARY}", "", "", *("" for _ in LISTED)]
    state = str(summary.get("state"))
    quiet = (time.time() - os.path.getmtime(file)) / 86400
    if state == "running" and quiet > STALE_DAYS:
        state = f"running? {quiet:.0f} d"
    method = str(summary.get("method", ""))
    if summary.get("num_masked") and method == "gain_ext":
        method += f" {summary['num_masked']}"
    if summary.get("guided") is False and state != "running":
        method += " (unguided)"
    metrics = summary.get("metrics", {})
    cells = [_cell(metrics.get(f"test/{score.key}"), score) for score in LISTED]
    return [name, state, method, "-" if (seed := summary.get("seed", "")) is None else str(seed), *cells]


def _cell(value: Any, score: Score) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    return f"{100 * value:.1f}" if score.unit == "share" else f"{value:.3f}"


def runs_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text, without the scores that no run has; names too long for 80 columns lose their beginning."""
    header = ["run", "state", "method", "seed", *(score.listed for score in LISTED)]
    kept = [column for column in range(len(header)) if column < 4 or any(row[column] for row in rows)]
    rows = [[printable(row[column]) for column in kept] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = min(widths[0], max(79 - sum(widths[1:]) - 2 * (len(widths) - 1), 16))
    lines = []
    for row in rows:
        name = row[0] if len(row[0]) <= widths[0] else ".." + row[0][2 - widths[0] :]
        cells = [name.ljust(widths[0]), row[1].ljust(widths[1]), row[2].ljust(widths[2])]
        cells += [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
