"""What guidance bears of imperfect marks: print and draw the scores of a sweep over ``data.mask_noise``.

    gain sweep experiments/sweeps/mask_noise.yaml --workers 2
    gain sweep experiments/sweeps/void_border.yaml --workers 2
    python benchmarks/mask_noise.py runs/mask_noise runs/void_border --figure docs/pictures/mask_noise.svg

A line stands for one kind of marks and a colour for one distance of Eq. 7: the point is the mean over seeds, and the
bar reaches from the lowest seed to the highest.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from gain_lightning.drawing.charts import LINES
from gain_lightning.runs.read import Run, find_runs, read_run

SCORES = {
    "test/seed_miou_best": "best seed mIoU, %",
    "test/energy": "energy inside, %",
    "test/biased_accuracy": "biased accuracy, %",
}
CLEAN = "as they are"


def marks_of(run: Run) -> str:
    """Name the marks that a run was guided by: the settings of its noise that are not 0."""
    noise = {key: value for key, value in run.config.items() if key.startswith("data.mask_noise.") and value}
    named = [f"{key.rpartition('.')[2]} {value}" for key, value in noise.items() if value is not True]
    named += [key.rpartition(".")[2] for key, value in noise.items() if value is True]
    if width := run.config.get("data.void_border"):
        named.append(f"void_border {width}")
    return ", ".join(named) or CLEAN


def gather(patterns: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Gather the scores of all runs by their marks and by their distance of Eq. 7, ``(seeds, scores)`` in percent."""
    found: dict[str, dict[str, list[list[float]]]] = {CLEAN: {}}
    for path in find_runs(patterns):
        run = read_run(path)
        of_marks = found.setdefault(marks_of(run), {})
        scores = [100 * run.metrics[key] for key in SCORES]
        of_marks.setdefault(str(run.config["model.ext_loss"]), []).append(scores)
    return {
        marks: {loss: np.array(rows) for loss, rows in of_marks.items()} for marks, of_marks in found.items()
    }


def table(scores: Mapping[str, Mapping[str, np.ndarray]], losses: list[str]) -> str:
    """Return the means over seeds as a table in Markdown, and in brackets the lowest biased accuracy of a seed."""
    lines = [f"| marks; {' / '.join(SCORES.values())} (lowest) | {' | '.join(losses)} |"]
    lines.append("|---" * (1 + len(losses)) + "|")
    for marks, of_marks in scores.items():
        cells = [
            " / ".join(f"{mean:.1f}" for mean in of_marks[loss].mean(0))
            + f" ({of_marks[loss][:, -1].min():.1f})"
            if loss in of_marks
            else ""
            for loss in losses
        ]
        lines.append(f"| {marks} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(scores: Mapping[str, Mapping[str, np.ndarray]], losses: list[str]) -> Figure:
    """Draw a panel for each score: a line for the marks, a colour for the distance."""
    drawing = Figure(figsize=(8.4, 0.7 + 0.32 * len(scores)), layout="constrained")
    panels = drawing.subplots(1, len(SCORES), sharey=True)
    places = -np.arange(len(scores))
    for column, (panel, title) in enumerate(zip(panels, SCORES.values(), strict=True)):
        for number, loss in enumerate(losses):
            colour = LINES[number % len(LINES)][0]
            offset = 0.22 * ((len(losses) - 1) / 2 - number)
            for place, of_marks in zip(places, scores.values(), strict=True):
                if loss in of_marks:
                    values = of_marks[loss][:, column]
                    panel.plot(
                        [values.min(), values.max()], [place + offset] * 2, color=colour, linewidth=1.2
                    )
                    panel.plot(
                        values.mean(), place + offset, "osD^vP"[number % 6], color=colour, markersize=4
                    )
        panel.set_title(title, size=9)
        panel.grid(axis="x", color="#cccccc", linewidth=0.5)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(length=0)
    panels[0].set_yticks(places, list(scores))
    handles = [
        matplotlib.lines.Line2D(
            [], [], color=LINES[n % len(LINES)][0], marker="osD^vP"[n % 6], markersize=4, linewidth=1.2
        )
        for n in range(len(losses))
    ]
    drawing.legend(handles, losses, loc="outside upper left", ncols=len(losses), frameon=False)
    return drawing


def main(argv: list[str] | None = None) -> None:
    """Print the table and draw the figure that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="folders of sweeps, or of runs")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args(argv)
    scores = gather(args.runs)
    losses = list(dict.fromkeys(loss for of_marks in scores.values() for loss in of_marks))
    print(table(scores, losses))
    if args.figure:
        with matplotlib.rc_context({"svg.hashsalt": "gain_lightning", "font.size": 9}):
            figure(scores, losses).savefig(args.figure, metadata={"Date": None})


if __name__ == "__main__":
    main()
