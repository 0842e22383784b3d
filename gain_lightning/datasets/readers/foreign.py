"""Annotations of other tools are recognised by the content of their files, and named."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from gain_lightning.support.walk import files_below, is_left_behind

# The first bytes of a file tell what it is.
_HEAD = 1 << 16
# So many files of one kind are opened in each folder.
_TRIED = 5
# Folders beside images/ are looked into as deep as this.
_DEPTH = 3


class _Tool(NamedTuple):
    """A tool is recognised by a pattern in the head of a file with one of its suffixes."""

    name: str
    suffixes: tuple[str, ...]
    pattern: str


# Such a number is a share of a picture's width or height.
_SHARE = r"(?:[01](?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?"
# The first tool that fits counts.
_TOOLS = (
    _Tool("a VIA project", (".json",), r'"_via_\w+"|"shape_attributes"|"region_attributes"|"vid_list"'),
    _Tool("a VIA table", (".csv",), r"region_shape_attributes|VGG Image Annotator|metadata_id,\s*file_list"),
    _Tool("LabelMe's JSON", (".json",), r'"image(Path|Data)"\s*:|"shapes"\s*:\s*\['),
    _Tool("Label Studio's JSON", (".json",), r'"from_name"\s*:|"data"\s*:\s*\{\s*"(image|img)"|"\w+labels"\s*:'),
    _Tool("CreateML's JSON", (".json",), r'"coordinates"\s*:\s*\{'),
    _Tool("Supervisely's JSON", (".json",), r'"class(Title|Id)"\s*:'),
    _Tool("a COCO file", (".json",), r'"(image_id|category_id|supercategory)"\s*:|"images"\s*:\s*\['),
    _Tool("a table of Hugging Face", (".jsonl", ".csv"), r'"file_name"\s*:|\Afile_name,'),
    _Tool("CVAT's XML", (".xml",), r"<annotations\b"),
    _Tool("XML of PASCAL VOC", (".xml",), r"<annotation\b"),
    _Tool("YOLO's list of classes", (".yaml", ".yml"), r"(?s)(?=.*^names\s*:)(?=.*^(train|val|path|nc)\s*:)"),
    _Tool("YOLO's labels", (".txt",), rf"\A\s*(\d+([ \t]+{_SHARE}){{4,}}[ \t]*\r?(\n\s*|\Z))+\Z"),
    _Tool("a table of boxes", (".csv",), r"\A[^\n]*\b(xmin|x_min|XMin|bbox)\b"),
)  # fmt: skip
_SUFFIXES = {suffix for tool in _TOOLS for suffix in tool.suffixes}


class Foreign(NamedTuple):
    """A file that looks like another tool's."""

    file: Path
    tool: str


def recognise(paths: Iterable[Path]) -> list[Foreign]:
    """Find out which tools' annotations are among some files; each tool is named once, by its first file.

    Args:
        paths: Any files; a few of each folder and kind are opened.
    """
    tried: dict[tuple[Path, str], int] = {}
    found: dict[str, Foreign] = {}
    for path in sorted(path for path in paths if path.suffix.lower() in _SUFFIXES):
        place = path.parent, path.suffix.lower()
        # an empty file may hold YOLO's labels of a picture that shows nothing
        if _is_empty(path):
            continue
        tried[place] = tried.get(place, 0) + 1
        if tried[place] <= _TRIED and (tool := tool_of(path)):
            found.setdefault(tool, Foreign(path, tool))
    return list(found.values())


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        # a link to nothing
        return True


def tool_of(path: Path) -> str | None:
    """Name the tool that a file looks like; None where it looks like none's."""
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        # a link to nothing, or a file that may not be read
        return None
    if len(head) == _HEAD:
        # whole lines, where there are lines
        head = head[: head.rfind(b"\n") + 1] or head
    text = head.decode("utf-8-sig", errors="replace")
    return next(
        (tool.name for tool in _TOOLS if suffix in tool.suffixes and re.search(tool.pattern, text, re.M)),
        None,
    )


def files_beside(root: Path, own: Iterable[str]) -> list[Path]:
    """List the files in ``root`` and in its folders, but for ``own``, which the data set's layout has.

    A folder that may not be read does not belong to the data set.
    """
    found, own = [], set(own)
    for entry in sorted(root.iterdir()):
        if entry.name in own or is_left_behind(entry.name):
            continue
        try:
            found += files_below(entry, depth=_DEPTH) if entry.is_dir() else [entry]
        except OSError:
            continue
    return found
