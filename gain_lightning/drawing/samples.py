"""A grid of pictures with their labels, masks and boxes, and a legend of the colours."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from gain_lightning.constants import VOID
from gain_lightning.drawing.maps import colour_mask
from gain_lightning.drawing.text import LINE, Line

# Pixels between pictures, between two names in a line, and of the patch of colour before a name.
_GAP, _BETWEEN, _PATCH = 6, 10, 10
# A picture with more labels than fit into so many lines shows how many more there are.
_MOST_LINES = 3
_NO_BOXES = (np.zeros(0, int), np.zeros((0, 4)))
_GREY = "#666666"


class Tile(NamedTuple):
    """A picture of a grid, of any size.

    Attributes:
        image: The picture, ``(H, W, 3)`` uint8.
        name: What stands below it.
        labels: What stands above it: numbers of classes, each with its text; a number of -1 has no colour.
        mask: Class indices, ``(H, W)`` uint8: 0 background, 1..C classes, 255 void; None without a mask.
        boxes: The numbers of their classes, ``(B,)``, and ``(xmin, ymin, xmax, ymax)`` in pixels, ``(B, 4)``.
    """

    image: np.ndarray
    name: str = ""
    labels: Sequence[tuple[int, str]] = ()
    mask: np.ndarray | None = None
    boxes: tuple[np.ndarray, np.ndarray] = _NO_BOXES


class _Entry(NamedTuple):
    """A name with a patch of its colour before it, or without one."""

    line: Line
    colour: tuple[int, ...] | None

    @property
    def width(self) -> int:
        return self.line.width + (_PATCH + 4 if self.colour else 0)

    def write(self, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
        if self.colour:
            draw.rectangle((left, top + 3, left + _PATCH - 1, top + 2 + _PATCH), self.colour, _GREY)
        self.line.write(draw, (left + self.width - self.line.width, top))


def sample_grid(
    tiles: Sequence[Tile], class_names: Sequence[str] = (), *, columns: int = 6, side: int = 200
) -> np.ndarray:
    """Draw pictures in columns: their labels above, their names below, and a legend of all colours on top.

    A name that is too long is cut in its middle, and never takes room of another. Names of classes whose letters no
    font of this machine has are written as ``class 3``, by their number.

    Args:
        tiles: The pictures.
        class_names: The names of the C classes.
        columns: Number of pictures in a row.
        side: Longer side of each picture in the grid, pixels.

    Returns:
        Picture, ``(H', W', 3)`` uint8.

    Raises:
        ValueError: If there is no picture.
    """
    if not tiles:
        raise ValueError("got no sample, expected at least 1")
    columns = min(columns, len(tiles))
    width = columns * (side + _GAP) + _GAP
    legend = _flow(_legend(tiles, class_names, width - 2 * _GAP), width - 2 * _GAP)
    rows = [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
    above = [[_label_lines(tile.labels, side) for tile in row] for row in rows]
    num_lines = [max(map(len, of_row)) for of_row in above]
    below = [LINE if any(tile.name for tile in row) else 0 for row in rows]
    tallest = [max(_shown_size(tile.image, side)[1] for tile in row) for row in rows]
    heights = [
        num * LINE + tall + name + _GAP for num, tall, name in zip(num_lines, tallest, below, strict=True)
    ]
    top = _GAP + len(legend) * LINE + (_GAP if legend else 0)
    grid = Image.new("RGB", (width, top + sum(heights)), "white")
    draw = ImageDraw.Draw(grid)
    _write_lines(draw, legend, _GAP, _GAP)
    for row, of_row, num, height in zip(rows, above, num_lines, heights, strict=True):
        for column, (tile, lines) in enumerate(zip(row, of_row, strict=True)):
            left = _GAP + column * (side + _GAP)
            # labels stand right above their picture, whatever its neighbours have
            _write_lines(draw, lines, left, top + (num - len(lines)) * LINE)
            bottom = _draw_marked(grid, draw, tile, (left, top + num * LINE), side)
            Line(tile.name, side).write(draw, (left, bottom + 1), _GREY)
        top += height
    return np.asarray(grid)


def colour_of(class_idx: int) -> tuple[int, ...]:
    """Return the colour that a class is drawn in, by its number from 0 on; -1 is what is not labelled."""
    colour: tuple[int, ...] = tuple(colour_mask(np.array(VOID if class_idx < 0 else class_idx + 1)).tolist())
    return colour


def _legend(tiles: Sequence[Tile], class_names: Sequence[str], width: int) -> list[_Entry]:
    """List the colours that masks and boxes are drawn in, by the numbers of their classes; void comes last."""
    drawn = {int(number) for tile in tiles for number in tile.boxes[0]}
    shown = [np.flatnonzero(np.bincount(tile.mask.ravel())) for tile in tiles if tile.mask is not None]
    indices = {int(index) for of_tile in shown for index in of_tile}
    drawn |= {index - 1 for index in indices if 0 < index < VOID}
    entries = [(class_names[number], colour_of(number)) for number in sorted(drawn)]
    entries += [("not labelled", colour_of(-1))] * (VOID in indices)
    return [_Entry(Line(name, width - _PATCH - 4), colour) for name, colour in entries]


def _label_lines(labels: Sequence[tuple[int, str]], side: int) -> list[list[_Entry]]:
    """Lay out the labels of a picture in lines; those that find no room are counted."""
    colours = [colour_of(number) if 0 <= number < VOID - 1 else None for number, _ in labels]
    entries = [
        _Entry(Line(text, side - (_PATCH + 4 if colour else 0)), colour)
        for (_, text), colour in zip(labels, colours, strict=True)
    ]
    lines = _flow(entries, side)
    kept = len(entries)
    while len(lines) > _MOST_LINES:
        kept -= 1
        lines = _flow([*entries[:kept], _Entry(Line(f"+{len(entries) - kept}", side), None)], side)
    return lines


def _flow(entries: Sequence[_Entry], width: int) -> list[list[_Entry]]:
    """Break entries into lines of a width."""
    lines: list[list[_Entry]] = []
    used = width
    for entry in entries:
        if not lines or used + _BETWEEN + entry.width > width:
            lines.append([])
            used = -_BETWEEN
        lines[-1].append(entry)
        used += _BETWEEN + entry.width
    return lines


def _write_lines(draw: ImageDraw.ImageDraw, lines: Sequence[Sequence[_Entry]], left: int, top: int) -> None:
    for number, entries in enumerate(lines):
        place = left
        for entry in entries:
            entry.write(draw, place, top + number * LINE)
            place += entry.width + _BETWEEN


def _shown_size(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return the width and height of a picture in the grid."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    return max(round(width * factor), 1), max(round(height * factor), 1)


def _draw_marked(
    grid: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, place: tuple[int, int], side: int
) -> int:
    """Draw a picture with its mask and boxes, its left upper corner at ``place``; return where it ends."""
    left, top = place
    size = _shown_size(tile.image, side)
    factor = side / max(tile.image.shape[:2])
    picture = Image.fromarray(tile.image).resize(size)
    if tile.mask is not None:
        shown = np.asarray(Image.fromarray(tile.mask).resize(size, Image.Resampling.NEAREST))
        colour = np.where((shown > 0)[..., None], colour_mask(shown), np.asarray(picture))
        picture = Image.blend(picture, Image.fromarray(colour), 0.55)
    grid.paste(picture, place)
    for class_idx, corners in zip(*tile.boxes, strict=True):
        xmin, ymin, xmax, ymax = (corners * factor).tolist()
        xmax, ymax = max(xmax - 1, xmin), max(ymax - 1, ymin)
        draw.rectangle(
            (left + xmin, top + ymin, left + xmax, top + ymax), outline=colour_of(int(class_idx)), width=2
        )
    return top + size[1]
