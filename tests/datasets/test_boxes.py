"""Boxes as masks, against loops over pixels."""

import numpy as np
import pytest
from fake_batch import by_class

from gain_lightning.constants import VOID
from gain_lightning.datasets.boxes import Boxes, box_masks


def oracle_boxes(boxes, size, other_boxes):
    """By loops over pixels; boxes of whole numbers, inside the picture."""
    masks = {int(c): np.zeros(size, int) for c in boxes.class_idx}
    for y, x in np.ndindex(*size):
        covered = {
            int(c)
            for c, (left, top, right, bottom) in zip(boxes.class_idx, boxes.corners, strict=True)
            if left <= x < right and top <= y < bottom
        }
        for c, mask in masks.items():
            if c in covered:
                mask[y, x] = 1
            elif covered and other_boxes == "unknown":
                mask[y, x] = VOID
    return {c: mask.tolist() for c, mask in masks.items()}


@pytest.mark.parametrize("other_boxes", ["unknown", "no"])
def test_boxes_equal_the_oracle(other_boxes):
    rng = np.random.default_rng(2)
    for _ in range(20):
        low, size = rng.integers(0, 6, (5, 2)), rng.integers(1, 4, (5, 2))
        boxes = Boxes(rng.integers(0, 3, 5), np.concatenate([low, low + size], 1).astype(float))
        masks = box_masks(boxes, (9, 9), other_boxes=other_boxes)
        assert by_class(masks) == oracle_boxes(boxes, (9, 9), other_boxes)


def test_two_boxes_of_one_class_are_one_mask():
    boxes = Boxes(np.array([1, 1]), np.array([[0.0, 0, 1, 1], [2, 0, 3, 1]]))
    assert by_class(box_masks(boxes, (1, 4))) == {1: [[1, 0, 1, 0]]}


def test_no_box_is_no_mask():
    boxes = Boxes(np.zeros(0, int), np.zeros((0, 4)))
    assert by_class(box_masks(boxes, (2, 3))) == {}
    assert box_masks(boxes, (2, 3)).mask.shape == (0, 2, 3)


def test_a_box_covers_a_pixel_at_least():
    boxes = Boxes(
        np.array([0, 0]), np.array([[1.2, 0.2, 1.3, 0.3], [7.0, 3.0, 9.0, 5.0]])
    )  # thin, and outside
    assert by_class(box_masks(boxes, (2, 4))) == {0: [[0, 1, 0, 0], [0, 0, 0, 1]]}
