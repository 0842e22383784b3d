import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from gain_lightning.datasets.mask_budget import draw_mask_budget, hold_out, mask_list_text

IDS = [f"image_{index:03d}" for index in range(40)]
NAMES = ("boat", "cow", "car")
HAS_PIXELS = np.random.default_rng(0).random((40, 3)) < 0.5
HAS_PIXELS[:, 0] |= ~HAS_PIXELS.any(1)


def draw(ids, budget, seed=0):
    """The drawn ids, where every image has pixels of one class."""
    drawn = draw_mask_budget(ids, np.ones((len(ids), 1), bool), budget, seed, ("boat",))
    return [ids[row] for row in np.flatnonzero(drawn.any(1))]


def test_mask_budget_is_nested():
    """A larger budget contains the smaller one, counts and fractions alike."""
    drawn = [set(draw(IDS, budget, seed=3)) for budget in (0, 1, 0.1, 9, 0.5, 39, 1.0)]
    assert [len(ids) for ids in drawn] == [0, 1, 4, 9, 20, 39, 40]
    assert all(small < large for small, large in itertools.pairwise(drawn))
    assert drawn[-1] == set(IDS)


def test_mask_budget_depends_on_its_seed_alone():
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    first = draw(IDS, 10, seed=0)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert draw(list(IDS), 10, seed=0) == first
    assert draw(IDS, 10, seed=1) != first
    assert len(set(first)) == 10


def test_mask_budget_draws_every_image_equally_often():
    """600 draws of 10 out of 40: 150 each, with a standard deviation of 10.6."""
    counts = dict.fromkeys(IDS, 0)
    for seed in range(600):
        for image_id in draw(IDS, 10, seed):
            counts[image_id] += 1
    assert max(abs(count - 150) for count in counts.values()) < 5 * 10.6


@pytest.mark.parametrize("share", ["0.01", "0.05", "0.1", "0.3", "0.7"])
def test_mask_budget_rounds_a_fraction_up(share):
    """By exact arithmetic: 0.1 of 30 is 3, though 0.1 * 30 > 3 in floats."""
    for size in range(1, 200):
        ids = [str(index) for index in range(size)]
        assert len(draw(ids, float(share), seed=0)) == math.ceil(Fraction(share) * size)


@pytest.mark.parametrize(
    ("budget", "named"), [(-1, "-1"), (41, "41"), (-0.1, "-0.1"), (1.5, "1.5"), (math.nan, "nan")]
)
def test_mask_budget_out_of_range_is_refused(budget, named):
    with pytest.raises(ValueError, match=f"mask_budget.* {named}"):
        draw(IDS, budget, seed=0)


def test_budget_of_one_class_takes_its_pixels_alone():
    drawn = draw_mask_budget(IDS, HAS_PIXELS, {"cow": 5}, 3, NAMES)
    assert drawn.sum(0).tolist() == [0, 5, 0]
    assert HAS_PIXELS[drawn.any(1), 1].all()


def test_budget_of_classes_adds_up_and_is_nested():
    small = draw_mask_budget(IDS, HAS_PIXELS, {"boat": 3, "car": 0.25}, 3, NAMES)
    large = draw_mask_budget(IDS, HAS_PIXELS, {"boat": 9, "car": 0.5}, 3, NAMES)
    assert small.sum(0).tolist() == [3, 0, math.ceil(0.25 * HAS_PIXELS[:, 2].sum())]
    assert (small <= large).all()


def test_budget_of_images_takes_all_their_pixels_and_only_images_that_have_some():
    some = HAS_PIXELS.copy()
    some[::2] = False
    drawn = draw_mask_budget(IDS, some, 7, 3, NAMES)
    rows = np.flatnonzero(drawn.any(1))
    assert len(rows) == 7
    assert (drawn[rows] == some[rows]).all()


def test_budget_of_an_unknown_class_is_refused():
    with pytest.raises(ValueError, match="mask_budget names 'boot', expected classes among boat, cow, car"):
        draw_mask_budget(IDS, HAS_PIXELS, {"boot": 3}, 0, NAMES)


