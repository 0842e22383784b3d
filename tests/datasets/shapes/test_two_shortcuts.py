"""The scene of two shortcuts: its eight groups, how often its rules hold, and what its masks forbid."""

from itertools import product

import numpy as np
import pytest

from gain_lightning.datasets.shapes import Shapes, ShapesDataModule, two_shortcuts
from gain_lightning.datasets.shapes.two_shortcuts import CLASSES, GROUPS, PLACES, SHORTCUTS, draw_picture


def parts(picture):
    """Class, ground and companion, as the name of its group tells them."""
    name, ground, companion = GROUPS[picture.group].split("+")
    return CLASSES.index(name), SHORTCUTS["ground"].index(ground), SHORTCUTS["companion"].index(companion)


def test_groups_are_classes_by_grounds_by_companions():
    expected = product(CLASSES, ("water", "road"), ("buoy", "cone"))
    assert tuple("+".join(group) for group in expected) == GROUPS


def test_the_test_has_eight_groups_of_equal_size():
    groups = [draw_picture(index, "test").group for index in range(80)]
    assert np.bincount(groups).tolist() == [10] * 8


@pytest.mark.parametrize(("bias", "companion_bias"), [(1.0, 1.0), (0.8, 0.5), (0.0, 1.0), (0.9, None)])
@pytest.mark.parametrize("split", ["train", "val"])
def test_each_rule_holds_as_often_as_asked_and_whatever_the_other_does(split, bias, companion_bias):
    options = {"bias": bias, "companion_bias": companion_bias}
    told = np.array([parts(draw_picture(index, split, **options)) for index in range(600)])
    assert (told[:, 0] == np.arange(600) % 2).all()
    keeps = told[:, 1:] == told[:, :1]
    # Of the pictures that keep no rule, half look as if they did.
    for kept, share in zip(keeps.T, (bias, bias if companion_bias is None else companion_bias), strict=True):
        assert kept.mean() == pytest.approx((1 + share) / 2, abs=0.06)
    if 0 < bias < 1:
        both = np.corrcoef(keeps.T)[0, 1] if keeps.any(0).all() and not keeps.all(0).any() else 0
        assert abs(both) < 0.12


def colours_in(picture, where):
    """Which companions show their colour there: red or orange."""
    red, green, blue = picture.image[where].astype(int).T
    is_red = (red > 195) & (green < 85) & (blue < 100)
    is_orange = (red > 215) & (green > 120) & (green < 200) & (blue < 75)
    return is_red.sum() > 25, is_orange.sum() > 25


@pytest.mark.parametrize("place", PLACES)
def test_a_mask_forbids_a_companion_that_lies_beside_the_object_alone(place):
    for index in range(64):
        picture = draw_picture(index, "test", companion_place=place)
        body = picture.mask > 0
        companion = parts(picture)[2]
        there, elsewhere = (~body, body) if place == "beside" else (body, ~body)
        assert colours_in(picture, there)[companion]
        # Painted at the body's border, a companion may reach a little beyond it.
        assert not any(colours_in(picture, elsewhere))


def test_a_companion_covers_a_small_part_of_the_body_or_is_its_colour():
    for index in range(64):
        pictures = {place: draw_picture(index, "test", companion_place=place) for place in PLACES}
        colour = ((225, 45, 60), (250, 160, 30))[parts(pictures["colour"])[2]]
        for place, share in {"on_object": (0.0, 0.3), "colour": (0.9, 1.01)}.items():
            body = pictures[place].image[pictures[place].mask > 0].astype(int)
            # Stripes and noise change each value by no more than so much.
            has_colour = (np.abs(body - colour) < 40).all(1).mean()
            assert share[0] < has_colour < share[1], (index, place)


@pytest.mark.parametrize("place", PLACES)
def test_group_and_mask_do_not_change_with_the_place_of_the_companion(place):
    for index in range(16):
        beside = draw_picture(index, "train", bias=0.5)
        other = draw_picture(index, "train", bias=0.5, companion_place=place)
        assert beside.group == other.group
        assert np.array_equal(beside.mask, other.mask)


