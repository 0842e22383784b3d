"""PASCAL VOC 2012 as a data module."""

import numpy as np
import pytest
from fake_voc import make_voc
from PIL import Image

from gain_lightning.datasets.readers.voc import CLASSES, check_voc
from gain_lightning.datasets.voc12 import VOC12DataModule


@pytest.fixture
def root(tmp_path):
    return make_voc(tmp_path)


def _set_up(root):
    VOC12DataModule(root=str(root), image_size=32).setup("fit")


def _problems(root):
    return [str(problem) for problem in check_voc(root)[1]]


def test_missing_root_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder with JPEGImages/"):
        VOC12DataModule(root=str(tmp_path))


def test_split_lists_and_budget(root):
    data = VOC12DataModule(root=str(root), image_size=32, mask_budget=3, mask_seed=1)
    data.setup("fit")
    assert (len(data.train_set), len(data.masked_set), len(data.val_set)) == (8, 3, 4)
    assert data.train_set[0]["mask"].shape == (0, 32, 32)


def test_budget_larger_than_the_set_is_refused(root):
    data = VOC12DataModule(root=str(root), mask_budget=9)
    with pytest.raises(
        ValueError, match=r"mask_budget asks for 9 images, but there are 8 training images that have pixels"
    ):
        data.setup("fit")


def test_real_subset_has_the_published_counts(voc_root):
    data = VOC12DataModule(root=str(voc_root), image_size=64, mask_budget=0.1)
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set), len(data.masked_ids)) == (3131, 445, 314)
    counts = dict(zip(CLASSES, data.val_set.labels.sum(0).tolist(), strict=True))
    assert {name: counts[name] for name in ("dog", "cat", "person", "aeroplane")} == {
        "dog": 128, "cat": 119, "person": 89, "aeroplane": 0,
    }  # fmt: skip


def test_folder_without_masks_is_named(root):
    data = VOC12DataModule(root=str(root), image_size=32, mask_budget=2, mask_folder="SegmentatonClass")
    with pytest.raises(FileNotFoundError, match=r"data\.mask_folder: .*SegmentatonClass has no mask"):
        data.setup("fit")


def test_test_images_have_no_labels(root):
    (root / "ImageSets" / "Segmentation" / "test.txt").write_text("2012_000001\n2012_000002\n")
    (root / "Annotations" / "2012_000001.xml").unlink()
    data = VOC12DataModule(root=str(root), image_size=32, num_workers=0)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert batch["id"] == ["2012_000001", "2012_000002"]
    assert not batch["label"].any()
    assert batch["mask"].shape == (0, 32, 32)


def test_further_test_sets_are_folders(root, tmp_path):
    folder = tmp_path / "dry"
    (folder / "images").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(folder / "images" / f"{number}.png")
    (folder / "labels.csv").write_text("filename,classes\n0.png,boat\n1.png,\n")
    data = VOC12DataModule(
        root=str(root), image_size=32, test_folders={"dry": str(folder)}, accuracy_class="boat"
    )
    data.setup("test")
    assert list(data.test_sets) == ["val", "dry"]
    assert data.test_sets["dry"].labels.sum(0).nonzero()[0].tolist() == [CLASSES.index("boat")]


def test_a_test_folder_named_like_a_score_is_refused(root):
    with pytest.raises(ValueError, match="'accuracy' is the name of a score"):
        VOC12DataModule(root=str(root), test_folders={"accuracy": "x"})


def test_masks_of_a_split_are_checked_before_training(root):
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(root / "SegmentationClass" / "2012_000009.png")
    with pytest.raises(ValueError, match=r"2012_000009\.png: mask of 10 x 10 pixels"):
        _set_up(root)


def test_pictures_of_train_aug_need_masks_of_sbd_but_not_of_voc(root):
    """The presets train on ``train_aug`` with VOC's own masks, which only ``train`` has."""
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("2012_000000\n2012_000001\n2012_000002\n")
    for number in range(3, 8):
        (root / "SegmentationClass" / f"2012_00000{number}.png").unlink()
    assert _problems(root) == []

    def set_up(mask_folder):
        data = VOC12DataModule(root=str(root), image_size=32, mask_budget=2, mask_folder=mask_folder)
        data.setup("fit")
        return data

    assert set(set_up("SegmentationClass").masked_ids) <= {"2012_000000", "2012_000001", "2012_000002"}
    (root / "SegmentationClass" / "2012_000001.png").unlink()
    with pytest.raises(ValueError, match=r"2012_000001\.png: missing \(train\.txt:2 lists its image\)"):
        set_up("SegmentationClass")
    (root / "SegmentationClassAug" / "2012_000004.png").unlink()
    with pytest.raises(ValueError, match=r"2012_000004\.png: missing \(train_aug\.txt:5 lists its image\)"):
        set_up("SegmentationClassAug")
