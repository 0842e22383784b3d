"""The folder that ``gain seeds`` writes; test_export_seeds.py looks at it as the command leaves it."""

import numpy as np

from gain_lightning.constants import VOID
from gain_lightning.datasets.shapes import Shapes
from gain_lightning.datasets.shapes.boat import draw_picture
from gain_lightning.drawing.encoding import save_indexed
from gain_lightning.drawing.strips import read_strip
from gain_lightning.segmentation.seed_folder import draw_image


def test_pictures_show_the_truth_of_made_pictures_too(tmp_path):
    empty = np.full((96, 96), VOID, np.uint8)
    for kind in ("masks", "cues"):
        save_indexed(tmp_path / kind / "a.png", empty)
    images = Shapes("boat", "test", range(2), supervision="none")
    draw_image(tmp_path, "a", images, 1)
    strip = read_strip(tmp_path / "pictures" / "a.png")
    drawn = draw_picture(1, "test")
    assert np.array_equal(strip["image"], drawn.image)
    is_black = (strip["ground truth"] == 0).all(2)  # the colour of the background
    assert np.array_equal(is_black, drawn.mask == 0)
