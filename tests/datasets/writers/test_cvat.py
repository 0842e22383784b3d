"""cvat.xml holds masks as CVAT's documents say: runs along the rows of the box, the first outside of the mask."""

import json
from xml.etree import ElementTree

import numpy as np
from marked import CLASSES, PICTURES, SIZE, write

from gain_lightning.datasets.writers.cvat import CvatWriter


def decode(element):
    box = np.zeros((int(element.get("height")), int(element.get("width"))), bool)
    lengths = [int(run) for run in element.get("rle").split(",")]
    values = [number % 2 == 1 for number, length in enumerate(lengths) for _ in range(length)]
    box.ravel()[:] = values
    mask = np.zeros(SIZE, bool)
    top, left = int(element.get("top")), int(element.get("left"))
    mask[top : top + box.shape[0], left : left + box.shape[1]] = box
    return mask


def test_every_mark_is_read_back_pixel_for_pixel(tmp_path):
    write(CvatWriter, tmp_path)
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [name.text for name in root.findall("meta/task/labels/label/name")] == CLASSES
    images = root.findall("image")
    assert [image.get("id") for image in images] == [str(number) for number in range(len(PICTURES))]
    for picture, image in zip(PICTURES, images, strict=True):
        assert (image.get("name"), image.get("width"), image.get("height")) == (picture.name, "80", "60")
        assert [tag.get("label") for tag in image.findall("tag")] == [CLASSES[idx] for idx in picture.labels]
        expected = {CLASSES[idx]: mask for idx, mask in picture.marks.items() if mask.any()}
        found = {mask.get("label"): decode(mask) for mask in image.findall("mask")}
        assert found.keys() == expected.keys()
        for name, mask in expected.items():
            np.testing.assert_array_equal(found[name], mask)


def test_labels_are_as_the_constructor_takes_them(tmp_path):
    write(CvatWriter, tmp_path)
    labels = json.loads((tmp_path / "cvat_labels.json").read_text())
    assert labels == [{"name": name, "attributes": []} for name in CLASSES]
