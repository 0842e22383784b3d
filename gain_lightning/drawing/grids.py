"""Draw pictures side by side: panels of attention."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from gain_lightning.drawing.maps import colour_mask, overlay
from gain_lightning.drawing.text import width_of, write_caption


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
    tiles: Sequence[tuple[np.ndarray, Sequence[np.ndarray], str]], *, columns: int = 3, side: int = 180
) -> np.ndarray:
    """Draw pictures, each with its maps beside it and words above them, in columns.

    Args:
        tiles: Picture ``(H, W, 3)`` uint8, maps ``(H, W)`` in [0, 1] and words of each; sizes may differ, and all have
            equally many maps.
        columns: Number of pictures in a row.
        side: Longer side of each picture in the grid, pixels.

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
    width = (1 + len(tiles[0][1])) * (side + gap // 2)
    lines = [_broken(words, width) for *_, words in tiles]
    text = bar * max(map(len, lines)) + 2
    shown = [_side_by_side(picture, maps, side, gap // 2) for picture, maps, _ in tiles]
    height = text + max(picture.shape[0] for picture in shown)
    rows = -(-len(tiles) // columns)
    grid = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + 2 * gap) + gap), "white")
    draw = ImageDraw.Draw(grid)
    for number, (picture, words) in enumerate(zip(shown, lines, strict=True)):
        left = gap + number % columns * (width + gap)
        top = gap + number // columns * (height + 2 * gap)
        for line, part in enumerate(words):
            write_caption(draw, (left, top + line * bar), part, width)
        grid.paste(Image.fromarray(picture), (left, top + text))
    return np.asarray(grid)


def _side_by_side(picture: np.ndarray, maps: Sequence[np.ndarray], side: int, gap: int) -> np.ndarray:
    """Draw a picture and maps over it, the longer side of each ``side`` pixels long and a gap behind it."""
    factor = side / max(picture.shape[:2])
    height, width = (max(round(length * factor), 1) for length in picture.shape[:2])
    small = np.asarray(Image.fromarray(picture).resize((width, height)))
    space = np.full((height, gap, 3), 255, np.uint8)
    parts = [small, space]
    for attention in maps:
        over = np.asarray(Image.fromarray(attention.astype(np.float32)).resize((width, height)))
        parts += [overlay(small, over), space]
    return np.concatenate(parts, 1)


def _broken(text: str, width: int) -> list[str]:
    """Break text into lines that :func:`write_caption` need not cut; a long word alone may be cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
