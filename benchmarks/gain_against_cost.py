"""What a step of guidance costs and what it brings: draw the trials of guidance without masks.

    python benchmarks/gain_against_cost.py experiments/results/guidance_trials.csv --figure FIGURE.svg

A point is one trial (experiments/results.md, "Guidance without masks"). Its cost is the mean over the whole training,
in steps of a plain classifier; guidance costs nothing before it begins.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from gain_lightning.drawing.charts import plane_figure


def read_trials(path: Path) -> dict[str, np.ndarray]:
    """Read cost and best seed mIoU of the trials by their group, ``(2, trials)``."""
    points: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            cost = 1 + float(row["guided_share"]) * (float(row["cost_guided"]) - 1)
            points.setdefault(row["group"], []).append((cost, float(row["seed_miou_best"])))
    return {group: np.array(rows).T for group, rows in points.items()}


def main(argv: list[str] | None = None) -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", type=Path)
    parser.add_argument("--figure", type=Path, required=True)
    args = parser.parse_args(argv)
    figure = plane_figure(
        read_trials(args.trials),
        "best seed mIoU of held-out images, %",
        "cost of the whole training in plain steps",
    )
    args.figure.write_bytes(figure)


if __name__ == "__main__":
    main()
