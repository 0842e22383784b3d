"""Which files below ``masks/`` are masks, and of which pictures."""

import shutil
import unicodedata

import numpy as np
import pytest
from fake_folder import NFC, NFD, SIZE, mask, picture, said

from gain_lightning.datasets.readers.folder import read_folder


def test_binary_masks_of_each_class(folder):
    shutil.rmtree(folder / "masks")
    mask(folder / "masks" / "cat" / "p1.png", {255: (0, 0), 1: (8, 0)})
    mask(folder / "masks" / "dog" / "p1.png", {1: (4, 4)})
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    assert listing.has_mask.nonzero()[0].tolist() == [1, 1]
    masks = listing.class_masks(1, SIZE)
    assert masks.class_idx.tolist() == [0, 1]
    assert masks.mask[0, 4:12, 4:12].all()
    assert masks.mask[1, :16, :8].all()
    assert masks.mask.sum((1, 2)).tolist() == [64, 128]  # both whole
    values = listing.mask(1, SIZE)  # to look at
    assert (values[4:12, 4:12] == 1).all()  # the smaller lies in front
    assert (values == 2).sum() == 2 * 64 - 4 * 4 - 4 * 4
    assert set(np.unique(values)) == {0, 1, 2}


def test_what_nobody_drew_is_no_background_in_either_kind_of_mask(folder):
    """Cat and dog by its label, only the cat drawn: in one mask of indices the same is known as in masks/cat."""
    mask(folder / "masks" / "p1.png", {2: (4, 4), 255: (20, 20)})
    mask(folder / "masks" / "p2.png", {})  # a negative: all of it is background
    mask(folder / "masks" / "p3.png", {1: (0, 0), 255: (10, 10)})
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    of_indices = listing.mask(1, SIZE)
    assert np.unique(of_indices).tolist() == [2, 255]
    assert np.unique(listing.mask(2, SIZE)).tolist() == [0]
    assert np.unique(listing.mask(3, SIZE)).tolist() == [0, 1, 255]
    shutil.rmtree(folder / "masks")
    mask(folder / "masks" / "cat" / "p1.png", {1: (4, 4)})
    by_class, _, _, _ = read_folder(folder)
    assert np.array_equal(by_class.mask(1, SIZE), of_indices)


def test_a_folder_of_masks_for_no_class_spoils_none_of_the_others(folder):
    for path in (folder / "masks").rglob("*.png"):
        path.unlink()
    mask(folder / "masks" / "cat" / "p0.png", {1: (0, 0)})
    mask(folder / "masks" / "Dogs" / "p1.png", {1: (0, 0)})
    listing, _, problems, _ = read_folder(folder)
    assert [str(problem) for problem in problems] == [
        f"{folder}/masks/Dogs: unknown class 'Dogs', expected one of dog, cat"
    ]
    assert listing.has_mask[0].tolist() == [False, True]


def test_masks_of_two_classes_at_one_place_both_count(folder):
    shutil.rmtree(folder / "masks")
    for name in ("cat", "dog"):
        mask(folder / "masks" / name / "p1.png", {1: (4, 4)})
    contents = read_folder(folder)
    assert contents.problems == []
    assert contents.listing.has_mask[1].tolist() == [True, True]


@pytest.mark.parametrize("suffix", [".PNG", ".jpg", ".gif", ".tif", ".bmp", ".npy"])
def test_masks_of_other_kinds_are_one_problem_with_their_count(folder, suffix):
    for path in list((folder / "masks").glob("*.png")):
        path.rename(path.with_suffix(suffix))
    (problem,) = read_folder(folder).problems
    assert problem.file == folder / "masks" / f"p0{suffix}"
    assert problem.what == (
        f"not read: masks are PNG files, their names end in .png (2 files of {suffix}, this is the first)"
    )


def test_a_class_that_nobody_drew_is_a_note(folder):
    for path in (folder / "masks").glob("*.png"):
        path.unlink()
    mask(folder / "masks" / "cat" / "p0.png", {1: (0, 0)})
    (folder / "masks" / "dog").mkdir()
    contents = read_folder(folder)
    assert contents.problems == []
    assert contents.notes == [f"{folder}/masks/dog holds no mask: nobody drew this class"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("P0.png", "with other upper and lower case"),
        ("p0\u200b.png", "with other blanks or invisible letters ('p0\\u200b')"),
    ],
)
def test_a_mask_that_is_almost_called_like_its_picture_is_named(folder, name, why):
    (folder / "masks" / "p0.png").rename(folder / "masks" / name)
    assert said(read_folder(folder)) == [
        f"{folder}/masks/{name}: a mask of none of the labelled pictures; that of p0 is called so {why}"
    ]


def test_a_mask_in_another_unicode_form_than_its_picture_is_named(tmp_path):
    picture(tmp_path / "images" / f"{NFD}.png")
    mask(tmp_path / "masks" / f"{NFC}.png", {1: (0, 0)})
    (tmp_path / "labels.csv").write_text(f"filename,classes\n{NFC}.png,cat\n")
    (problem,) = said(read_folder(tmp_path))
    assert unicodedata.is_normalized("NFC", problem.split("masks/")[1].split(":")[0])
    assert problem.endswith("is called so in another Unicode form (NFC, expected NFD)")
