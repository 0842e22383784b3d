"""Draw curves of scores, and runs as points in a plane."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The colour of a line on a light and on a dark page, and its dashes. People with colour blindness can tell the colours
# apart (after Okabe and Ito).
LINES = (
    ("#0072B2", "#56B4E9", "-"),
    ("#D55E00", "#F0894A", (0, (5, 1.5))),
    ("#009E73", "#2FC799", (0, (3, 1, 1, 1))),
    ("#CC79A7", "#E3A5C7", (0, (1, 1))),
    ("#8A6D00", "#F0E442", (0, (8, 2))),
    ("#666666", "#BBBBBB", (0, (5, 1, 1, 1, 1, 1))),
)


def curves_figure(
    lines: Mapping[str, np.ndarray],
    title: str,
    x_label: str,
    *,
    dark: bool = False,
    dots: bool = False,
    kind: str = "svg",
) -> bytes:
    """Draw curves of one quantity, a line and a band of the runs' range for every name.

    Args:
        lines: The points of each line by its name, in rows of x, mean, lowest and highest value, ``(4, points)``. A
            line without points is left out, but keeps its colour, so that figures of one study agree.
        title: The name of the quantity.
        x_label: The name of x.
        dark: Whether the figure is for a dark page.
        dots: Whether every point is marked.
        kind: ``svg`` with a transparent ground, or ``png`` on white.

    Returns:
        The file.
    """
    with _figure(title, x_label, dark, kind) as (figure, axes, file):
        drawn = []
        for number, (name, (x, mean, low, high)) in enumerate(lines.items()):
            if not len(x):
                continue
            drawn.append(name)
            light_colour, dark_colour, dashes = LINES[number % len(LINES)]
            colour = dark_colour if dark else light_colour
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            marker = "o" if dots or len(x) == 1 else None
            axes.plot(x, mean, color=colour, linestyle=dashes, marker=marker, markersize=5, linewidth=1.8)
        axes.locator_params("x", integer=True)
        _legend(figure, axes.get_lines(), drawn)
    return file.getvalue()


def plane_figure(
    points: Mapping[str, np.ndarray], title: str, x_label: str, *, dark: bool = False, kind: str = "svg"
) -> bytes:
    """Draw runs as points in a plane, a colour and a marker for every name.

    Args:
        points: The x and y of each group's runs by its name, ``(2, runs)``.
        title: The name of y.
        x_label: The name of x.
        dark: Whether the figure is for a dark page.
        kind: ``svg`` with a transparent ground, or ``png`` on white.

    Returns:
        The file.
    """
    with _figure(title, x_label, dark, kind) as (figure, axes, file):
        markers = "osD^vP"
        for number, (x, y) in enumerate(points.values()):
            colour = LINES[number % len(LINES)][dark]
            axes.plot(x, y, markers[number % len(markers)], color=colour, markersize=7, alpha=0.85)
        axes.grid(axis="x", color="#888888", linewidth=0.4, alpha=0.4)
        _legend(figure, axes.get_lines(), list(points))
    return file.getvalue()


@contextmanager
def _figure(title: str, x_label: str, dark: bool, kind: str) -> Iterator[tuple[Figure, Axes, io.BytesIO]]:
    """Yield a small figure in the page's colours, its axes and its file; the figure is saved on leaving."""
    ink, faint = ("#dddddd", "#555555") if dark else ("#333333", "#cccccc")
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "gain_lightning", "font.size": 9, "text.color": ink}):
        figure = Figure(figsize=(4.0, 2.7), facecolor="none")
        axes = figure.add_axes((0.13, 0.16, 0.84, 0.64), facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(faint)
        axes.grid(axis="y", color=faint, linewidth=0.5, alpha=0.6)
        axes.tick_params(colors=ink, length=0)
        axes.set_xlabel(x_label, color=ink)
        figure.text(0.02, 0.93, title, weight="bold", size=10, parse_math=False)
        yield figure, axes, file
        if kind == "svg":
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        else:
            figure.savefig(file, format=kind, dpi=300, facecolor="white", metadata={"Software": None})


def _legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Write the names above the axes, which make room for as many lines as the names need."""
    longest = max((len(name) for name in names), default=0)
    # A line sample takes 0.45 inches and a letter 0.07.
    columns = max(int(figure.get_figwidth() / (0.45 + 0.07 * longest)), 1)
    num_lines = -(-len(names) // columns)
    (axes,) = figure.axes
    left, bottom, width, _ = axes.get_position().bounds
    axes.set_position((left, bottom, width, max(0.64 - 0.065 * (num_lines - 1), 0.25)))
    # matplotlib hides names that start with an underscore.
    legend = figure.legend(
        handles,
        [name.lstrip("_") for name in names],
        loc="upper left",
        bbox_to_anchor=(0.0, 0.92),
        ncols=columns,
        frameon=False,
        handlelength=2.4,
        columnspacing=1.2,
        labelspacing=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
