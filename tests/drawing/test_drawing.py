import base64
import io
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from gain_lightning.drawing.charts import LINES, curves_figure
from gain_lightning.drawing.encoding import data_uri, shrink
from gain_lightning.drawing.grids import panel_grid
from gain_lightning.drawing.maps import COLOURMAP, colour_bar, colour_mask, grey, overlay


def test_overlay_blends_by_alpha():
    image = np.full((2, 2, 3), 100, np.uint8)
    attention = np.array([[0.0, 0.25], [0.5, 1.0]])
    colour = 255 * matplotlib.colormaps[COLOURMAP](attention)[..., :3]

    np.testing.assert_array_equal(overlay(image, attention, alpha=0.0), image)
    np.testing.assert_array_equal(overlay(image, attention, alpha=1.0), np.rint(colour))
    np.testing.assert_array_equal(overlay(image, attention), np.rint(50 + colour / 2))


def test_overlay_of_another_size_is_an_error():
    with pytest.raises(ValueError, match=r"image has shape \(2, 2, 3\) and map \(3, 3\)"):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((3, 3)))


def test_colour_mask_uses_the_palette_of_voc():
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 4: (0, 0, 128), 15: (192, 128, 128), 255: (224, 224, 192)}

    picture = colour_mask(np.array([list(expected)], np.uint8))

    assert picture.dtype == np.uint8
    assert [tuple(colour) for colour in picture[0].tolist()] == list(expected.values())


def test_panel_grid_puts_image_mask_and_overlay_side_by_side():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30, 50, 3)).astype(np.uint8) for _ in range(2)]
    masks = [np.full((30, 50), index, np.uint8) for index in (1, 2)]
    maps = [rng.random((30, 50)) for _ in range(2)]

    grid = panel_grid(images, masks, maps, ["first", "a caption much too long for such a row " * 3])

    assert grid.shape == (2 * (30 + 18 + 4), 3 * 50 + 4 * 4, 3)
    for row in range(2):
        top = row * 52 + 18
        pictures = [grid[top : top + 30, left : left + 50] for left in (4, 58, 112)]
        np.testing.assert_array_equal(pictures[0], images[row])
        np.testing.assert_array_equal(pictures[1], colour_mask(masks[row]))
        np.testing.assert_array_equal(pictures[2], overlay(images[row], maps[row]))
        assert grid[top - 18 : top].min() < 128  # the caption


def test_panel_grid_refuses_unequal_numbers_and_sizes():
    image, mask, attention = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4))

    with pytest.raises(ValueError, match="got 1 images, 1 masks, 1 maps, 2 captions"):
        panel_grid([image], [mask], [attention], ["a", "b"])
    with pytest.raises(ValueError, match="at least 1"):
        panel_grid([], [], [], [])
    with pytest.raises(ValueError, match="row 1: image"):
        panel_grid([image, image[:2]], [mask, mask[:2]], [attention, attention[:2]], ["a", "b"])


def test_curves_figure_keeps_each_names_colour():
    line = np.array([[0, 1, 2], [1, 2, 3], [0, 1, 2], [2, 3, 4.0]])

    figure = curves_figure({"a": np.empty((4, 0)), "_b": line}, "$title", "epoch").decode()

    ElementTree.fromstring(figure)
    assert LINES[1][0].lower() in figure
    assert LINES[0][0].lower() not in figure
    dark = curves_figure({"a": line}, "title", "epoch", dark=True).decode()
    assert LINES[0][1].lower() in dark


def test_curves_figure_is_the_same_every_time():
    line = np.ones((4, 5))

    assert curves_figure({"a": line}, "t", "x") == curves_figure({"a": line}, "t", "x")


def test_data_uri_holds_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 3)).astype(np.uint8)

    head, _, body = data_uri(picture).partition(",")

    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), picture)


def test_shrink_keeps_shape_and_small_pictures():
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, 10:] = 200

    small = shrink(picture, 10, smooth=False)

    assert small.shape == (5, 10, 3)
    assert set(np.unique(small)) == {0, 200}
    assert shrink(picture, 20) is picture


def test_colour_bar_runs_from_0_to_1():
    bar = colour_bar(64, 2)

    ends = 255 * np.array(matplotlib.colormaps[COLOURMAP]([0.0, 1.0]))[:, :3]
    np.testing.assert_array_equal(bar[0, [0, -1]], np.rint(ends))


def test_grey_has_equal_channels():
    assert grey(np.array([[[255, 0, 0]]], np.uint8)).tolist() == [[[76, 76, 76]]]
