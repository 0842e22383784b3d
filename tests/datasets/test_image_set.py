"""Pictures of a listing as a data set."""

import numpy as np
import pytest
from fake_folder import SIZE, make_folder
from PIL import Image

from gain_lightning.constants import VOID
from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.images import load_picture
from gain_lightning.datasets.readers.folder import read_folder


@pytest.mark.parametrize("supervision", ["mask", "box", "none"])
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