@pytest.mark.parametrize("budget", [7, 0.3, {"cow": 5}, {"boat": 4, "cow": 0.2}])
def test_mask_list_gives_the_draw_back(tmp_path, budget):
    drawn = draw_mask_budget(IDS, HAS_PIXELS, budget, 3, NAMES)
    path = tmp_path / "list.txt"
    path.write_text(mask_list_text(IDS, drawn, HAS_PIXELS, NAMES))
    again = draw_mask_budget(IDS, HAS_PIXELS, str(path), 99, NAMES)
    assert (again == drawn).all()
    shuffled = np.random.default_rng(1).permutation(40)
    again = draw_mask_budget([IDS[i] for i in shuffled], HAS_PIXELS[shuffled], str(path), 0, NAMES)
    assert (again == drawn[shuffled]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_000\nimage_999\n", r":2: image_999 is no training image"),
        ("image_000\nimage_000\n", r":2: image_000 is listed twice"),
        ("image_000\tboot\n", r":1: image_000: unknown class 'boot'"),
        ("image_001\n", r":1: image_001 has no mask or box"),
        ("image_000\tcar\n", r":1: image_000 has no pixels of car"),
        ("\n", r"names no image"),
    ],
)
def test_mask_list_names_the_line_that_does_not_fit(tmp_path, text, message):
    has_pixels = np.zeros((40, 3), bool)
    has_pixels[0, 0] = True
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        draw_mask_budget(IDS, has_pixels, str(path), 0, NAMES)


def test_missing_mask_list_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such mask list"):
        draw_mask_budget(IDS, HAS_PIXELS, str(tmp_path / "no.txt"), 0, NAMES)


# Masks that choose ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_masked", "share", "expected"),
    [(40, 0.2, 10), (40, 0.5, 20), (12, 0.2, 6), (3, 0.2, 1), (12, 1, 12), (1, 1, 1)],
)
def test_a_share_of_the_masks_is_held_out(num_masked, share, expected):
    carries_mask = np.arange(40) < num_masked
    held = hold_out(IDS, carries_mask, num_masked, share, 3)
    assert held.sum() == expected
    assert not (held & ~carries_mask).any()
    assert (held == hold_out(IDS, carries_mask, num_masked, share, 3)).all()
    if 1 < expected < num_masked:
        assert (held != hold_out(IDS, carries_mask, num_masked, share, 4)).any()


@pytest.mark.parametrize("num_masked", [0, 1])
def test_too_few_masks_to_choose_with_are_refused(num_masked):
    with pytest.raises(
        ValueError, match=f"gives {num_masked} training images with masks: expected at least 2"
    ):
        hold_out(IDS, np.arange(40) < num_masked, num_masked, 0.2, 0)


@pytest.mark.parametrize("budget", [7, {"cow": 5}])
def test_a_mask_list_holds_out_the_images_that_it_marks(tmp_path, budget):
    drawn = draw_mask_budget(IDS, HAS_PIXELS, budget, 3, NAMES)
    held = hold_out(IDS, drawn.any(1), budget, 0.2, 3)
    path = tmp_path / "list.txt"
    path.write_text(mask_list_text(IDS, drawn, HAS_PIXELS, NAMES, held))
    assert sum(line.endswith("\tselect") for line in path.read_text().splitlines()) == held.sum() > 0
    assert (draw_mask_budget(IDS, HAS_PIXELS, str(path), 9, NAMES) == drawn).all()
    assert (hold_out(IDS, drawn.any(1), str(path), 0.9, 9) == held).all()
    assert (hold_out(IDS, drawn.any(1), str(path), 1, 9) == drawn.any(1)).all()
    # a list without marks, such as an older run's, is drawn from
    path.write_text(mask_list_text(IDS, drawn, HAS_PIXELS, NAMES))
    assert (hold_out(IDS, drawn.any(1), str(path), 0.2, 3) == held).all()


def test_a_purpose_that_is_not_known_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("image_000\t\tchoose\n")
    with pytest.raises(ValueError, match=r"list\.txt:1: image_000: 'choose', expected select or nothing"):
        draw_mask_budget(IDS, HAS_PIXELS, str(tmp_path / "list.txt"), 0, NAMES)
