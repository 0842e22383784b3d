import numpy as np
import pytest

from gain_lightning.drawing.grids import panel_grid
from gain_lightning.drawing.maps import colour_mask, overlay


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
