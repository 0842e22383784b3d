"""What is known of an image's pixels: out of index masks, boxes, and back to something to look at."""

import numpy as np
import pytest
import reference
from fake_batch import by_class

from gain_lightning.constants import VOID
from gain_lightning.datasets.class_masks import ClassMasks, join_to_index_mask, split_index_mask, stack_masks

LABEL = np.array([1, 0, 1, 1])  # the second class is not there


# Index masks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [[0, 1, 3, 4, VOID], [0, 3, 3], [0, 2, VOID], [0, VOID], [0], [VOID], [3, VOID], [1, 3, 4]],
    ids=str,
)
def test_split_equals_the_oracle(values):
    """A labelled class that it does not show is not there as a mask, where the oracle has one of nothing known."""
    index = np.random.default_rng(0).choice(values, (5, 6)).astype(np.uint8)
    assert set(np.unique(index)) == set(values)
    masks = by_class(split_index_mask(index, LABEL))
    expected = dict(
        zip(np.flatnonzero(LABEL).tolist(), reference.split_index_mask(index, LABEL), strict=True)
    )
    assert masks == {c: mask.tolist() for c, mask in expected.items() if (mask != VOID).any()}


def test_a_mask_of_background_and_void_says_where_the_classes_are_not():
    masks = by_class(split_index_mask(np.array([[0, 0, VOID]], np.uint8), LABEL))
    assert masks == {c: [[0, 0, VOID]] for c in (0, 2, 3)}


def test_a_mask_of_background_alone_says_nothing():
    """Somebody forgot to draw: it cannot be that a class of the label is nowhere."""
    assert by_class(split_index_mask(np.zeros((2, 2), np.uint8), LABEL)) == {}


@pytest.mark.parametrize("num_classes", [254, 255, 300])
def test_the_last_classes_are_not_taken_for_void(num_classes):
    """255 is void and not class 254, whatever the label says."""
    label = np.zeros(num_classes)
    label[253:] = 1
    assert by_class(split_index_mask(np.array([[254, VOID]], np.uint8), label)) == {253: [[1, VOID]]}


def test_only_forgets_the_other_classes():
    masks = split_index_mask(np.array([[0, 1, 3, VOID]], np.uint8), LABEL)
    assert by_class(masks.only(np.array([False, True, True, True]))) == {2: [[0, 0, 1, VOID]]}
    assert by_class(masks.only(np.zeros(4, bool))) == {}
    assert masks.only(np.zeros(4, bool)).mask.shape == (0, 1, 4)


def test_no_mask_has_the_size_of_its_picture():
    assert stack_masks({}, (3, 5)).mask.shape == (0, 3, 5)


@pytest.mark.parametrize("void", [False, True])
def test_split_masks_join_to_what_they_were(void):
    """Where all labelled classes are shown; otherwise background may be what nobody drew."""
    index = np.random.default_rng(1).choice([0, 1, 3, 4], (6, 6)).astype(np.uint8)
    index[:2] = VOID if void else index[:2]
    assert np.array_equal(join_to_index_mask(split_index_mask(index, LABEL), LABEL), index)
    index[index == 4] = 0
    expected = np.where(index == 0, VOID, index)
    assert np.array_equal(join_to_index_mask(split_index_mask(index, LABEL), LABEL), expected)


def test_the_smaller_of_classes_that_overlap_lies_in_front():
    masks = ClassMasks(np.array([0, 2]), np.array([[[1, 1, 1, 0]], [[0, 1, 0, 0]]], np.uint8))
    assert join_to_index_mask(masks, np.array([1, 0, 1])).tolist() == [[1, 3, 1, 0]]
    turned = ClassMasks(masks.class_idx[::-1], masks.mask[::-1])
    assert join_to_index_mask(turned, np.array([1, 0, 1])).tolist() == [[1, 3, 1, 0]]


def test_of_no_mask_nothing_is_known():
    assert join_to_index_mask(stack_masks({}, (1, 2)), np.zeros(3)).tolist() == [[VOID, VOID]]
