import matplotlib
import numpy as np
import pytest

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


def test_colour_bar_runs_from_0_to_1():
    bar = colour_bar(64, 2)

    ends = 255 * np.array(matplotlib.colormaps[COLOURMAP]([0.0, 1.0]))[:, :3]
    np.testing.assert_array_equal(bar[0, [0, -1]], np.rint(ends))


def test_grey_has_equal_channels():
    assert grey(np.array([[[255, 0, 0]]], np.uint8)).tolist() == [[[76, 76, 76]]]
