"""PASCAL VOC 2012 in its own layout. Labels come from ``Annotations``, never from masks."""

import contextlib
import itertools
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np

from gain_lightning.datasets.boxes import Boxes
from gain_lightning.datasets.check import Problem, check_images
from gain_lightning.datasets.check_boxes import check_boxes
from gain_lightning.datasets.check_masks import check_masks
from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.listing import Listing, empty_boxes, frame_hint, stays_inside
from gain_lightning.support.files import read_text
from gain_lightning.support.xml_files import read_xml

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_CLASS_IDX = {name: class_idx for class_idx, name in enumerate(CLASSES)}
# So many annotations tell whether the classes are VOC's.
_TRIED = 20
# Every picture of a list has a mask in this folder.
_MASK_FOLDERS = {
    "train": "SegmentationClass",
    "val": "SegmentationClass",
    "trainval": "SegmentationClass",
    "train_aug": "SegmentationClassAug",
}


def read_annotation(path: Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, Boxes]:
    """Read the classes that an annotation lists, difficult ones too, and the boxes of the objects that have one.

    Args:
        path: The file, ``Annotations/<image>.xml``.
        size: The picture's height and width, which the annotation must not contradict; None where it is unknown.

    Returns:
        Label ``(20,)`` uint8, and boxes, whose corners count from 0 where VOC counts pixels from 1.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no annotation, names a class that VOC does not have, declares entities, or is of a
            picture of another size.
    """
    root = read_xml(path, "annotation")
    if root.find("object") is None:
        raise ValueError(f"{path}: names no object; every picture of VOC shows one")
    if size is not None:
        _check_size(path, root, size)
    label = np.zeros(len(CLASSES), np.uint8)
    classes, corners = [], []
    for element in root.findall("object"):
        name = element.findtext("name", "").strip()
        if name not in _CLASS_IDX:
            raise ValueError(f"{path}: unknown class {name!r}, expected one of VOC's {len(CLASSES)}")
        label[_CLASS_IDX[name]] = 1
        box = element.find("bndbox")
        if box is None:
            continue
        try:
            xmin, ymin, xmax, ymax = (
                float(box.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError as error:
            raise ValueError(f"{path}: the box of {name} is incomplete ({error})") from error
        if not (0 < xmin <= xmax < np.inf and 0 < ymin <= ymax < np.inf):
            raise ValueError(
                f"{path}: box ({xmin}, {ymin}, {xmax}, {ymax}) of {name}, expected xmin <= xmax, from 1 on"
            )
        classes.append(_CLASS_IDX[name])
        corners.append((xmin - 1, ymin - 1, xmax, ymax))
    return label, Boxes(np.array(classes, np.int64), np.array(corners, np.float64).reshape(-1, 4))


def _check_size(path: Path, root: ElementTree.Element, size: tuple[int, int]) -> None:
    """Refuse an annotation whose ``<size>`` is not its picture's, for its boxes would be of another frame."""
    said = [root.findtext(f"size/{side}") for side in ("height", "width")]
    # not every tool writes it
    if said == [None, None]:
        return
    try:
        got = tuple(float(text or "") for text in said)
    except ValueError:
        got = ()
    if got != size:
        height, width = ((text or "").strip() or "nothing" for text in said)
        raise ValueError(
            f"{path}: its <size> is {width} x {height} pixels, but its picture has {size[1]} x {size[0]}"
            + frame_hint(got, size)
        )


def recognises(root: Path) -> bool:
    """Tell whether ``root`` is the folder ``VOC2012``, or one of the usual places that hold it.

    Folders of other classes may be laid out alike.
    """
    places = _places(root)
    return bool(places) and not _has_other_classes(places[0])


def _has_other_classes(folder: Path) -> bool:
    """Tell whether the first annotations of a folder name classes, and none that VOC has."""
    names: set[str] = set()
    for path in itertools.islice(folder.glob("Annotations/*.xml"), _TRIED):
        with contextlib.suppress(OSError, ValueError):
            objects = read_xml(path, "annotation").findall("object")
            names.update(one.findtext("name", "").strip() for one in objects)
    return bool(names) and not names & set(CLASSES)


def read(root: Path) -> Contents:
    """Read every list of the folder ``VOC2012`` at or below ``root``; see :func:`check_voc`."""
    root = find_root(str(root))
    return Contents(*check_voc(root), [], root / "ImageSets" / "Segmentation")


def _places(root: Path) -> list[Path]:
    """List the folders with ``JPEGImages`` among the usual places."""
    usual = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    return [folder for folder in usual if (folder / "JPEGImages").is_dir()]


def find_root(root: str) -> Path:
    """Find the folder ``VOC2012`` at or below ``root``.

    Raises:
        FileNotFoundError: If none of the usual places has one.
    """
    places = _places(Path(root))
    if places:
        return places[0]
    raise FileNotFoundError(
        f"data.root {root!r}: no VOC 2012 here, expected a folder with JPEGImages/, Annotations/ and ImageSets/ "
        "(or VOCdevkit/VOC2012 with them)"
    )


def read_voc(root: Path, split: str, mask_folder: str) -> tuple[Listing, list[Problem]]:
    """Read the images of ``ImageSets/Segmentation/<split>.txt`` with their labels and boxes.

    Args:
        root: The folder ``VOC2012``.
        split: The name of the list; ``test`` has no labels.
        mask_folder: The folder of the masks, ``SegmentationClass`` or ``SegmentationClassAug``.

    Returns:
        The listing, with the pictures' sizes; and the problems of the list, the images and the annotations.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If it is empty.
    """
    path = _list_path(root, split)
    lines, problems = _read_list(path)
    if not lines and not problems:
        raise ValueError(f"{path}: names no image")
    listing, unfit = check_images(_list_images(root, list(lines), mask_folder))
    if split == "test":
        return listing, problems + unfit
    listing, wrong = _read_annotations(listing, {name: f"{path.name}:{line}" for name, line in lines.items()})
    unfit += check_boxes(
        listing, lambda box: (_annotation(listing, listing.box_row[box]), 0), margin=1, first=1
    )
    return listing, problems + wrong + unfit


def _list_images(root: Path, ids: list[str], mask_folder: str) -> Listing:
    """List images by their names, without labels, and which of them have a mask."""
    drawn = {entry.stem for entry in (root / mask_folder).glob("*.png")}
    return Listing(
        root=root,
        class_names=CLASSES,
        ids=np.array(ids, dtype=str),
        labels=np.zeros((len(ids), len(CLASSES)), np.uint8),
        image_pattern="JPEGImages/{id}.jpg",
        mask_pattern=mask_folder + "/{id}.png",
        has_mask=np.zeros((len(ids), len(CLASSES)), bool),
        is_drawn=np.array([image_id in drawn for image_id in ids], bool),
        **empty_boxes(),
        size=np.zeros((len(ids), 2), np.int32),
    )


def _annotation(listing: Listing, row: int) -> Path:
    return listing.root / "Annotations" / f"{listing.ids[row]}.xml"


def _read_annotations(listing: Listing, named_in: dict[str, str]) -> tuple[Listing, list[Problem]]:
    """Read the labels and boxes of every image.

    Args:
        listing: The images with their sizes, without labels.
        named_in: The list and line that name each image.

    Returns:
        The listing with labels and boxes, and what is wrong with the annotations.
    """
    labels = np.zeros_like(listing.labels)
    problems: list[Problem] = []
    box_row: list[int] = []
    box_class, box_corners = [np.zeros(0, np.int64)], [np.zeros((0, 4))]
    for row, image_id in enumerate(listing.ids.tolist()):
        path = _annotation(listing, row)
        height, width = listing.size[row].tolist()
        try:
            labels[row], boxes = read_annotation(path, (height, width) if height else None)
        except FileNotFoundError:
            problems.append(Problem(path, 0, f"missing ({named_in[image_id]} lists its image)"))
        except ValueError as error:
            problems.append(Problem(path, 0, str(error).removeprefix(f"{path}: ")))
        else:
            box_row += [row] * len(boxes.class_idx)
            box_class.append(boxes.class_idx)
            box_corners.append(boxes.corners)
    listing = replace(
        listing,
        labels=labels,
        has_mask=listing.is_drawn[:, None] & (labels > 0),
        box_row=np.array(box_row, np.int64),
        box_class=np.concatenate(box_class),
        box_corners=np.concatenate(box_corners),
    )
    return listing, problems


def _list_path(root: Path, split: str) -> Path:
    return root / "ImageSets" / "Segmentation" / f"{split}.txt"


def _read_list(path: Path) -> tuple[dict[str, int], list[Problem]]:
    """Read the line of each image that a list names, and find what is wrong with the list."""
    lines: dict[str, int] = {}
    problems = []
    for line, image_id in enumerate(read_text(path).splitlines(), start=1):
        image_id = image_id.strip()
        if image_id and not stays_inside(image_id):
            problems.append(Problem(path, line, f"{image_id!r} leaves the data folder"))
        elif image_id in lines:
            problems.append(Problem(path, line, f"{image_id} is a duplicate of line {lines[image_id]}"))
        elif image_id:
            lines[image_id] = line
    return lines, problems


def missing_masks(listing: Listing, mask_folder: str) -> list[Problem]:
    """Find masks that a list of ``ImageSets/Segmentation`` says are there, and that are not.

    Every picture of ``train`` and ``val`` has a mask in ``SegmentationClass``, every picture of ``train_aug`` has one
    in ``SegmentationClassAug``. So pictures of ``train_aug`` may lack masks in ``SegmentationClass``, unless ``train``
    names them. Nothing is known of other folders.

    Args:
        listing: The pictures of a list.
        mask_folder: The folder of their masks.

    Returns:
        The problems; a single one for the folder if it has no mask of the listing at all.
    """
    root, folder = listing.root, listing.root / mask_folder
    lists = [_list_path(root, name) for name, place in _MASK_FOLDERS.items() if place == mask_folder]
    owed: dict[str, str] = {}
    for path in filter(Path.is_file, lists):
        for image_id, line in _read_list(path)[0].items():
            owed.setdefault(image_id, f"{path.name}:{line}")
    missing = [row for row in np.flatnonzero(~listing.is_drawn).tolist() if listing.ids[row] in owed]
    others = {entry.stem: entry.name for entry in folder.iterdir()} if folder.is_dir() else {}
    if missing and not listing.is_drawn.any() and not set(listing.ids) & set(others):
        first = owed[listing.ids[missing[0]]]
        return [Problem(folder, 0, f"no mask here of any of {len(missing)} images that have one, as {first}")]
    return [
        Problem(
            listing.mask_path(row),
            0,
            f"missing ({owed[image_id]} lists its image)"
            + (f"; {others[image_id]} is not read, names of masks end in .png" if image_id in others else ""),
        )
        for row in missing
        for image_id in [str(listing.ids[row])]
    ]


def check_voc(root: Path) -> tuple[dict[str, Listing], list[Problem]]:
    """Read every list of ``ImageSets/Segmentation`` that VOC or SBD has, and find all that is wrong."""
    listings, problems = {}, []
    for split in ("train", "train_aug", "val", "test"):
        if not _list_path(root, split).is_file():
            continue
        folder = _MASK_FOLDERS.get(split, "SegmentationClass")
        listings[split], found = read_voc(root, split, folder)
        problems += found
        if split != "test":
            problems += missing_masks(listings[split], folder)
        problems += check_masks(listings[split], agree=False)[1]
    if not listings:
        problems.append(
            Problem(root / "ImageSets" / "Segmentation", 0, "no list train, train_aug, val or test")
        )
    return listings, list(dict.fromkeys(problems))
