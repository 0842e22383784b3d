"""Objects and grounds taken apart and put together, on pictures whose every pixel is known."""

import numpy as np
import pytest

from gain_lightning.datasets.grounds import (
    MOST_COVERED,
    NEUTRAL,
    grow,
    inpaint_object,
    leaves_ground,
    object_alone,
    paste_object,
)


@pytest.fixture
def scene():
    """A noisy object on a smooth ground: its picture, its body and the ground that lies behind it."""
    rng = np.random.default_rng(0)
    rise = np.linspace(40, 90, 64)[:, None, None] + np.zeros((64, 64, 3))
    ground = rise.astype(np.uint8)
    body = np.zeros((64, 64), bool)
    body[18:46, 22:50] = True
    picture = np.where(body[..., None], rng.integers(120, 255, ground.shape), ground).astype(np.uint8)
    return picture, body, ground


def test_removal_restores_a_smooth_ground_and_leaves_nothing_of_the_object(scene):
    picture, body, ground = scene
    removed = inpaint_object(picture, body)
    assert removed.max() <= ground.max()
    assert np.abs(removed.astype(int) - ground)[body].mean() < 6
    # what is more than the rim away is as it was
    rim = grow(body, 2)
    np.testing.assert_array_equal(removed[~rim], picture[~rim])


def test_removal_takes_a_rim_that_the_mask_missed(scene):
    """A mask that is a pixel too small on all sides leaves a frame of the object, by which it could be named."""
    picture, body, ground = scene
    small = np.zeros_like(body)
    small[19:45, 23:49] = True
    assert inpaint_object(picture, small).max() <= ground.max()


def test_removal_depends_on_nothing_under_the_object(scene):
    picture, body, _ = scene
    other = picture.copy()
    other[body] = 7
    np.testing.assert_array_equal(inpaint_object(picture, body), inpaint_object(other, body))


def test_pasting_keeps_the_object_inside_and_the_ground_outside(scene):
    picture, body, _ = scene
    ground = np.full_like(picture, 3)
    pasted = paste_object(picture, body, ground)
    inside, outside = ~grow(~body, 3), ~grow(body, 3)
    np.testing.assert_array_equal(pasted[inside], picture[inside])
    np.testing.assert_array_equal(pasted[outside], ground[outside])


def test_pasting_back_changes_the_seam_alone(scene):
    picture, body, _ = scene
    back = paste_object(picture, body, inpaint_object(picture, body))
    seam = grow(body, 3) & grow(~body, 3)
    np.testing.assert_array_equal(back[~seam], picture[~seam])


def test_alone_shows_the_fill_outside(scene):
    picture, body, _ = scene
    alone = object_alone(picture, body)
    np.testing.assert_array_equal(alone[0, 0], NEUTRAL)
    np.testing.assert_array_equal(alone[30, 30], picture[30, 30])


def test_no_input_is_changed(scene):
    picture, body, ground = scene
    before = [array.copy() for array in scene]
    paste_object(picture, body, ground)
    inpaint_object(picture, body)
    object_alone(picture, body)
    for array, old in zip(scene, before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_a_transposed_picture_of_a_tensor_is_taken(scene):
    """``tensor.permute(1, 2, 0).numpy()`` is not contiguous, which OpenCV alone would refuse."""
    picture, body, _ = scene
    channels_first = np.ascontiguousarray(picture.transpose(2, 0, 1))
    view = channels_first.transpose(1, 2, 0)
    np.testing.assert_array_equal(inpaint_object(view, body), inpaint_object(picture, body))


def test_where_there_is_no_ground_left(scene):
    picture, body, _ = scene
    with pytest.raises(ValueError, match="covers the whole picture of 64 x 64 pixels"):
        inpaint_object(picture, np.ones_like(body))
    rows = np.zeros((10, 10), bool)
    assert not leaves_ground(rows)
    rows[: round(10 * MOST_COVERED)] = True
    assert leaves_ground(rows)
    rows[round(10 * MOST_COVERED)] = True
    assert not leaves_ground(rows)


def test_other_sizes_are_refused(scene):
    picture, body, ground = scene
    with pytest.raises(ValueError, match=r"ground \(32, 64, 3\) differ in size"):
        paste_object(picture, body, ground[:32])
