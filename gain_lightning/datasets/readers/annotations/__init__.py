"""Annotations of other tools are read as they are: every format has a file of its own here and a row of FORMATS.

The file of a new format has ``parse``, which tells a :class:`~.found.Found` what it finds. The pictures lie in
``data.image_folder``, or near the annotations. They are found whatever the form of their paths, and labels are the
union of what is marked. A picture without annotation is a negative, or one that nobody looked at, as the file says it,
or else as ``data.unannotated`` does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.datasets.check import Problem, look_at
from gain_lightning.datasets.contents import Contents, by_split
from gain_lightning.datasets.images import check_header
from gain_lightning.datasets.listing import Listing, empty_boxes
from gain_lightning.datasets.readers.annotations import coco, cvat, label_studio, labelme, voc_xml, yolo
from gain_lightning.datasets.readers.annotations.found import Found
from gain_lightning.datasets.readers.annotations.frames import with_marks
from gain_lightning.datasets.readers.annotations.picture_files import PictureFiles
from gain_lightning.datasets.readers.annotations.split_names import split_of
from gain_lightning.datasets.readers.foreign import files_beside, recognise, tool_of
from gain_lightning.support.walk import files_below

UNANNOTATED = ("negative", "leave_out")


class Asked(NamedTuple):
    """What a person says of annotations besides.

    Attributes:
        images: The folder of the pictures (``data.image_folder``); None looks near the annotations.
        unannotated: What a picture without annotation is, where the file does not say (``data.unannotated``):
            ``negative``, it shows no class; ``leave_out``, nobody looked at it. None refuses such pictures.
    """

    images: Path | None = None
    unannotated: str | None = None


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        tool: Its name in :mod:`~gain_lightning.datasets.readers.foreign`, which recognises it by content.
        suffixes: How the names of its files end.
        parse: Reads files that are recognised by their content, or the one file that a person names.
        in_shares: See :class:`~.found.Found`.
        also: The names of further files of it, such as a list of classes.
        one_a_picture: Whether every picture has a file of its own, so that one without it has no annotation.
    """

    tool: str
    suffixes: tuple[str, ...]
    parse: Callable[[list[Path], Found], None]
    in_shares: bool = False
    also: tuple[str, ...] = ()
    one_a_picture: bool = False


FORMATS = (
    Format("a COCO file", (".json",), coco.parse),
    Format("XML of PASCAL VOC", (".xml",), voc_xml.parse, one_a_picture=True),
    Format(yolo.LABELS, (".txt",), yolo.parse, in_shares=True, also=(yolo.SETTINGS,), one_a_picture=True),
    Format("Label Studio's JSON", (".json",), label_studio.parse, in_shares=True),
    Format("CVAT's XML", (".xml",), cvat.parse),
    Format("LabelMe's JSON", (".json",), labelme.parse, one_a_picture=True),
)


def formats_of(root: Path) -> list[tuple[Format, Path]]:
    """Find the formats of a file, or of the annotations in a folder, each with its first file."""
    if not root.exists():
        return []
    found = {one.tool: one.file for one in recognise([root] if root.is_file() else files_beside(root, ()))}
    return [
        (one, next(found[tool] for tool in (one.tool, *one.also) if tool in found))
        for one in FORMATS
        if {one.tool, *one.also} & set(found)
    ]


def read(
    root: Path,
    kind: Format,
    asked: Asked = Asked(),  # noqa: B008, immutable
    others: Sequence[tuple[Format, Path]] = (),
) -> Contents:
    """Read annotations, and look at every picture.

    Args:
        root: A file of annotations, or the folder that they lie in.
        kind: Their format.
        asked: What a person says besides.
        others: Further formats that are there, which are not read.

    Returns:
        The pictures of each split, whose masks are drawn when they are needed.

    Raises:
        FileNotFoundError: If there is no picture.
        ValueError: If ``asked`` is none of what it may be.
    """
    if asked.unannotated not in (None, *UNANNOTATED):
        raise ValueError(
            f"data.unannotated is {asked.unannotated!r}, expected one of {', '.join(UNANNOTATED)}"
        )
    found = Found(root, in_shares=kind.in_shares)
    kind.parse([root] if root.is_file() else _files_of(root, kind), found)
    files = _picture_files(root, asked.images)
    ids = _match(found, files)
    if kind.one_a_picture and (root.is_dir() or root.suffix.lower() not in kind.suffixes):
        for name in sorted(set(files.names) - set(ids)):
            found.picture(name, file=root, key=name)
            ids.append(name)
    notes = [f"{file} looks like {one.tool}, which is not read beside {kind.tool}" for one, file in others]
    if unused := len(files.names) - len(set(ids) - {""}):
        notes.append(f"named by no annotation and not used: {unused} of the pictures below {files.folder}")
    kept = np.array(_annotated(found, ids, root, asked.unannotated), np.int64)
    if not found.problems and not (len(kept) and found.class_names):
        what = "no picture is annotated" if not len(kept) else "names no class: every picture is a negative"
        found.problems.append(Problem(root, 0, what))
    listing = _list(found, files.folder, np.array([ids[number] for number in kept], dtype=str), kept)
    splits = _splits(found, root, kept)
    return Contents(by_split(listing, splits), found.problems, notes, root, changes=found.changes)


