"""LabelMe JSON: a file for each picture, its marks as polygons that a person can move point by point.

A region that a polygon cannot say well enough, because it has holes or is very small, is a shape ``mask``, which
LabelMe knows from version 5.2 on. Points count from the picture's upper left corner.
"""

import base64
import io
import json
import os
from pathlib import PurePosixPath
from typing import Any

import contourpy
import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from gain_lightning.datasets.writers.base import MarkedPicture, MarkWriter, box_of
from gain_lightning.support.files import write_atomically

# A polygon shares so much of its area with the region that it says.
LEAST_IOU = 0.99
# How far a polygon may leave the outline, pixels: the coarsest that is good enough is taken.
_TOLERANCES = (2.0, 1.0, 0.5, 0.25, 0.0)


class LabelMeWriter(MarkWriter):
    """Writes ``labelme/PICTURE.json``; ``labelme PICTURES --output labelme`` shows them.

    Regions of one class that do not touch are shapes of one ``group_id``. The classes that a picture shows are its
    flags.
    """

    def add(self, picture: MarkedPicture) -> None:
        """Write the file of a picture."""
        path = self.out / "labelme" / PurePosixPath(picture.name).with_suffix(".json")
        height, width = picture.size
        shapes = [
            {"label": self.class_names[class_idx], **shape, "group_id": class_idx, "flags": {}}
            for class_idx, mask in picture.marks.items()
            for shape in _shapes(mask)
        ]
        content = {
            "version": "5.4.1",
            "flags": {self.class_names[class_idx]: True for class_idx in picture.labels},
            "shapes": shapes,
            "imagePath": os.path.relpath(self.pictures / picture.name, path.parent).replace(os.sep, "/"),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_atomically(path, json.dumps(content, indent=1) + "\n")


def _shapes(mask: np.ndarray) -> list[dict[str, Any]]:
    """Return the shape of every connected region of a mask, ``(H, W)`` bool."""
    count, regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [_shape(regions == number) for number in range(1, count)]


def _shape(region: np.ndarray) -> dict[str, Any]:
    points = polygon_of(region)
    if points is not None:
        return {"points": np.round(points, 2).tolist(), "shape_type": "polygon"}
    top, left, bottom, right = box_of(region)
    file = io.BytesIO()
    Image.fromarray(region[top:bottom, left:right].astype(np.uint8)).save(file, format="PNG")
    corners = [[left, top], [right - 1, bottom - 1]]
    return {
        "points": corners,
        "shape_type": "mask",
        "mask": base64.b64encode(file.getvalue()).decode("ascii"),
    }


def polygon_of(region: np.ndarray) -> np.ndarray | None:
    """Return the outline of a region with as few points as say it well enough.

    Args:
        region: A connected region, ``(H, W)`` bool.

    Returns:
        Points (x, y) from the upper left corner of the picture, ``(n, 2)``; None if no polygon says the region with an
        IoU of :data:`LEAST_IOU`.

    Example:
        >>> region = np.zeros((20, 30), bool)
        >>> region[5:15, 10:20] = True
        >>> points = polygon_of(region)
        >>> points.min(0).tolist(), points.max(0).tolist()
        ([10.0, 5.0], [20.0, 15.0])
    """
    # between the centres of pixels inside and outside, half a pixel from either
    lines: Any = contourpy.contour_generator(z=np.pad(region, 1).astype(float)).lines(0.5)
    if len(lines) != 1:
        return None
    outline = (lines[0][:-1] - 0.5).astype(np.float32)
    height, width = region.shape
    target = coco_mask.encode(np.asfortranarray(region, np.uint8))
    for tolerance in _TOLERANCES:
        points = cv2.approxPolyDP(outline[:, None], tolerance, closed=True)[:, 0]
        if len(points) < 3:
            continue
        drawn = coco_mask.frPyObjects([points.ravel().astype(float).tolist()], height, width)
        if coco_mask.iou([drawn[0]], [target], [0])[0, 0] >= LEAST_IOU:
            return np.asarray(points)
    return None
