"""YOLO's labels: a file of text for every picture, with a box or an outline a line, in shares of the picture.

::

    data.yaml                         names: [boat, car] or {0: boat, 1: car}; train, val, test: folders or lists
    images/train/a.jpg                the pictures, and
    labels/train/a.txt                their labels; or both side by side
      0 0.5 0.5 0.25 0.1              class, centre x and y, width and height; or
      0 0.4 0.4 0.6 0.4 0.5 0.7       class, x and y of each point of an outline

Without ``data.yaml`` the classes are those of ``classes.txt`` or ``obj.names``, else numbers. A further number behind
a box is a confidence. With ``kpt_shape`` in ``data.yaml``, points of a pose follow the box and are passed over. A file
without a line says that its picture shows nothing; a picture without a file says nothing by itself.

Source: https://docs.ultralytics.com/datasets/segment and https://docs.ultralytics.com/datasets/detect.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.readers.annotations.found import Found
from gain_lightning.datasets.readers.annotations.split_names import split_of
from gain_lightning.datasets.readers.foreign import tool_of
from gain_lightning.support.files import read_text
from gain_lightning.support.walk import files_below
from gain_lightning.support.yaml_files import read_mapping

LABELS, SETTINGS = "YOLO's labels", "YOLO's list of classes"
_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
_LISTS_OF_NAMES = ("classes.txt", "obj.names", "labels/classes.txt")
# A box is a class, a centre and two sides; an outline is a class and three points at least.
_BOX, _OUTLINE = 5, 7
# Shares beyond this are other units.
_MOST = 2


class _Set(NamedTuple):
    """What ``data.yaml`` says.

    Attributes:
        folder: The folder of the set.
        names: The names of the classes by their numbers; empty where nothing names them.
        is_pose: Whether points of a pose follow each box.
        places: The folders and the stems of pictures that are in each split.
    """

    folder: Path
    names: dict[int, str]
    is_pose: bool
    places: dict[str, tuple[set[Path], set[str]]]


def parse(files: list[Path], found: Found) -> None:
    """Read the labels of a set, which ``data.yaml`` or its folder names; or one file of labels."""
    root = found.root
    is_one = root.is_file() and root.suffix.lower() == ".txt"
    try:
        one = _read_set(root)
    except ValueError as error:
        found.problem(root, "", str(error))
        return
    for number in sorted(one.names):
        found.class_idx(one.names[number])
    listed = {path for places in one.places.values() for path in places[0]}
    for file in files if is_one else files_below(one.folder):
        if file.suffix.lower() != ".txt" or file in listed or not (is_one or _is_labels(file, one.folder)):
            continue
        try:
            lines = read_text(file).splitlines()
        except (OSError, ValueError) as error:
            found.problem(file, "", str(error).removeprefix(f"{file}: "))
            continue
        below = PurePosixPath(file.relative_to(one.folder).as_posix())
        names = dict.fromkeys((_beside_images(below), str(below.with_suffix(""))))
        picture = found.picture(*names, file=file, split=_split(file, one), looked_at=True)
        for number, line in enumerate(lines, start=1):
            if line.strip():
                _read_line(line, f"line {number}", picture, one, found)
    if not one.names:
        found.sort_classes()


def _read_set(root: Path) -> _Set:
    """Read ``data.yaml``, or what stands in its place."""
    folder = root if root.is_dir() else root.parent
    path = root if root.suffix.lower() in (".yaml", ".yml") and root.is_file() else None
    if path is None:
        found = [one for one in sorted(folder.glob("*.y*ml")) if tool_of(one) == SETTINGS]
        path = found[0] if found else None
    if path is None:
        lists = [folder / name for name in _LISTS_OF_NAMES if (folder / name).is_file()]
        lines = read_text(lists[0]).splitlines() if lists else []
        return _Set(folder, dict(enumerate(line.strip() for line in lines if line.strip())), False, {})
    settings = read_mapping(read_text(path))
    # the path may be that of another machine
    moved = path.parent / str(settings.get("path") or "")
    return _Set(
        moved if root == path and moved.is_dir() else path.parent,
        _names(settings.get("names")),
        "kpt_shape" in settings,
        _places(settings, moved if moved.is_dir() else path.parent),
    )


def _names(names: Any) -> dict[int, str]:
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, Mapping) and all(isinstance(number, int) for number in names):
        return {number: str(name) for number, name in names.items()}
    raise ValueError(f"names: {names!r}, expected a list, or names by number")


def _places(settings: Mapping[str, Any], folder: Path) -> dict[str, tuple[set[Path], set[str]]]:
    """Find the folders and stems of each split; none where two splits have a folder in common."""
    places: dict[str, tuple[set[Path], set[str]]] = {}
    for key, split in _SPLITS.items():
        entries = settings.get(key) or []
        folders, stems = places.setdefault(split, (set(), set()))
        for entry in [entries] if isinstance(entries, str) else entries if isinstance(entries, list) else []:
            # Roboflow writes ../train/images for a folder beside data.yaml
            tries = [folder / str(entry), folder / str(entry).removeprefix("../")]
            path = next((path.resolve() for path in tries if path.exists()), None)
            if path is not None and path.is_file():
                folders.add(path)
                stems |= {
                    PurePosixPath(line.strip().replace("\\", "/")).stem
                    for line in read_text(path).splitlines()
                }
            elif path is not None:
                folders.add(path)
    sets = [folders for folders, _ in places.values() if folders]
    return places if sum(map(len, sets)) == len(set().union(*sets)) else {}


def _is_labels(file: Path, folder: Path) -> bool:
    """Tell whether a text holds labels: it looks so, or lies where labels do."""
    if file.relative_to(folder).as_posix() in _LISTS_OF_NAMES:
        return False
    beside = (file.with_suffix(suffix) for suffix in PICTURE_SUFFIXES)
    return (
        "labels" in file.relative_to(folder).parts
        or tool_of(file) == LABELS
        or any(path.is_file() for path in beside)
    )


def _beside_images(below: PurePosixPath) -> str:
    """Return where the picture of a file of labels lies, without its suffix: ``labels`` becomes ``images``.

    Example:
        >>> _beside_images(PurePosixPath("labels/train/a.txt"))
        'images/train/a'
    """
    parts = list(below.with_suffix("").parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == "labels":
            parts[place] = "images"
            break
    return "/".join(parts)


def _split(file: Path, one: _Set) -> str:
    """Return the split of a file of labels."""
    own = file.resolve()
    pictures = Path(
        one.folder.resolve(), _beside_images(PurePosixPath(file.relative_to(one.folder).as_posix()))
    )
    for split, (folders, stems) in one.places.items():
        if file.stem in stems or folders & {*own.parents, *pictures.parents}:
            return split
    return split_of(file.relative_to(one.folder).parent / "x")


def _read_line(line: str, key: str, picture: int, one: _Set, found: Found) -> None:
    """Add a box or an outline."""
    file = found.pictures[picture].file
    try:
        number, *values = map(float, line.split())
    except ValueError as error:
        found.problem(file, key, f"{error}, expected numbers")
        return
    count = len(values) + 1
    if not number.is_integer() or number < 0 or (one.names and int(number) not in one.names):
        known = ", ".join(f"{idx} {name}" for idx, name in one.names.items())
        found.problem(file, key, f"class {number:g}, expected one of {known or '0, 1, ...'}")
    elif not all(abs(value) <= _MOST for value in values):
        found.problem(file, key, "numbers beyond the picture, expected shares of its width and height")
    elif one.is_pose or count in (_BOX, _BOX + 1):
        if count < _BOX:
            found.problem(file, key, f"{count} numbers, expected class, x, y, width, height")
            return
        x, y, width, height = values[:4]
        name = one.names.get(int(number), str(int(number)))
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.mark(picture, name, key=key, box=box)
    elif count < _OUTLINE or count % 2 == 0:
        found.problem(
            file, key, f"{count} numbers, expected class, x, y, width, height, or the points of an outline"
        )
    else:
        name = one.names.get(int(number), str(int(number)))
        along_x, along_y = values[::2], values[1::2]
        around = (min(along_x), min(along_y), max(along_x), max(along_y))
        found.mark(picture, name, key=key, rings=[values], box=around)
