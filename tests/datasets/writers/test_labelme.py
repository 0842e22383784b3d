"""LabelMe's files say the marks again: polygons with an IoU of 0.99, and shapes ``mask`` pixel for pixel."""

import base64
import io
import json

import numpy as np
import pytest
from marked import CLASSES, PICTURES, SIZE, disc, iou, ring, write
from matplotlib.path import Path as Outline
from PIL import Image

from gain_lightning.datasets.writers.labelme import LEAST_IOU, LabelMeWriter, polygon_of


def inside(points):
    """The pixels whose centres lie inside an outline, by matplotlib."""
    rows, columns = np.indices(SIZE)
    centres = np.stack([columns.ravel(), rows.ravel()], 1) + 0.5
    return Outline([*points, points[0]], closed=True).contains_points(centres).reshape(SIZE)


def drawn(shape):
    if shape["shape_type"] == "polygon":
        return inside(shape["points"])
    (left, top), (right, bottom) = shape["points"]
    mask = np.zeros(SIZE, bool)
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
        mask[top : bottom + 1, left : right + 1] = np.asarray(image).astype(bool)
    return mask


def test_every_mark_is_drawn_again(tmp_path):
    write(LabelMeWriter, tmp_path)
    assert len(list((tmp_path / "labelme").rglob("*.json"))) == len(PICTURES)
    for picture in PICTURES:
        path = (tmp_path / "labelme" / picture.name).with_suffix(".json")
        content = json.loads(path.read_text())
        assert (path.parent / content["imagePath"]).resolve() == (
            tmp_path / "images" / picture.name
        ).resolve()
        assert (content["imageHeight"], content["imageWidth"]) == picture.size
        assert content["imageData"] is None
        assert content["flags"] == {CLASSES[idx]: True for idx in picture.labels}
        for class_idx, mask in picture.marks.items():
            of_class = [shape for shape in content["shapes"] if shape["label"] == CLASSES[class_idx]]
            again = np.logical_or.reduce([drawn(shape) for shape in of_class] or [np.zeros(SIZE, bool)])
            assert not mask.any() or iou(again, mask) >= LEAST_IOU
            assert mask.any() or not of_class


@pytest.mark.parametrize("radius", [3, 5, 9, 17.3, 29])
def test_a_polygon_says_a_disc_with_few_points(radius):
    mask = disc(30, 40, radius)
    points = polygon_of(mask)
    assert iou(inside(points), mask) >= LEAST_IOU
    assert len(points) <= 30


def test_a_polygon_cannot_say_holes():
    assert polygon_of(ring()) is None
