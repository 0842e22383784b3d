"""Which files below ``masks/`` are masks, and of which pictures."""

import shutil
import unicodedata

import numpy as np
import pytest
import torch
from fake_folder import NFC, NFD, SIZE, mask, picture, said
from PIL import Image

from gain_lightning.attention import label_pairs, pair_masks
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.sample import collate
from gain_lightning.losses import attention_supervision_loss


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


SIDE = 32


def save(path, rows: slice, value: int = 255) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[rows] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture
def root(tmp_path):
    """Six pictures of cats, two of them without a cat in their upper half, one of these with its cat drawn too."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for n in range(6):
        picture = rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{n}.png")
    lines = [f"{n}.png,cat,{'train' if n < 4 else 'val'}" for n in range(6)]
    (tmp_path / "labels.csv").write_text("filename,classes,split\n" + "\n".join(lines) + "\n")
    save(tmp_path / "masks" / "not cat" / "0.png", slice(0, 16))
    save(tmp_path / "masks" / "not cat" / "1.png", slice(0, 16), 1)
    save(tmp_path / "masks" / "cat" / "1.png", slice(20, 24))
    return tmp_path


def masked_set(root, budget=1.0):
    data = FolderDataModule(root=str(root), image_size=SIDE, num_workers=0, batch_size=2, mask_budget=budget)
    data.setup("fit")
    return data.masked_set


def test_they_are_read_beside_masks_of_the_class(root):
    assert read_folder(root).problems == []
    alone, both = (masked_set(root)[index]["mask"][0] for index in (0, 1))
    expected = torch.full((2, SIDE, SIDE), 255, dtype=torch.uint8)
    expected[:, :16] = 0
    expected[1, 20:24] = 1
    assert torch.equal(torch.stack([alone, both]), expected)
    assert len(masked_set(root)) == 2


@pytest.mark.parametrize("loss", ["l2", "l1", "energy", "rrr"])
def test_they_push_attention_away(root, loss):
    batch = collate([masked_set(root)[0]])
    pairs = label_pairs(batch["label"])
    mask = pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)
    maps = torch.full((1, 1, SIDE, SIDE), 0.5, requires_grad=True)
    attention_supervision_loss(maps, mask, pairs, loss=loss).backward()
    assert (maps.grad[0, 0, :16] > 0).all()
    assert (maps.grad[0, 0, 16:] <= 0).all()


def test_what_contradicts_is_a_problem(root):
    save(root / "masks" / "cat" / "0.png", slice(15, 18))
    save(root / "masks" / "not cat" / "2.png", slice(0, 0))
    save(root / "masks" / "not dog" / "3.png", slice(0, 1))
    problems = [str(problem) for problem in read_folder(root).problems]
    assert len(problems) == 3
    assert any("not cat/0.png: marks 32 pixels that" in text for text in problems)
    assert any("not cat/2.png: marks no pixel, expected where cat is not" in text for text in problems)
    assert any("unknown class 'not dog'" in text for text in problems)


def test_a_class_whose_name_begins_with_not_has_masks_of_its_own(tmp_path):
    (tmp_path / "images").mkdir()
    for n, name in enumerate(["cat", "not cat", "cat", "not cat"]):
        Image.fromarray(np.full((SIDE, SIDE, 3), n, np.uint8)).save(tmp_path / "images" / f"{n}.png")
        save(tmp_path / "masks" / name / f"{n}.png", slice(0, 3))
    rows = ["0.png,cat,train", "1.png,not cat,train", "2.png,cat,val", "3.png,not cat,val"]
    (tmp_path / "labels.csv").write_text("filename,classes,split\n" + "\n".join(rows) + "\n")
    contents = read_folder(tmp_path)
    assert contents.problems == []
    assert contents.listing.has_not is None
    assert contents.listing.has_mask.tolist() == [[True, False], [False, True]] * 2
