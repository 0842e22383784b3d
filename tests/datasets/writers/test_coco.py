"""The tool's own reader finds in coco.json what was written."""

import contextlib
import io

import numpy as np
from marked import CLASSES, PICTURES, write
from pycocotools.coco import COCO

from gain_lightning.datasets.writers.coco import CocoWriter


def test_pycocotools_reads_every_mark_pixel_for_pixel(tmp_path):
    write(CocoWriter, tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "coco.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == CLASSES
    for picture, image in zip(PICTURES, coco.loadImgs(coco.getImgIds()), strict=True):
        assert (image["file_name"], image["height"], image["width"]) == (picture.name, *picture.size)
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        found = {(entry["category_id"], entry["iscrowd"]): entry for entry in annotations}
        expected = {(idx + 1, 0): mask for idx, mask in picture.marks.items() if mask.any()}
        if picture.unknown is not None:
            expected |= {(idx + 1, 1): picture.unknown for idx in picture.labels}
        assert found.keys() == expected.keys()
        assert len(found) == len(annotations)
        for key, mask in expected.items():
            np.testing.assert_array_equal(coco.annToMask(found[key]).astype(bool), mask)
            rows, columns = mask.nonzero()
            left, top, width, height = found[key]["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert found[key]["area"] == mask.sum()