def _files_of(root: Path, kind: Format) -> list[Path]:
    """List the files of a format below a folder, but for those of the same suffix that are others'."""
    return [
        path
        for path in files_below(root)
        if path.suffix.lower() in kind.suffixes and tool_of(path) == kind.tool
    ]


def _picture_files(root: Path, images: Path | None) -> PictureFiles:
    """List the pictures in the folder that a person names, or in the nearest around the annotations."""
    folder = root if root.is_dir() else root.parent
    for place in (folder, folder.parent) if images is None else (images,):
        if (files := PictureFiles(place)).names:
            return files
    raise FileNotFoundError(
        f"{folder if images is None else images}: holds no picture, expected those of {root} there, or "
        "--images (data.image_folder) to name their folder"
    )


def _match(found: Found, files: PictureFiles) -> list[str]:
    """Return the name on the disk of every picture, empty where it has none; what has none is a problem."""
    ids: list[str] = []
    first: dict[str, int] = {}
    missing = []
    for number, picture in enumerate(found.pictures):
        names = next(
            (names for text in picture.names if (names := files.find(text, picture.file.parent))), []
        )
        if len(names) == 1 and names[0] not in first:
            first[names[0]] = number
            ids.append(names[0])
            continue
        ids.append("")
        if not names:
            missing.append(number)
        elif len(names) > 1:
            found.problem(picture.file, picture.key, f"{picture.names[0]!r} may be {' or '.join(names[:2])}")
        else:
            other = found.pictures[first[names[0]]]
            what = f"{picture.names[0]!r} is {names[0]}, a duplicate of {other.file}: {other.key}"
            found.problem(picture.file, picture.key, what)
    where = f"expected a picture below {files.folder}, or --images (data.image_folder) to name their folder"
    if missing and len(missing) == len(ids):
        picture = found.pictures[0]
        what = f"none of {len(missing)} pictures is there, the first {picture.names[0]!r}: {where}"
        found.problem(picture.file, picture.key, what)
        return ids
    for number in missing:
        picture = found.pictures[number]
        found.problem(picture.file, picture.key, f"{picture.names[0]!r} is missing, {where}")
    return ids


def _annotated(found: Found, ids: list[str], root: Path, unannotated: str | None) -> list[int]:
    """Return the numbers of the pictures that are there and annotated; a negative is one of them."""
    marked = {picture for picture, _ in found.labels} | found.marked
    kept, unclear = [], []
    for number, picture in enumerate(found.pictures):
        if not ids[number]:
            continue
        is_known = number in marked or picture.looked_at is not None
        if not is_known and unannotated is None:
            unclear.append(number)
        elif number in marked or picture.looked_at or (not is_known and unannotated == "negative"):
            kept.append(number)
        else:
            found.count("pictures without annotation are left out", picture.file, picture.key)
    if unclear:
        picture = found.pictures[unclear[0]]
        what = (
            f"{len(unclear)} of {len(ids)} pictures have no annotation, the first {picture.key} ({ids[unclear[0]]}): "
            "expected --unannotated (data.unannotated): negative, they show no class; or leave_out, nobody looked at "
            "them"
        )
        found.problems.append(Problem(root, 0, what))
    return kept + unclear


def _list(found: Found, folder: Path, ids: np.ndarray, kept: np.ndarray) -> Listing:
    """List the pictures with their labels, look at each, and lay their marks on them."""
    row_of = np.full(len(found.pictures), -1)
    row_of[kept] = np.arange(len(kept))
    labels = np.zeros((len(kept), len(found.class_names)), np.uint8)
    pairs = found.label_pairs
    pairs = pairs[row_of[pairs[:, 0]] >= 0]
    labels[row_of[pairs[:, 0]], pairs[:, 1]] = 1
    listing = Listing(
        root=folder,
        class_names=tuple(found.class_names),
        ids=ids,
        labels=labels,
        image_pattern="{id}",
        mask_pattern="",
        has_mask=np.zeros(labels.shape, bool),
        is_drawn=np.zeros(len(ids), bool),
        size=np.zeros((len(ids), 2), np.int32),
        **empty_boxes(),
    )
    headers, problems = look_at(
        range(len(ids)), listing.image_path, lambda row: check_header(listing.image_path(row))
    )
    found.problems += problems
    return with_marks(listing, found, kept, headers)


def _splits(found: Found, root: Path, kept: np.ndarray) -> np.ndarray:
    """Return the split of each picture: of the file, or of what it and its folders are called; empty without any."""
    named: dict[Path, str] = {}
    splits = []
    for number in kept.tolist():
        picture = found.pictures[number]
        if picture.file not in named:
            is_below = picture.file.is_relative_to(root) and picture.file != root
            named[picture.file] = split_of(picture.file.relative_to(root)) if is_below else ""
        splits.append(picture.split or named[picture.file])
    # one file, or files of one split, are divided as a folder without splits is
    is_divided = len(set(splits)) > 1 and "" not in splits
    return np.array(splits if is_divided else [""] * len(splits), dtype=str)
