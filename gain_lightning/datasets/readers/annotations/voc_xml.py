"""XML of PASCAL VOC with any classes, as LabelImg and others write it: a file of boxes for every picture.

::

    <annotation>
      <filename>boat.jpg</filename>
      <size><width>640</width><height>480</height></size>
      <object><name>boat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>640</xmax><ymax>480</ymax></bndbox></object>
    </annotation>

A picture is called as its file of XML, or as that says. It was looked at, even if the file names no object. VOC counts
pixels from 1; where a box of the set begins at 0, its tool counts from 0. ``ImageSets/Main/`` and the like divide the
pictures into ``train``, ``val`` and ``test``.

Source: Everingham et al., *The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Development Kit*, section 8.2.
"""

from pathlib import Path
from typing import NamedTuple

from gain_lightning.datasets.readers.annotations.found import Found
from gain_lightning.datasets.readers.annotations.split_names import split_of
from gain_lightning.support.files import read_text
from gain_lightning.support.xml_files import read_xml

_SIDES = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    key: str
    name: str
    box: list[float] | None


class _Annotation(NamedTuple):
    file: Path
    filename: str
    size: tuple[int, int] | None
    objects: list[_Object]


def parse(files: list[Path], found: Found) -> None:
    """Read files of XML, each of one picture."""
    annotations = []
    for file in files:
        try:
            annotations.append(_read(file, found))
        except (OSError, ValueError) as error:
            found.problem(file, "", str(error).removeprefix(f"{file}: "))
    corners = [one.box for annotation in annotations for one in annotation.objects if one.box]
    first = 0 if any(min(box[:2]) < 1 for box in corners) else 1
    lists = _lists(found.root)
    for annotation in annotations:
        file = annotation.file
        split = lists.get(file.stem, "") if lists else split_of(_below(file, found.root))
        names = [str(_below(file, found.root).with_suffix(""))]
        names += [annotation.filename] if annotation.filename else []
        picture = found.picture(*names, file=file, size=annotation.size, split=split, looked_at=True)
        for one in annotation.objects:
            if one.box is None:
                found.label(picture, one.name)
                continue
            xmin, ymin, xmax, ymax = one.box
            found.mark(picture, one.name, key=one.key, box=(xmin - first, ymin - first, xmax, ymax))
    found.sort_classes()


def _below(file: Path, root: Path) -> Path:
    return file.relative_to(root) if root.is_dir() else Path(file.name)


def _read(file: Path, found: Found) -> _Annotation:
    """Read a file; an object that is wrong becomes a problem."""
    root = read_xml(file, "annotation")
    try:
        height, width = (round(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{file}: size: {error}") from error
    objects = []
    for number, element in enumerate(root.findall("object")):
        key, name, box = f"object[{number}]", (element.findtext("name") or "").strip(), element.find("bndbox")
        try:
            corners = None if box is None else [float(box.findtext(side) or "") for side in _SIDES]
        except ValueError as error:
            found.problem(file, f"{key}.bndbox", str(error))
            continue
        if name:
            objects.append(_Object(key, name, corners))
        else:
            found.problem(file, f"{key}.name", "is empty")
    # some tools write 0 x 0
    return _Annotation(
        file,
        (root.findtext("filename") or "").strip(),
        (height, width) if height and width else None,
        objects,
    )


def _lists(root: Path) -> dict[str, str]:
    """Read which split each picture is in, by its stem; empty without lists."""
    splits: dict[str, str] = {}
    for folder in ("Main", "Segmentation"):
        for split in ("test", "val", "train"):
            path = root / "ImageSets" / folder / f"{split}.txt"
            if path.is_file() and not (splits and folder != "Main"):
                splits |= {line.split()[0]: split for line in read_text(path).splitlines() if line.strip()}
    return splits
