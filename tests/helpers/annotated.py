"""A made set of pictures whose objects are known, written by hand in the formats of annotation tools.

Every writer here follows the tool's documents and shares no code with the readers that it tests.
"""

import base64
import io
import json
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 120, 160


class Object(NamedTuple):
    """An object of a picture.

    Attributes:
        class_name: Its class.
        outline: The corners of its outline, ``(N, 2)`` x and y, from the picture's upper left corner.
        mask: Its pixels, ``(H, W)`` bool: those whose centre lies inside the outline.
    """

    class_name: str
    outline: np.ndarray
    mask: np.ndarray

    @property
    def box(self) -> list[float]:
        """The smallest upright box around the outline: xmin, ymin, xmax, ymax."""
        return [*self.outline.min(0).tolist(), *self.outline.max(0).tolist()]


def inside(outline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Tell which pixels have their centre inside an outline, by counting the edges to the right of it."""
    y, x = np.indices(size) + 0.5
    crossings = np.zeros(size, int)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, 0), strict=True):
        if y0 == y1:
            continue
        spans = (y0 <= y) != (y1 <= y)
        crossings += spans & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return crossings % 2 == 1


def object_of(class_name: str, outline: Any, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Object:
    """Make an object of its outline."""
    outline = np.array(outline, float)
    return Object(class_name, outline, inside(outline, size))


def disc(class_name: str, centre: tuple[float, float], radius: float) -> Object:
    """Make a disc of sixty corners."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = np.round(centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1), 2)
    return object_of(class_name, outline)


OBJECTS: dict[str, list[Object]] = {
    "a.png": [disc("cat", (70.3, 60.2), 50), object_of("dog", [(95, 10), (155, 12.5), (150, 110), (100, 85)])],
    "deep/b.png": [disc("dog", (80, 60), 55.5)],
    "été 猫.png": [object_of("cat", [(10, 5), (150, 5), (150, 115), (80, 40), (10, 115)])],
}  # fmt: skip


def write_pictures(folder: Path, names: Any = OBJECTS, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """Write a grey picture of each name below ``folder``."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size[1], size[0]), (90, 90, 90)).save(path)


# Label Studio


def brush_rle(mask: np.ndarray, sizes: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """Encode a mask as Label Studio's brush does: four equal channels, packed by thi.ng's RLE.

    The code is 32 bits of length, 5 of the width of a value less 1, four times 4 of the width of a length less 1; then
    for each stretch a bit (1 for a run), 2 bits that choose a width, the length less 1, and the value or the values.
    """
    values = np.repeat(np.asarray(mask, np.uint8).ravel() * 255, 4)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] ^ 1))
    for start, stop in zip(starts, [*starts[1:], len(values)], strict=True):
        left = int(stop - start)
        while left:
            step = min(left, 1 << sizes[-1])
            choice = next(n for n, size in enumerate(sizes) if step <= 1 << size)
            # a stretch of at most four is written value by value, so that both kinds occur
            is_run = step > 4
            bits += f"{int(is_run)}{choice:02b}{step - 1:0{sizes[choice]}b}"
            bits += f"{values[start]:08b}" * (1 if is_run else step)
            left -= step
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def region(kind: str, label: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a result of Label Studio; ``kind`` is ``brush``, ``polygon``, ``rectangle``, ..."""
    return {
        "id": f"{kind}{label}",
        "from_name": "tag",
        "to_name": "image",
        "type": f"{kind}labels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, f"{kind}labels": [label]},
        **more,
    }


def percent(points: np.ndarray) -> list[list[float]]:
    """Turn pixels into Label Studio's percent of the picture's width and height."""
    return (np.asarray(points, float) / (WIDTH, HEIGHT) * 100).tolist()


def brush(made: Object) -> dict[str, Any]:
    """Make the result of a brush."""
    return region("brush", made.class_name, {"format": "rle", "rle": brush_rle(made.mask)})


def polygon(made: Object) -> dict[str, Any]:
    """Make the result of a polygon."""
    return region("polygon", made.class_name, {"points": percent(made.outline), "closed": True})


def rectangle(made: Object) -> dict[str, Any]:
    """Make the result of a box."""
    (left, top), (right, bottom) = percent(np.reshape(made.box, (2, 2)))
    value = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
    return region("rectangle", made.class_name, value)


def choices(*names: str) -> dict[str, Any]:
    """Make the result of image labels."""
    return {
        "id": "c",
        "from_name": "choice",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": list(names)},
    }


def task(image: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a task of Label Studio with one annotation, or with none if there is no result."""
    annotations = [{"id": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)}]
    made = {"id": 7, "data": {"image": image}, "annotations": annotations if results else []}
    return {**made, "predictions": [], **more}


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


# CVAT


def cvat_runs(mask: np.ndarray) -> str:
    """Encode a mask as CVAT does: lengths of runs along the rows, the first of which is no object."""
    values = np.concatenate([[0], np.asarray(mask, int).ravel(), [-1]])
    edges = np.flatnonzero(np.diff(values))
    lengths = np.diff(np.concatenate([[0], edges]))
    return ", ".join(str(length) for length in lengths.tolist())


def cvat_mask(made: Object) -> str:
    """Write the element of a mask, cut to its box."""
    rows, columns = np.flatnonzero(made.mask.any(1)), np.flatnonzero(made.mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return (
        f"<mask label={quoteattr(made.class_name)} source='manual' occluded='0' "
        f"rle='{cvat_runs(made.mask[top:bottom, left:right])}' left='{left}' top='{top}' "
        f"width='{right - left}' height='{bottom - top}' z_order='0'></mask>"
    )


def cvat_polygon(made: Object) -> str:
    """Write the element of a polygon."""
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in made.outline)
    return f"<polygon label={quoteattr(made.class_name)} occluded='0' points='{points}' z_order='0'/>"


def cvat_box(made: Object) -> str:
    """Write the element of a box."""
    corners = " ".join(
        f"{key}='{value:.2f}'" for key, value in zip(("xtl", "ytl", "xbr", "ybr"), made.box, strict=True)
    )
    return f"<box label={quoteattr(made.class_name)} occluded='0' {corners} z_order='0'/>"


def cvat_image(name: str, *elements: str, more: str = f"width='{WIDTH}' height='{HEIGHT}'") -> str:
    """Write the element of a picture."""
    return f"<image id='0' name={quoteattr(name)} {more}>{''.join(elements)}</image>"


def write_cvat(path: Path, *images: str, labels: tuple[str, ...] = ()) -> Path:
    """Write a file of CVAT for images."""
    listed = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<?xml version='1.0' encoding='utf-8'?><annotations><version>1.1</version><meta><task>"
        f"<mode>annotation</mode><labels>{listed}</labels></task></meta>{''.join(images)}</annotations>",
        encoding="utf-8",
    )
    return path


# LabelMe


def shape(kind: str, label: str, points: Any, **more: Any) -> dict[str, Any]:
    """Make a shape of LabelMe; ``kind`` is ``polygon``, ``rectangle``, ``circle``, ``mask``, ..."""
    points = np.asarray(points, float).tolist()
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def mask_shape(made: Object) -> dict[str, Any]:
    """Make LabelMe's shape of a mask: a PNG of what its two points enclose, both of them pixels of it."""
    rows, columns = np.flatnonzero(made.mask.any(1)), np.flatnonzero(made.mask.any(0))
    cut = made.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    file = io.BytesIO()
    Image.fromarray(cut).save(file, "PNG")
    points = [(columns[0], rows[0]), (columns[-1], rows[-1])]
    return shape("mask", made.class_name, points, mask=base64.b64encode(file.getvalue()).decode())


def labelme(image: str, *shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make the content of LabelMe's file of a picture."""
    made = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None}
    return {**made, "imageHeight": HEIGHT, "imageWidth": WIDTH, **more}


def turned_picture(path: Path, orientation: int) -> None:
    """Write a picture of ``WIDTH`` x ``HEIGHT`` stored pixels that EXIF has turned or mirrored."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
    exif = image.getexif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
