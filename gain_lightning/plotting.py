"""Arrays in, pictures out: attention maps over images, masks in colour, panels, curves."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from gain_lightning.palette import voc_palette

if TYPE_CHECKING:
    from gain_lightning.datasets.boxes import Boxes


COLOURMAP = "inferno"  # perceptually uniform: dark where the network does not look
LINES = (  # colours that the colour-blind tell apart (after Okabe and Ito) on light and on dark; dashes
    ("#0072B2", "#56B4E9", "-"),
    ("#D55E00", "#F0894A", (0, (5, 1.5))),
    ("#009E73", "#2FC799", (0, (3, 1, 1, 1))),
    ("#CC79A7", "#E3A5C7", (0, (1, 1))),
    ("#8A6D00", "#F0E442", (0, (8, 2))),
    ("#666666", "#BBBBBB", (0, (5, 1, 1, 1, 1, 1))),
)


def save_png(path: Path, image: np.ndarray) -> None:
    """Write an RGB picture ``(H, W, 3)`` uint8."""
    Image.fromarray(image).save(path)


def overlay(image: np.ndarray, attention: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Blend an attention map in colour with its image.

    Args:
        image: Picture, ``(H, W, 3)`` uint8.
        attention: Map in [0, 1], ``(H, W)``.
        alpha: Share of the map's colour.

    Returns:
        Picture, ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the map has another size than the image.
    """
    if image.shape != (*attention.shape, 3):
        raise ValueError(
            f"image has shape {image.shape} and map {attention.shape}, expected (H, W, 3) and (H, W)"
        )
    colour = 255 * matplotlib.colormaps[COLOURMAP](np.clip(attention.astype(np.float32), 0, 1))[..., :3]
    return np.rint((1 - alpha) * image + alpha * colour).astype(np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    """The picture without colour, ``(H, W, 3)`` uint8: an overlay's colours then speak of the map alone."""
    return np.repeat(np.rint(image @ (0.299, 0.587, 0.114))[..., None], 3, 2).astype(np.uint8)


def colour_mask(mask: np.ndarray) -> np.ndarray:
    """Paint class indices in the palette of PASCAL VOC, void in pale yellow.

    Args:
        mask: 0 background, 1..C class, 255 void, ``(H, W)`` integers.

    Returns:
        Picture, ``(H, W, 3)`` uint8.

    Example:
        >>> colour_mask(np.array([[0, 1, 255]], np.uint8)).tolist()
        [[[0, 0, 0], [128, 0, 0], [224, 224, 192]]]
    """
    return voc_palette()[mask]


def colour_bar(width: int = 256, height: int = 12) -> np.ndarray:
    """The colours of 0 (left) to 1 (right), ``(height, width, 3)`` uint8."""
    black = np.zeros((height, width, 3), np.uint8)
    return overlay(black, np.broadcast_to(np.linspace(0, 1, width), (height, width)), alpha=1.0)


def panel_grid(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    captions: Sequence[str],
) -> np.ndarray:
    """One picture with a row for every image: caption, image | mask | map over the image.

    Args:
        images: Pictures of one size, each ``(H, W, 3)`` uint8.
        masks: Class indices, each ``(H, W)`` uint8.
        maps: Maps in [0, 1], each ``(H, W)``.
        captions: One line for every row, cut to the row's width.

    Returns:
        Picture, ``(H', W', 3)`` uint8.

    Raises:
        ValueError: If there is no image, or numbers or sizes differ.
    """
    counts = {len(images), len(masks), len(maps), len(captions)}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(
            f"got {len(images)} images, {len(masks)} masks, {len(maps)} maps, {len(captions)} captions, "
            "expected equal numbers, at least 1"
        )
    height, width = images[0].shape[:2]
    gap, bar = 4, 18  # pixels between pictures, and of a caption
    grid = Image.new("RGB", (3 * width + 4 * gap, len(images) * (height + bar + gap)), "white")
    draw = ImageDraw.Draw(grid)
    for row, (image, mask, attention, caption) in enumerate(zip(images, masks, maps, captions, strict=True)):
        if image.shape[:2] != (height, width) or mask.shape != (height, width):
            raise ValueError(
                f"row {row}: image {image.shape}, mask {mask.shape}, expected {(height, width)} as in row 0"
            )
        top = row * (height + bar + gap)
        write_caption(draw, (gap, top + 2), caption, grid.width - 2 * gap)
        for column, picture in enumerate((image, colour_mask(mask), overlay(image, attention))):
            grid.paste(Image.fromarray(picture), (gap + column * (width + gap), top + bar))
    return np.asarray(grid)


def sample_grid(
    samples: Sequence[tuple[np.ndarray, np.ndarray | None, "Boxes", str]],
    *,
    columns: int = 6,
    side: int = 200,
) -> np.ndarray:
    """Pictures with their captions, masks and boxes, in columns.

    Args:
        samples: Picture ``(H, W, 3)`` uint8, mask ``(H, W)`` uint8 or None, boxes, caption; of any sizes.
        columns: Pictures in a row.
        side: Longer side of each picture in the grid, pixels.

    Returns:
        Picture, ``(H', W', 3)`` uint8.

    Raises:
        ValueError: If there is no sample.
    """
    if not samples:
        raise ValueError("got no sample, expected at least 1")
    columns = min(columns, len(samples))
    gap, bar = 6, 18  # pixels between pictures, and of a caption
    step_x, step_y = side + gap, side + bar + gap
    grid = Image.new("RGB", (columns * step_x + gap, -(-len(samples) // columns) * step_y + gap), "white")
    draw = ImageDraw.Draw(grid)
    palette = colour_mask(np.arange(256, dtype=np.uint8))
    for number, (image, mask, boxes, caption) in enumerate(samples):
        left, top = gap + number % columns * step_x, gap + number // columns * step_y
        height, width = image.shape[:2]
        factor = side / max(height, width)
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        picture = Image.fromarray(image).resize(size)
        if mask is not None:
            shown = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            colour = np.where((shown > 0)[..., None], palette[shown], np.asarray(picture))
            picture = Image.blend(picture, Image.fromarray(colour), 0.55)
        write_caption(draw, (left, top + 1), caption, side)
        grid.paste(picture, (left, top + bar))
        for class_idx, corners in zip(boxes.class_idx, boxes.corners, strict=True):
            xmin, ymin, xmax, ymax = (corners * factor).tolist()
            edge = (
                left + xmin,
                top + bar + ymin,
                left + max(xmax - 1, xmin),
                top + bar + max(ymax - 1, ymin),
            )
            draw.rectangle(edge, outline=tuple(palette[class_idx + 1].tolist()), width=2)
    return np.asarray(grid)


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
        lines: Name of each line to its points: rows x, mean, lowest, highest; ``(4, points)``. A line without
            points is left out, but keeps its colour, so that figures of one study agree.
        title: What is drawn.
        x_label: What it is drawn against.
        dark: For a dark page.
        dots: Mark every point.
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
        axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(figure, axes.get_lines(), drawn)
    return file.getvalue()


def plane_figure(
    points: Mapping[str, np.ndarray], title: str, x_label: str, *, dark: bool = False, kind: str = "svg"
) -> bytes:
    """Draw runs as points in a plane, a colour and a marker for every name.

    Args:
        points: Name of each group to its runs' x and y, ``(2, runs)``.
        title: What y is.
        x_label: What x is.
        dark: For a dark page.
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
    """A small figure in the page's colours, saved on leaving."""
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


def _legend(figure: Figure, handles: Sequence, names: Sequence[str]) -> None:
    """Names above the axes, which make room for as many lines as these need."""
    longest = max((len(name) for name in names), default=0)
    columns = max(int(figure.get_figwidth() / (0.45 + 0.07 * longest)), 1)  # inches of a line and of a letter
    num_lines = -(-len(names) // columns)
    (axes,) = figure.axes
    left, bottom, width, _ = axes.get_position().bounds
    axes.set_position((left, bottom, width, max(0.64 - 0.065 * (num_lines - 1), 0.25)))
    legend = figure.legend(
        handles,
        [name.lstrip("_") for name in names],  # matplotlib hides names that start with it
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


def data_uri(picture: np.ndarray | bytes, *, lossy: bool = False) -> str:
    """A picture in the text of a page.

    Args:
        picture: ``(H, W, 3)`` uint8, or an SVG file.
        lossy: An array becomes a JPEG, a fifth of the PNG that it is otherwise; for photographs.
    """
    if isinstance(picture, bytes):
        return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
    file, kind = io.BytesIO(), "jpeg" if lossy else "png"
    Image.fromarray(picture).save(file, format=kind, **({"quality": 88} if lossy else {}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def shrink(picture: np.ndarray, side: int, *, smooth: bool = True) -> np.ndarray:
    """A picture with no side longer than ``side``; not smooth keeps exact colours, as masks need."""
    height, width = picture.shape[:2]
    if max(height, width) <= side:
        return picture
    size = (
        max(1, round(width * side / max(height, width))),
        max(1, round(height * side / max(height, width))),
    )
    method = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, method))


def write_caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int) -> None:
    """Write black text of 12 pixels, its left upper corner at ``place``, cut short at ``width`` pixels."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 12)
    if font.getlength(text) > width:
        while text and font.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    draw.text(place, text, fill="black", font=font)
