"""Annotation files are changed at random: what comes is read, or told in one line, and nothing crashes."""

import json
import random
import re

import numpy as np
import pytest
from annotated import (
    HEIGHT,
    OBJECTS,
    WIDTH,
    brush,
    choices,
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
from fake_coco import SQUARE, an_object, make_coco
from fake_folder import make_folder
from fake_waterbirds import make_waterbirds
from pycocotools import mask as coco_mask
from read_back import NEGATIVE

from gain_lightning.datasets.readers import annotations, folder, wilds
from gain_lightning.datasets.readers.annotations import FORMATS

# Each takes the place of any part of a file.
VALUES = [
    None,
    True,
    0,
    -1,
    1e308,
    10**25,
    2**31,
    0.5,
    "",
    "x",
    "été\n",
    [],
    [[]],
    {},
    [1, 2, 3],
    "nan",
    "9" * 50,
]
NUMBER = 60


def label_studio(folder):
    tasks = [
        task(name, *map(brush, made), *map(polygon, made), *map(rectangle, made), choices("x"))
        for name, made in OBJECTS.items()
    ]
    return write_json(folder / "export.json", tasks)


def cvat(folder):
    images = [
        cvat_image(
            name, *map(cvat_mask, made), *map(cvat_polygon, made), *map(cvat_box, made), "<tag label='cat'/>"
        )
        for name, made in OBJECTS.items()
    ]
    return write_cvat(folder / "annotations.xml", *images, labels=("cat", "dog"))


def labelme_file(folder):
    first = OBJECTS["a.png"]
    shapes = [
        *map(mask_shape, first),
        shape("rectangle", "cat", [(1, 2), (WIDTH, 9)]),
        shape("circle", "dog", [(9, 9), (20, 9)]),
    ]
    shapes += [shape("polygon", made.class_name, made.outline) for made in first]
    return write_json(folder / "a.json", labelme("a.png", *shapes, flags={"x": True}))


def coco(folder):
    runs = {"size": [30, 40], "counts": [600, 300, 300]}
    packed = {
        "size": [30, 40],
        "counts": coco_mask.encode(np.eye(30, 40, dtype=np.uint8, order="F"))["counts"].decode(),
    }
    objects = [
        an_object(0, 7, SQUARE, [3, 4, 10, 9]),
        an_object(1, 0, runs, iscrowd=1),
        an_object(2, 0, packed),
    ]
    return make_coco(folder, objects)


def voc(folder):
    sides = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    body = f"<object><name>cat</name><bndbox>{sides}</bndbox></object>"
    (folder / "a.xml").write_text(f"<annotation><filename>a.png</filename>{size}{body}</annotation>")
    return folder / "a.xml"


def yolo(folder):
    (folder / "classes.txt").write_text("cat\ndog\n")
    (folder / "a.txt").write_text("0 0.5 0.5 0.25 0.2\n1 0.1 0.1 0.6 0.1 0.6 0.9\n")
    return folder / "a.txt"


def yolo_settings(folder):
    yolo(folder)
    (folder / "data.yaml").write_text("names: [cat, dog]\ntrain: deep\nval: .\n")
    return folder / "data.yaml"


FILES = {
    "a COCO file": coco,
    "Label Studio's JSON": label_studio,
    "CVAT's XML": cvat,
    "LabelMe's JSON": labelme_file,
    "XML of PASCAL VOC": voc,
    "YOLO's labels": yolo,
    "YOLO's list of classes": yolo_settings,
}


def places(content, path=()):
    """List the paths to all parts of a content; of long lists of numbers only some."""
    yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))
    elif isinstance(content, list):
        for number, value in list(enumerate(content))[:6]:
            yield from places(value, (*path, number))


def with_change(content, rng):
    """Put another value in the place of a part, or take it out, or repeat it."""
    content = json.loads(json.dumps(content))
    path = rng.choice(list(places(content))[1:])
    at = content
    for key in path[:-1]:
        at = at[key]
    what = rng.randrange(len(VALUES) + 2)
    if what < len(VALUES):
        at[path[-1]] = VALUES[what]
    elif what == len(VALUES):
        del at[path[-1]]
    elif isinstance(at, list):
        at.append(at[path[-1]])
    else:
        at[f"{path[-1]}2"] = at.pop(path[-1])
    return content


def changed(text, suffix, rng):
    """Change a file in its parts, or byte by byte."""
    kind = rng.choice([0, 0, 0, 1, 2])
    if kind == 0 and suffix == ".json":
        content = json.loads(text)
        for _ in range(rng.randint(1, 3)):
            content = with_change(content, rng)
        return json.dumps(content, ensure_ascii=False).encode()
    if kind == 0:
        values = list(re.finditer(r"(?<==)(['\"])[^'\"]*\1|<\w+|[\d.]+|\w+", text))
        part = rng.choice(values)
        new = rng.choice(
            [
                "''",
                "'-1'",
                "'1e999'",
                "'x'",
                f"'{'9' * 40}'",
                "<box",
                "<image",
                "",
                "-1",
                "1e999",
                "\n",
                "nan",
                "9" * 40,
            ]
        )
        return (text[: part.start()] + new + text[part.end() :]).encode()
    data = bytearray(text.encode())
    if kind == 1:
        start = rng.randrange(len(data))
        del data[start : start + rng.choice([1, 5, len(data)])]
    for _ in range(rng.randint(1, 8) if data else 0):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def read_and_draw(root, read):
    """Read a set and draw all masks; return all that was said."""
    try:
        contents = read(root)
        for listing in contents.listings.values():
            for row in np.flatnonzero(listing.size.all(1)).tolist():
                size = tuple(listing.size[row].tolist())
                listing.class_masks(row, size)
                listing.mask(row, size)
                listing.boxes(row)
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]
    return [*map(str, contents.problems), *contents.changes]


def badly_told(file, root, read):
    """Change a file many times, and read it each time; return what was not said in a line that names the file."""
    text = file.read_text(encoding="utf-8")
    assert read(root).problems == []
    bad = []
    for seed in range(NUMBER):
        file.write_bytes(changed(text, file.suffix, random.Random(seed)))
        lines = read_and_draw(root, read)
        bad += [(seed, line) for line in lines if "\n" in line or str(file.parent) not in line]
    return bad


@pytest.mark.parametrize("tool", FILES)
def test_whatever_a_file_holds_is_read_or_told_in_a_line(tmp_path, tool):
    kind = next(one for one in FORMATS if tool in (one.tool, *one.also))
    write_pictures(tmp_path)
    file = FILES[tool](tmp_path)
    assert badly_told(file, file, lambda root: annotations.read(root, kind, NEGATIVE)) == []


@pytest.mark.parametrize("name", ["labels.csv", "boxes.csv", "classes.txt"])
def test_tables_of_our_own_form(tmp_path, name):
    root = make_folder(tmp_path)
    assert badly_told(root / name, root, folder.read) == []


def test_a_table_of_wilds(tmp_path):
    root = make_waterbirds(tmp_path)
    assert badly_told(root / "metadata.csv", root, wilds.read) == []
