"""The two kinds of masks, against loops over pixels."""

import numpy as np
import pytest

from gain_lightning.support.masks import class_to_index_mask, index_to_class_mask


@pytest.mark.parametrize("class_idx", [0, 1, 2, 19, 253])
def test_the_mask_of_a_class_equals_a_loop(class_idx):
    index = np.random.default_rng(class_idx).choice([0, 1, 2, 3, 20, 254, 255], (5, 7)).astype(np.uint8)
    mask = index_to_class_mask(index, class_idx)
    assert mask.dtype == np.uint8
    for pixel, value in zip(index.ravel().tolist(), mask.ravel().tolist(), strict=True):
        assert value == (255 if pixel == 255 else int(pixel - 1 == class_idx))
    back = class_to_index_mask(mask, class_idx)
    assert np.array_equal(back, np.where((index == class_idx + 1) | (index == 255), index, 0))


def test_classes_of_several_masks_broadcast():
    index = np.random.default_rng(0).choice([0, 1, 2, 255], (3, 4, 5)).astype(np.uint8)
    classes = np.array([1, 0, 1])
    masks = index_to_class_mask(index, classes[:, None, None])
    for mask, each, class_idx in zip(masks, index, classes.tolist(), strict=True):
        assert np.array_equal(mask, index_to_class_mask(each, class_idx))


def test_a_class_that_no_index_can_name_is_nowhere():
    assert not (index_to_class_mask(np.arange(256, dtype=np.uint8)[None], 254) == 1).any()
