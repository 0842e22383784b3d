"""What a reader finds is checked as it comes: broken runs never reach pycocotools, which would crash."""

import random
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from gain_lightning.datasets.readers.annotations.found import Found, _lengths

FILE = Path("a.json")


def a_picture(**more):
    found = Found(FILE, **more)
    return found, found.picture("a.jpg", file=FILE, key="images[0]")


def lengths_of(mask):
    pixels = mask.ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], pixels, [2]]))).tolist()
    return np.diff([0, *ends]).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_lengths_of_compressed_runs_are_those_of_the_mask(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 300, 2)
    fine = (rng.random((height, width)) < rng.random()).astype(np.uint8)
    coarse = np.kron(rng.integers(0, 2, (3, 4)), np.ones((70, 90))).astype(np.uint8)
    for mask in (fine, coarse, np.zeros((5, 7), np.uint8), np.ones((400, 500), np.uint8)):
        packed = coco_mask.encode(np.asfortranarray(mask))["counts"]
        assert _lengths(packed).tolist() == lengths_of(mask)


def test_runs_of_any_letters_are_refused_or_drawn():
    """On some of these pycocotools writes beyond its memory."""
    rng = random.Random(0)
    kept = 0
    for _ in range(3000):
        found, picture = a_picture()
        letters = "".join(chr(rng.randrange(40, 120)) for _ in range(rng.randrange(6)))
        found.mark(picture, "cat", key="x", runs={"size": [2, 9], "counts": letters})
        if not found.problems:
            marks = found.marks()
            assert marks.class_masks(0, (2, 9)).mask.shape[1:] == (2, 9)
            kept += 1
    assert kept > 0


def test_several_strokes_of_a_label_are_one_mask():
    found, picture = a_picture()
    for left in (0, 10):
        found.mark(picture, "cat", key=f"{left}", rings=[[left, 0, left + 5, 0, left + 5, 5, left, 5]])
    masks = found.marks().class_masks(0, (10, 20))
    assert masks.class_idx.tolist() == [0]
    assert masks.mask.sum() == 50
    assert masks.mask[0, :5, 10:15].all()


def test_marks_in_shares_are_drawn_at_any_size():
    found, picture = a_picture(in_shares=True)
    found.mark(picture, "cat", key="", rings=[[0, 0, 0.5, 0, 0.5, 0.5, 0, 0.5]])
    for height, width in ((10, 20), (30, 8)):
        mask = found.marks().class_masks(0, (height, width)).mask[0]
        assert mask[: height // 2, : width // 2].all()
        assert mask.sum() == height * width // 4


def test_a_class_whose_outline_has_no_pixel_is_not_drawn():
    found, picture = a_picture()
    found.mark(picture, "cat", key="", rings=[[1, 1, 1.01, 1, 1.01, 1.01]])
    found.mark(picture, "dog", key="", rings=[[0, 0, 5, 0, 5, 5, 0, 5]])
    assert found.marks().class_masks(0, (10, 10)).class_idx.tolist() == [1]


def test_classes_sort_by_name_and_numbers_by_value():
    found, picture = a_picture()
    for name in ("10", "b", "9", "a"):
        found.mark(picture, name, key="", box=(0, 0, 5, 5))
    found.label(picture, "b")
    found.sort_classes()
    assert list(found.class_names) == ["9", "10", "a", "b"]
    assert sorted(set(map(tuple, found.label_pairs.tolist()))) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert found.marks().class_idx.tolist() == [1, 3, 0, 2]


def test_a_name_is_one_class_whatever_its_form_and_blanks():
    found, picture = a_picture()
    for name in ("Ba\u0308r", " B\u00e4r ", "B\u00e4r"):
        found.label(picture, name)
    assert list(found.class_names) == ["B\u00e4r"]
