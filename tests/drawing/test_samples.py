"""Grids of pictures: labels, names, masks and boxes, and a legend."""

import numpy as np
import pytest

from gain_lightning.drawing.maps import colour_mask
from gain_lightning.drawing.samples import Tile, _flow, _label_lines, _legend, colour_of, sample_grid
from gain_lightning.drawing.text import LINE

NAMES = ["cat", "dog", "cow"]
GREEN = np.full((60, 80, 3), (0, 200, 0), np.uint8)
CAT, DOG, VOID = (128, 0, 0), (0, 128, 0), (224, 224, 192)


def has(grid, colour):
    return (grid == colour).all(-1).any()


def boxes(*rows):
    return np.array([row[0] for row in rows], int), np.array([row[1:] for row in rows], float).reshape(-1, 4)


def test_colours_are_those_of_masks():
    assert [colour_of(0), colour_of(1), colour_of(-1)] == [CAT, DOG, VOID]


def test_legend_names_what_is_drawn_and_nothing_else():
    mask = np.zeros((60, 80), np.uint8)
    mask[:20, :20], mask[50:] = 3, 255
    tiles = [
        Tile(GREEN, labels=[(1, "dog")]),
        Tile(GREEN, mask=mask),
        Tile(GREEN, boxes=boxes((0, 1, 2, 30, 40))),
    ]
    entries = _legend(tiles, NAMES, 500)
    assert [(entry.line.text, entry.colour) for entry in entries] == [
        ("cat", CAT),
        ("cow", tuple(colour_mask(np.array(3)).tolist())),
        ("not labelled", VOID),
    ]
    assert _legend(tiles[:1], NAMES, 500) == []


def test_a_picture_stands_under_its_labels_and_over_its_name():
    grid = sample_grid([Tile(GREEN, "p0.png", [(0, "cat")])], NAMES, side=80)
    # no mark, so no legend: a gap, a line of labels, the picture, a line with its name and a gap
    assert grid.shape == (6 + LINE + 60 + LINE + 6, 6 + 80 + 6, 3)
    np.testing.assert_array_equal(grid[6 + LINE : 6 + LINE + 60, 6:86], GREEN)
    assert has(grid[6 : 6 + LINE, 6:20], CAT)
    assert (grid[6 + LINE + 60 :] < 255).any()


def test_masks_are_painted_over_and_boxes_drawn_around():
    mask = np.zeros((60, 80), np.uint8)
    mask[:30] = 1
    tiles = [Tile(GREEN, mask=mask), Tile(GREEN, boxes=boxes((1, 10, 10, 40, 50)))]
    grid = sample_grid(tiles, NAMES, side=80)
    top = 6 + LINE + 6
    painted, boxed = grid[top : top + 60, 6:86], grid[top : top + 60, 92:172]
    expected = 0.45 * GREEN[0, 0] + 0.55 * np.array(CAT)
    np.testing.assert_allclose(painted[:30], np.broadcast_to(expected, (30, 80, 3)), atol=1)
    np.testing.assert_array_equal(painted[30:], GREEN[30:])
    assert (boxed[10, 10:40] == DOG).all()
    assert (boxed[49, 10:40] == DOG).all()
    assert (boxed[12:48, 12:38] == GREEN[0, 0]).all()
    assert has(grid[:top], CAT)
    assert has(grid[:top], DOG)


def test_long_names_hide_no_label():
    long = "chronic obstructive pulmonary disease of stage "
    lines = _label_lines([(0, long + "one"), (1, long + "two"), (2, "cow")], 200)
    texts = [[entry.line.text for entry in line] for line in lines]
    assert [len(line) for line in texts] == [1, 1, 1]
    assert [line[0][-9:] for line in texts] == ["stage one", "stage two", "cow"]
    grid = sample_grid(
        [Tile(GREEN, "x" * 300, [(0, long), (1, "dog")]), Tile(GREEN, "b.png", [(1, "dog")])], side=200
    )
    # a name ends at its own column
    assert (grid[:, 206:212] == 255).all()


def test_labels_that_find_no_room_are_counted():
    lines = _label_lines([(number, f"class number {number}") for number in range(40)], 200)
    texts = [entry.line.text for line in lines for entry in line]
    assert len(lines) == 3
    assert texts[-1] == f"+{40 - len(texts) + 1}"
    assert all(sum(entry.width for entry in line) + 10 * (len(line) - 1) <= 200 for line in lines)


@pytest.mark.parametrize("number", [-1, 254, 999])
def test_a_class_without_a_colour_is_named(number):
    ((entry,),) = _label_lines([(number, "rare")], 200)
    assert (entry.line.text, entry.colour) == ("rare", None)


def test_a_line_is_never_empty():
    assert _flow([], 100) == []
    wide = _label_lines([(0, "x" * 200)], 100)[0][0]
    assert _flow([wide, wide], 50) == [[wide], [wide]]


def test_pictures_of_any_shape_fit_and_none_is_an_error():
    tiles = [Tile(np.zeros((h, w, 3), np.uint8), "n") for h, w in ((1, 300), (300, 1), (5, 5))]
    assert sample_grid(tiles, columns=2, side=50).shape[1] == 2 * 56 + 6
    with pytest.raises(ValueError, match="got no sample, expected at least 1"):
        sample_grid([])
