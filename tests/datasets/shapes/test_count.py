import numpy as np
import pytest

from gain_lightning.datasets.shapes.count import MOST, SPLITS, draw_picture


@pytest.mark.parametrize("split", SPLITS)
def test_label_counts_the_boats_that_mask_and_boxes_show(split):
    from scipy.ndimage import label as components

    for index in range(40):
        picture = draw_picture(index, split)
        count = int(picture.label[0])
        assert 1 <= count <= MOST
        assert len(picture.boxes.class_idx) == count
        assert 1 <= components(picture.mask)[1] <= count  # bodies may touch
        inside = np.zeros_like(picture.mask)
        for left, top, right, bottom in picture.boxes.corners.astype(int):
            body = picture.mask[top:bottom, left:right]
            assert (body.any(0).all(), body.any(1).all()) == (True, True)  # from side to side
            inside[top:bottom, left:right] = 1
        assert not picture.mask[inside == 0].any()


def count_buoys(picture) -> int:
    from scipy.ndimage import label as components

    image = picture.image.astype(int)
    return components((image[..., 0] > 200) & (image[..., 2] < 90))[1]


def test_training_has_a_buoy_for_every_boat_and_the_test_set_has_not():
    train, test = ([draw_picture(index, split) for index in range(60)] for split in ("train", "test"))
    assert all(count_buoys(picture) == picture.label[0] for picture in train)
    boats, buoys = np.array([(picture.label[0], count_buoys(picture)) for picture in test]).T
    assert abs(np.corrcoef(boats, buoys)[0, 1]) < 0.35
