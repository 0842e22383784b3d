import base64
import io

import numpy as np
from PIL import Image

from gain_lightning.drawing.encoding import data_uri, shrink


def test_data_uri_holds_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 3)).astype(np.uint8)

    head, _, body = data_uri(picture).partition(",")

    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), picture)


def test_shrink_keeps_shape_and_small_pictures():
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, 10:] = 200

    small = shrink(picture, 10, smooth=False)

    assert small.shape == (5, 10, 3)
    assert set(np.unique(small)) == {0, 200}
    assert shrink(picture, 20) is picture
