"""Pictures of a listing as a data set."""

import numpy as np
import pytest
from fake_folder import SIZE, make_folder
from fake_voc import make_voc
from PIL import Image

from gain_lightning.constants import VOID
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.images import load_picture
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.readers.voc import CLASSES, read_voc
from gain_lightning.datasets.sample import Draw
from gain_lightning.datasets.transforms import Augmentation


@pytest.mark.parametrize("supervision", ["mask", "box", "outside_box", "none"])
def test_picture_and_truth_are_as_stored_whatever_a_training_sees(tmp_path, supervision):
    root = make_folder(tmp_path)
    images = ImageSet(read_folder(root).listing, image_size=16, supervision=supervision)
    for row, name in enumerate(images.ids):
        path = root / "images" / name
        assert np.array_equal(images.picture(row), np.asarray(Image.open(path)))
        assert np.array_equal(images.picture(row, 24), load_picture(path, 24))
    rows = {name: row for row, name in enumerate(images.ids)}
    cat, dog, unmarked = (images.truth(rows[f"p{n}.jpg"]) for n in (0, 3, 1))
    expected = np.zeros(SIZE, np.uint8)
    expected[3:11, 4:12] = 2
    assert np.array_equal(cat, expected)
    expected = np.zeros(SIZE, np.uint8)
    expected[:8, :8], expected[10:18, 10:18] = 1, VOID
    assert np.array_equal(dog, expected)
    assert unmarked.shape == SIZE
    assert (unmarked == VOID).all()


@pytest.fixture
def root(tmp_path):
    return make_voc(tmp_path)


def open_voc(root, rows=None, augmentation=None, supervision="mask", split="train"):
    listing, problems = read_voc(root, split, "SegmentationClass")
    assert problems == []
    listing = listing if rows is None else listing.take(np.array(rows))
    return ImageSet(listing, image_size=32, augmentation=augmentation, supervision=supervision)


def test_sample_values(root):
    sample = open_voc(root, [1])[0]
    assert sample["image"].shape == (3, 32, 32)
    assert sample["label"].nonzero().flatten().tolist() == [CLASSES.index("dog")]
    assert sample["mask_class"].tolist() == [CLASSES.index("dog")]
    assert set(sample["mask"].unique().tolist()) == {0, 1, 255}
    inside = sample["mask"][0] == 1
    assert sample["image"][1][inside].float().mean() > 180  # green square of image 1
    assert sample["image"][0][inside].float().mean() < 80


def test_augmentation_depends_on_visit_and_index_not_on_the_order_of_calls(root):
    def images(order):
        dataset = open_voc(root, augmentation=Augmentation(), supervision="none")
        return {visit: dataset[Draw(2, visit)]["image"].numpy() for visit in order}

    forward, backward = images(range(8)), images(reversed(range(8)))
    for visit in range(8):
        np.testing.assert_array_equal(forward[visit], backward[visit])
    flips = {forward[visit].tobytes() for visit in range(8)}
    assert len(flips) == 2  # as it is, and flipped


def test_flip_moves_image_and_mask_together(root):
    dataset = open_voc(root, [1], augmentation=Augmentation())
    for visit in range(6):
        sample = dataset[Draw(0, visit)]
        assert sample["mask_class"].tolist() == [CLASSES.index("dog")]
        assert sample["image"][1][sample["mask"][0] == 1].float().mean() > 180