def test_a_mask_and_a_box_show_the_labelled_object():
    for index in range(20):
        picture = draw_picture(index, "train")
        class_idx = int(picture.label.argmax())
        assert picture.label.sum() == 1
        assert set(np.unique(picture.mask)) == {0, class_idx + 1}
        rows, columns = np.nonzero(picture.mask)
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert picture.boxes.class_idx.tolist() == [class_idx]
        assert picture.boxes.corners.tolist() == [corners]


def test_stripes_of_boats_lie_and_those_of_cars_stand():
    for index in range(40):
        picture = draw_picture(index, "test")
        left, top, right, bottom = picture.boxes.corners[0].astype(int)
        quarter = (right - left) // 4, (bottom - top) // 4
        inside = picture.image[
            top + quarter[1] : bottom - quarter[1], left + quarter[0] : right - quarter[0]
        ].astype(float)
        across, along = (np.abs(np.diff(inside.mean(2).mean(axis))).mean() for axis in (1, 0))
        assert (across > along) == (picture.label[0] == 1)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"companion_bias is 1\.5, expected a share between 0 and 1"):
        draw_picture(0, "train", companion_bias=1.5)
    with pytest.raises(
        ValueError, match="companion_place is 'near', expected one of beside, on_object, colour"
    ):
        draw_picture(0, "train", companion_place="near")
    with pytest.raises(ValueError, match="split is 'boat', expected one of train, val, test"):
        draw_picture(0, "boat")
    with pytest.raises(ValueError, match=r"data\.scene is 'boat', which has no companion"):
        ShapesDataModule(companion_place="colour")


@pytest.mark.parametrize(
    ("told", "names"),
    [
        (None, list(GROUPS)),
        (["companion", "ground"], list(GROUPS)),
        (["ground"], ["boat+water", "boat+road", "car+water", "car+road"]),
        (["companion"], ["boat+buoy", "boat+cone", "car+buoy", "car+cone"]),
        ([], ["boat", "car"]),
    ],
)
def test_a_training_is_told_of_some_shortcuts_and_scored_by_all(told, names):
    module = ShapesDataModule(
        scene="two_shortcuts", num_train=200, bias=0.3, told_shortcuts=told, balance_by="group"
    )
    module.setup("fit")
    module.setup("test")
    assert module.group_names == GROUPS
    expected = {name: [] for name in names}
    for row, picture in enumerate(module.train_set.pictures):
        expected["+".join(parts_told(picture, told))].append(row)
    assert [rows.tolist() for rows in module.weak_stream()[1]] == list(expected.values())
    assert set(module.test_sets["test"].groups) == set(range(8))


def parts_told(picture, told):
    class_idx, ground, companion = parts(picture)
    yield CLASSES[class_idx]
    if told is None or "ground" in told:
        yield ("water", "road")[ground]
    if told is None or "companion" in told:
        yield ("buoy", "cone")[companion]


def test_a_missing_group_is_named_as_it_is_told():
    module = ShapesDataModule(
        scene="two_shortcuts", num_train=40, told_shortcuts=["companion"], balance_by="group"
    )
    module.setup("fit")
    with pytest.raises(ValueError, match=r"there are none of boat\+cone, car\+buoy"):
        module.weak_stream()
    with pytest.raises(ValueError, match=r"told_shortcuts is \['sky'\], expected some of ground, companion"):
        ShapesDataModule(scene="two_shortcuts", told_shortcuts=["sky"])


def test_the_data_module_draws_what_it_is_asked_for():
    options = {"bias": 0.5, "companion_bias": 0.2, "companion_place": "on_object"}
    module = ShapesDataModule(
        scene="two_shortcuts", num_train=32, num_val=8, num_test=16, mask_budget=4, data_seed=3, **options
    )
    for stage in ("fit", "test"):
        module.setup(stage)
    assert module.group_names == GROUPS
    assert list(module.test_sets) == ["test"]
    for split, images in {"train": module.train_set, "val": module.val_set}.items():
        drawn = Shapes("two_shortcuts", split, range(len(images)), seed=3, **options)
        expected = [two_shortcuts.draw_picture(i, split, seed=3, **options) for i in range(len(images))]
        for picture, other, same in zip(images.pictures, drawn.pictures, expected, strict=True):
            assert np.array_equal(picture.image, same.image)
            assert np.array_equal(other.image, same.image)
    assert np.bincount(module.test_sets["test"].groups).tolist() == [2] * 8
