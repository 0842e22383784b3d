"""Marks are of the picture as EXIF turns it, or as it is stored; the size that a file gives tells which."""

import json

import numpy as np
import pytest
from fake_coco import an_image, an_object, coco_content
from PIL import Image

from gain_lightning.datasets.images import read_image
from gain_lightning.datasets.readers import reader_of

# A red patch of the stored picture of 40 x 20 pixels, and its box.
STORED, PATCH = (20, 40), (6, 2, 16, 10)


def make(folder, orientation, file_size, box, segmentation):
    """Write a picture with a red patch that EXIF turns, and its annotation."""
    pixels = np.zeros((*STORED, 3), np.uint8)
    left, top, right, bottom = PATCH
    pixels[top:bottom, left:right, 0] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(folder / "a.png", exif=exif)
    content = coco_content([an_object(0, 7, segmentation, box)], ())
    content["images"] = [an_image(0, "a.png", file_size)]
    (folder / "c.json").write_text(json.dumps(content))
    return folder / "c.json"


def corners_of(body):
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("as_runs", [False, True])
def test_marks_lie_on_what_they_mark(tmp_path, orientation, is_turned, as_runs):
    """Marks of the stored picture are told by its size where EXIF exchanges the sides."""
    if orientation in (2, 3, 4) and not is_turned:
        pytest.skip("the size says nothing, and tools show pictures turned")
    left, top, right, bottom = PATCH
    stored = np.zeros(STORED, np.uint8)
    stored[top:bottom, left:right] = 1
    pixels = np.stack([stored * 255] * 3, -1)
    shown = stored
    if is_turned:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(pixels).save(tmp_path / "b.png", exif=exif)
        shown = (read_image(tmp_path / "b.png")[..., 0] > 0).astype(np.uint8)
        (tmp_path / "b.png").unlink()
    xmin, ymin, xmax, ymax = (int(side) for side in corners_of(shown))
    counts, value = [0], 0
    for pixel in shown.ravel(order="F").tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    ring = [[xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax]]
    segmentation = {"size": list(shown.shape), "counts": counts} if as_runs else ring
    file = make(tmp_path, orientation, shown.shape, [xmin, ymin, xmax - xmin, ymax - ymin], segmentation)
    contents = reader_of(file).read(file)
    assert contents.problems == []
    listing = contents.listings[""]
    red = read_image(tmp_path / "a.png")[..., 0] > 0
    np.testing.assert_array_equal(listing.class_masks(0, red.shape).mask[0] == 1, red)
    np.testing.assert_array_equal(listing.mask(0, red.shape) == 2, red)
    assert listing.box_corners.tolist() == [corners_of(red)]


def test_a_size_that_is_neither_is_a_problem(tmp_path):
    file = make(tmp_path, 6, (99, 40), [1, 1, 5, 5], None)
    (problem,) = reader_of(file).read(file).problems
    assert str(problem) == f"{file}: images[0].file_name: 40 x 99 pixels, but the picture has 20 x 40"
