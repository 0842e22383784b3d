import numpy as np
import pytest
from PIL import Image, ImageDraw

from gain_lightning.drawing.text import Line, can_show, width_of, write_caption

SCRIPTS = ["Straßenbahn", "кот", "γάτα", "קטה", "قطة"]


@pytest.mark.parametrize("text", SCRIPTS)
def test_letters_of_several_scripts_are_there_on_every_machine(text):
    assert can_show(text)
    assert Line(text, 500).text == text


def test_letters_that_no_font_has_are_question_marks():
    assert not can_show("a\ue123b")
    assert Line("a\ue123b c", 500).text == "a?b c"


def test_a_font_of_the_machine_is_taken_for_letters_that_ours_lacks(monkeypatch):
    import matplotlib

    fonts = f"{matplotlib.get_data_path()}/fonts/ttf/"
    # a letter that of matplotlib's fonts only STIX's have
    monkeypatch.setattr(
        "gain_lightning.drawing.text._fonts_of_machine", lambda: (fonts + "no.ttf", fonts + "STIXNonUni.ttf")
    )
    assert can_show("\ue0c8")
    assert Line("\ue0c8", 500).text == "\ue0c8"


@pytest.mark.parametrize("width", [20, 30, 60, 100])
def test_a_long_name_is_cut_in_its_middle(width):
    name = "scan of the upper left lobe, stage two"
    line = Line(name, width)
    assert line.width <= width + 1
    start, cut, end = line.text.partition("…")
    assert cut
    assert name.startswith(start)
    assert name.endswith(end)
    assert len(start) - len(end) in (0, 1)
    assert Line(name, 500).text == name
    assert width_of(name) < 300


def test_a_caption_stays_in_its_width():
    canvas = Image.new("RGB", (200, 30), "white")
    write_caption(ImageDraw.Draw(canvas), (20, 5), "a caption much too long for this room", 100)
    written = (np.asarray(canvas) < 255).any((0, 2))
    assert written[20:121].any()
    assert not written[:20].any()
    assert not written[121:].any()
