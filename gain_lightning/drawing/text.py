"""Write on pictures: in a font that has the letters, and cut in the middle where there is no room."""

from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

# Pixels of a letter's height, and of a line.
_LETTER, LINE = 12, 18
# matplotlib brings it, so that it is there on every machine; it has Latin, Greek, Cyrillic, Hebrew and Arabic letters.
_OURS = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@lru_cache(maxsize=4096)
def _font_file(text: str) -> str | None:
    """Return the file of a font that has all letters of a text: our own, else one of the machine's, if any has."""
    letters = {ord(letter) for letter in text if not letter.isspace()}
    if letters <= _letters_of(_OURS):
        return _OURS
    return next((path for path in _fonts_of_machine() if letters <= _letters_of(path)), None)


@lru_cache
def _fonts_of_machine() -> tuple[str, ...]:
    return tuple(sorted(findSystemFonts()))


@lru_cache
def _letters_of(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    # a font of bitmaps, or a broken file
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@lru_cache
def _font(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _LETTER)


def can_show(text: str) -> bool:
    """Tell whether a font of this machine has all letters of a text.

    Example:
        >>> can_show("Bär, кот"), can_show("a\N{PRIVATE USE ONE}")
        (True, False)
    """
    return _font_file(text) is not None


def width_of(text: str) -> float:
    """Return how many pixels a line of text takes."""
    return _font(_font_file(text) or _OURS).getlength(text)


class Line:
    """A line of text as it is written, with ``?`` for letters that no font of this machine has.

    Args:
        text: The text.
        width: The pixels that there are for it; a longer text is cut in its middle, whose ends tell names apart.
    """

    def __init__(self, text: str, width: float) -> None:
        if not can_show(text):
            text = "".join(
                letter if letter.isspace() or ord(letter) in _letters_of(_OURS) else "?" for letter in text
            )
        self.text = _cut(text, width)
        self.width = round(width_of(self.text) + 0.5)

    def write(self, draw: ImageDraw.ImageDraw, place: tuple[int, int], colour: str = "black") -> None:
        """Write it, its left upper corner at ``place``."""
        draw.text(place, self.text, fill=colour, font=_font(_font_file(self.text) or _OURS))


def _cut(text: str, width: float) -> str:
    if width_of(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        cut = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        if width_of(cut) <= width:
            return cut
    return "…"


def write_caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int) -> None:
    """Write a black line, its left upper corner at ``place``, cut in its middle at ``width`` pixels."""
    Line(text, width).write(draw, place)
