"""Draw pictures side by side: panels of attention, and samples of a data set."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gain_lightning.drawing.encoding import shrink
from gain_lightning.drawing.maps import colour_mask, overlay


def panel_grid(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    captions: Sequence[str],
) -> np.ndarray:
    """Draw one picture with a row for every image: caption, image | mask | map over the image.

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
    # Pixels between pictures, and the height of a caption.
    gap, bar = 4, 18
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


def map_grid(
    tiles: Sequence[tuple[np.ndarray, np.ndarray, Sequence[str]]], *, columns: int = 3, side: int = 180
) -> np.ndarray:
    """Draw pictures, each with its map beside it and lines of text above both, in columns.

    Args:
        tiles: Picture ``(H, W, 3)`` uint8, map ``(H, W)`` in [0, 1] and lines of each, of any size.
        columns: Number of pictures in a row.
        side: Longer side that a picture has at most, pixels.

    Returns:
        Picture, ``(H', W', 3)`` uint8.

    Raises:
        ValueError: If there is no picture.
    """
    if not tiles:
        raise ValueError("got no picture, expected at least 1")
    columns = min(columns, len(tiles))
    # Pixels between pictures, and the height of a line.
    gap, bar = 8, 16
    text = bar * max(len(lines) for _, _, lines in tiles)
    shown = [(shrink(picture, side), shrink(attention, side)) for picture, attention, _ in tiles]
    height = text + max(picture.shape[0] for picture, _ in shown) + gap
    grid = Image.new(
        "RGB", (columns * 2 * (side + gap) + gap, -(-len(tiles) // columns) * height + gap), "white"
    )
    draw = ImageDraw.Draw(grid)
    for number, ((picture, attention), (_, _, lines)) in enumerate(zip(shown, tiles, strict=True)):
        left, top = gap + number % columns * 2 * (side + gap), gap + number // columns * height
        for line, words in enumerate(lines):
            write_caption(draw, (left, top + line * bar), words, 2 * side)
        for place, image in enumerate((picture, overlay(picture, attention))):
            grid.paste(Image.fromarray(image), (left + place * (side + gap // 2), top + text))
    return np.asarray(grid)


def sample_grid(
    samples: Sequence[tuple[np.ndarray, np.ndarray | None, tuple[np.ndarray, np.ndarray], str]],
    *,
    columns: int = 6,
    side: int = 200,
) -> np.ndarray:
    """Draw pictures with their captions, masks and boxes, in columns.

    Args:
        samples: Picture ``(H, W, 3)`` uint8, mask ``(H, W)`` uint8 or None, boxes and caption of each sample, of any
            size. Boxes are their classes, ``(B,)``, and their ``(xmin, ymin, xmax, ymax)`` in pixels, ``(B, 4)``.
        columns: Number of pictures in a row.
        side: Longer side of each picture in the grid, pixels.

    Returns:
        Picture, ``(H', W', 3)`` uint8.

    Raises:
        ValueError: If there is no sample.
    """
    if not samples:
        raise ValueError("got no sample, expected at least 1")
    columns = min(columns, len(samples))
    # Pixels between pictures, and the height of a caption.
    gap, bar = 6, 18
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
        for class_idx, corners in zip(*boxes, strict=True):
            xmin, ymin, xmax, ymax = (corners * factor).tolist()
            xmax, ymax = max(xmax - 1, xmin), max(ymax - 1, ymin)
            edge = (left + xmin, top + bar + ymin, left + xmax, top + bar + ymax)
            draw.rectangle(edge, outline=tuple(palette[class_idx + 1].tolist()), width=2)
    return np.asarray(grid)


def write_caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int) -> None:
    """Write black text of 12 pixels, its left upper corner at ``place``, cut short at ``width`` pixels."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 12)
    if font.getlength(text) > width:
        while text and font.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    draw.text(place, text, fill="black", font=font)
