"""COCO's JSON: outlines, runs and boxes of objects, and crowds.

::

    {"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
     "categories": [{"id": 1, "name": "boat"}],
     "annotations": [{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "iscrowd": 0,
                      "segmentation": [[x, y, ...], ...] or {"size": [h, w], "counts": [...] or "..."}}]}

Ids may be any numbers, with gaps, from 0 on, or texts. The pixels of a crowd are void, and so is a region whose
``ignore`` is 1, which is no label either. A file that is named like a split, or lies in a folder that is, has the
pictures of this split.

Source: Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014, and the format's description at
https://cocodataset.org/#format-data.
"""

from pathlib import Path

import msgspec

from gain_lightning.datasets.readers.annotations.found import Found
from gain_lightning.datasets.readers.annotations.json_files import parse_json, read_json

_Id = int | float | str


class _Image(msgspec.Struct):
    id: _Id
    file_name: str
    width: int | float | None = None
    height: int | float | None = None


class _Category(msgspec.Struct):
    id: _Id
    name: str


class _Runs(msgspec.Struct):
    size: tuple[int, int]
    counts: list[int] | str


class _Annotation(msgspec.Struct):
    image_id: _Id
    category_id: _Id
    segmentation: list[list[float]] | _Runs | None = None
    bbox: list[float] | None = None
    iscrowd: int | bool | None = None
    ignore: int | bool | None = None


class _File(msgspec.Struct):
    """The parts of a file; annotations are parsed one by one, for all of COCO's would fill the memory."""

    images: list[_Image]
    categories: list[_Category]
    annotations: list[msgspec.Raw] = []


def parse(files: list[Path], found: Found) -> None:
    """Read files of COCO's JSON; of COCO's own, which annotate pictures again for other tasks, the instances alone."""
    instances = [file for file in files if file.stem.startswith("instances")]
    for file in files if instances else ():
        if file not in instances:
            found.count("files of other tasks than instances are not read", file, "")
    for file in instances or files:
        try:
            content = read_json(file, _File)
        except ValueError as error:
            found.problem(file, "", str(error))
            continue
        pictures = _read_images(file, content.images, found)
        names = _read_categories(file, content.categories, found)
        content.annotations.reverse()
        for number in range(len(content.annotations)):
            # each text goes as soon as it is read
            _read_annotation(
                file, f"annotations[{number}]", content.annotations.pop(), pictures, names, found
            )


def _read_images(file: Path, images: list[_Image], found: Found) -> dict[_Id, int]:
    """Add the pictures of a file; return the number of each by its id."""
    pictures: dict[_Id, int] = {}
    for number, image in enumerate(images):
        key = f"images[{number}]"
        if image.id in pictures:
            found.problem(file, f"{key}.id", f"{image.id!r} is a duplicate")
            continue
        size = (int(image.height), int(image.width)) if image.height and image.width else None
        pictures[image.id] = found.picture(image.file_name, file=file, key=f"{key}.file_name", size=size)
    return pictures


def _read_categories(file: Path, categories: list[_Category], found: Found) -> dict[_Id, str]:
    """Add the classes of a file, in the order of their ids where these are numbers; return their names by id."""
    names: dict[_Id, str] = {}
    for number, category in enumerate(categories):
        if category.id in names:
            found.problem(file, f"categories[{number}].id", f"{category.id!r} is a duplicate")
        elif not category.name.strip():
            found.problem(file, f"categories[{number}].name", "is empty")
        elif category.name in names.values():
            found.problem(file, f"categories[{number}].name", f"{category.name!r} is a duplicate")
        else:
            names[category.id] = category.name
    for _, name in sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0])):
        found.class_idx(name)
    return names


def _read_annotation(
    file: Path, key: str, text: msgspec.Raw, pictures: dict[_Id, int], names: dict[_Id, str], found: Found
) -> None:
    """Add an annotation as a mark."""
    try:
        one = parse_json(text, _Annotation, key)
    except ValueError as error:
        found.problem(file, "", str(error))
        return
    if one.image_id not in pictures:
        found.problem(file, f"{key}.image_id", f"{one.image_id!r} is the id of none of images")
    elif one.category_id not in names and not one.ignore:
        found.problem(file, f"{key}.category_id", f"{one.category_id!r} is the id of none of categories")
    elif one.bbox and len(one.bbox) != 4:
        found.problem(file, f"{key}.bbox", f"{one.bbox}, expected x, y, width, height")
    else:
        x, y, width, height = one.bbox or (0, 0, 0, 0)
        shape = one.segmentation
        found.mark(
            pictures[one.image_id],
            None if one.ignore else names[one.category_id],
            key=key,
            rings=shape if isinstance(shape, list) else (),
            runs=msgspec.structs.asdict(shape) if isinstance(shape, _Runs) else None,
            box=(x, y, x + width, y + height) if one.bbox else None,
            is_void=bool(one.iscrowd),
        )
