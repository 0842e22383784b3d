"""Boxes as masks, against loops over pixels."""

import numpy as np
import pytest
from fake_batch import by_class
from PIL import Image

from gain_lightning.constants import VOID
from gain_lightning.datasets.boxes import Boxes, box_masks, outside
from gain_lightning.datasets.folder import FolderDataModule


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


@pytest.mark.parametrize("other_boxes", ["unknown", "no"])
def test_outside_equals_the_oracle(other_boxes):
    rng = np.random.default_rng(3)
    for _ in range(20):
        low, size = rng.integers(0, 6, (3, 2)), rng.integers(1, 4, (3, 2))
        boxes = Boxes(rng.integers(0, 3, 3), np.concatenate([low, low + size], 1).astype(float))
        turned = {0: 1, 1: 0, VOID: VOID}
        expected = {
            c: [[turned[value] for value in row] for row in mask]
            for c, mask in oracle_boxes(boxes, (9, 9), other_boxes).items()
        }
        assert by_class(outside(box_masks(boxes, (9, 9), other_boxes=other_boxes))) == expected


def test_nothing_is_known_of_a_class_whose_box_is_the_whole_picture():
    boxes = Boxes(np.array([0, 1]), np.array([[0.0, 0, 4, 2], [0, 0, 1, 1]]))
    assert by_class(outside(box_masks(boxes, (2, 4), other_boxes="no"))) == {1: [[0, 1, 1, 1], [1, 1, 1, 1]]}
    masks = outside(box_masks(Boxes(np.zeros(0, int), np.zeros((0, 4))), (2, 3)))
    assert masks.mask.shape == (0, 2, 3)


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


SIDE = 32


def test_a_box_smaller_than_a_pixel_of_the_network_keeps_one(tmp_path):
    (tmp_path / "images").mkdir()
    for n in range(4):
        Image.fromarray(np.zeros((320, 320, 3), np.uint8)).save(tmp_path / "images" / f"{n}.png")
    (tmp_path / "labels.csv").write_text(
        "filename,classes,split\n"
        + "".join(f"{n}.png,cat,{'val' if n == 3 else 'train'}\n" for n in range(4))
    )
    (tmp_path / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n1.png,cat,101,203,103,205\n")
    data = FolderDataModule(
        root=str(tmp_path), image_size=SIDE, num_workers=0, batch_size=2, mask_budget=1, supervision="box"
    )
    data.setup("fit")
    mask = data.masked_set[0]["mask"][0]
    assert (mask == 1).nonzero().tolist() == [[20, 10]]
