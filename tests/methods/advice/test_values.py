"""The values of policies, against cases by hand and loops."""

import numpy as np
import pytest

from gain_lightning.methods.advice.look import Seen
from gain_lightning.methods.advice.values import VALUES


def seen(image, class_idx, feature, attended, **more):
    count = len(image)
    rest = {"score": np.full(count, 0.5), "uncertainty": np.arange(count) / 10, "strength": np.ones(count)}
    unit = [
        np.array(rows, float) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (feature, attended)
    ]
    return Seen(np.array(image), np.array(class_idx), feature=unit[0], attended=unit[1], **{**rest, **more})


@pytest.fixture
def pool():
    rng = np.random.default_rng(0)
    return seen([0, 1, 1, 2, 3], [0, 0, 1, 1, 0], rng.random((4, 6)), rng.random((5, 6)))


def test_a_draw_is_of_images_and_not_of_pairs(pool):
    """Otherwise an image with many classes would be drawn more often."""
    value = VALUES["random"](pool, None, [], 3)
    assert value[1] == value[2]
    assert len(set(value.tolist())) == 4
    np.testing.assert_array_equal(value, VALUES["by_class"](pool, None, [], 3))


def test_spread_takes_the_farthest_from_all_that_is_taken(pool):
    """K-center greedy, by loops."""
    rng = np.random.default_rng(1)
    marked = seen([0, 1], [0, 1], rng.random((2, 6)), rng.random((2, 6)))
    for chosen in ([], [2], [2, 0]):
        centres = [*marked.feature, *(pool.feature[row] for row in chosen)]
        expected = [min(np.linalg.norm(pool.feature[row] - one) for one in centres) for row in pool.image]
        np.testing.assert_allclose(VALUES["spread"](pool, marked, chosen, 0), expected, atol=1e-6)


def test_spread_begins_in_the_middle(pool):
    value = VALUES["spread"](pool, None, [], 0)
    middle = np.linalg.norm(pool.feature - pool.feature.mean(0), axis=1).argmin()
    assert pool.image[value.argmax()] == middle
    assert VALUES["spread"](pool, None, [int(middle)], 0)[pool.image == middle] == pytest.approx(0, abs=1e-6)


def test_what_is_unlike_marks_is_so_within_its_class(pool):
    marked = seen([0, 1, 2], [0, 0, 0], np.eye(3, 6), np.eye(3, 6))
    value = VALUES["unlike_marked"](pool, marked, [], 0)
    for pair, class_idx in enumerate(pool.class_idx):
        apart = [np.linalg.norm(pool.attended[pair] - one) for one in marked.attended]
        # no mark of class 1: nothing has taught it
        assert value[pair] == pytest.approx(min(apart) if class_idx == 0 else 2, abs=1e-6)


def test_a_policy_that_needs_marks_says_so(pool):
    with pytest.raises(ValueError, match="no image is marked yet"):
        VALUES["unlike_marked"](pool, None, [], 0)


def test_amounts_have_no_entropy(pool):
    amounts = seen([0], [0], [[1, 0]], [[1, 0]], uncertainty=np.array([np.nan]))
    with pytest.raises(ValueError, match="amounts have no probability"):
        VALUES["uncertainty"](amounts, None, [], 0)
