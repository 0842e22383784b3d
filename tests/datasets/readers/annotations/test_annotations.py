"""A made set with known masks goes through every format and back."""

import numpy as np
import pytest
from annotated import (
    HEIGHT,
    OBJECTS,
    WIDTH,
    brush,
    cvat_box,
    cvat_image,
    cvat_mask,
    cvat_polygon,
    labelme,
    mask_shape,
    polygon,
    rectangle,
    shape,
    task,
    write_cvat,
    write_json,
    write_pictures,
)
from read_back import iou, read_well

CLASSES = ("cat", "dog")


def write_label_studio(folder, mark):
    tasks = [task(f"/data/upload/1/{name}", *map(mark, made)) for name, made in OBJECTS.items()]
    return write_json(folder / "export.json", tasks)


def write_cvat_marks(folder, mark):
    images = [cvat_image(name, *map(mark, made)) for name, made in OBJECTS.items()]
    return write_cvat(folder / "annotations.xml", *images, labels=CLASSES)


def write_labelme(folder, mark):
    for name, made in OBJECTS.items():
        path = (folder / name).with_suffix(".json")
        write_json(path, labelme(path.with_suffix(".png").name, *map(mark, made)))
    return folder


def labelme_polygon(made):
    return shape("polygon", made.class_name, made.outline)


def labelme_rectangle(made):
    return shape("rectangle", made.class_name, np.reshape(made.box, (2, 2)))


MASKS = {
    "label studio's brush": (write_label_studio, brush, 1.0),
    "label studio's polygon": (write_label_studio, polygon, 0.99),
    "cvat's mask": (write_cvat_marks, cvat_mask, 1.0),
    "cvat's polygon": (write_cvat_marks, cvat_polygon, 0.99),
    "labelme's mask": (write_labelme, mask_shape, 1.0),
    "labelme's polygon": (write_labelme, labelme_polygon, 0.99),
}
BOXES = {
    "label studio": (write_label_studio, rectangle),
    "cvat": (write_cvat_marks, cvat_box),
    "labelme": (write_labelme, labelme_rectangle),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_come_back(tmp_path, name):
    write, mark, least = MASKS[name]
    write_pictures(tmp_path)
    listing, contents = read_well(write(tmp_path, mark))
    assert contents.changes == ()
    assert set(listing.ids.tolist()) == set(OBJECTS)
    assert listing.class_names == CLASSES
    for row, picture in enumerate(listing.ids.tolist()):
        masks = listing.class_masks(row, (HEIGHT, WIDTH))
        assert [CLASSES[idx] for idx in masks.class_idx] == [made.class_name for made in OBJECTS[picture]]
        for mask, made in zip(masks.mask, OBJECTS[picture], strict=True):
            assert iou(mask, made.mask) >= least


@pytest.mark.parametrize("name", BOXES)
def test_boxes_come_back(tmp_path, name):
    write, mark = BOXES[name]
    write_pictures(tmp_path)
    listing, contents = read_well(write(tmp_path, mark))
    assert contents.changes == ()
    for row, picture in enumerate(listing.ids.tolist()):
        boxes = listing.boxes(row)
        np.testing.assert_allclose(boxes.corners, [made.box for made in OBJECTS[picture]], atol=0.5)
        assert [CLASSES[idx] for idx in boxes.class_idx] == [made.class_name for made in OBJECTS[picture]]
