"""The layout of a folder is checked: what must be there, what is almost right, and what nobody reads.

Every function appends to ``problems`` what is wrong, and to ``notes`` what may not be meant.
"""

import difflib
import os
from pathlib import Path
from typing import NamedTuple

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.readers.foreign import files_beside, recognise
from gain_lightning.support.names import composed
from gain_lightning.support.walk import files_below, group_unread, is_left_behind

# The folder holds these; images/ must be there.
_LAYOUT = {
    "images": "folder",
    "labels.csv": "file",
    "classes.txt": "file",
    "boxes.csv": "file",
    "masks": "folder",
}
_TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".data", ".names")
_EXPECTED = "expected labels.csv beside images/, and masks/ or boxes.csv, as data/README.md says"


class PictureFiles(NamedTuple):
    """The files below ``images/``.

    Attributes:
        pictures: The names of the pictures, relative to ``images/``.
        unread: The files that are no pictures.
        by_text: The name on the disk of each picture by its composed name, and by itself.
    """

    pictures: list[str]
    unread: list[Path]
    by_text: dict[str, str]

    @classmethod
    def below(cls, folder: Path) -> "PictureFiles":
        """Find the files below a folder."""
        files = files_below(folder)
        pictures = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
        names = [path.relative_to(folder).as_posix() for path in pictures]
        unread = [path for path in files if path.suffix.lower() not in PICTURE_SUFFIXES]
        return cls(names, unread, {composed(name): name for name in names} | {name: name for name in names})

    def name_on_disk(self, name: str) -> str:
        """Return the name on the disk of a name that a table may write in another Unicode form."""
        return self.by_text.get(name) or self.by_text.get(composed(name), name)


def check_layout(root: Path, problems: list[Problem], notes: list[str]) -> None:
    """Look at the folder itself: what must be there, which names are almost right, and what is not read."""
    if not (root / "images").is_dir():
        raise FileNotFoundError(
            f"{root}: no folder of pictures here, expected {root / 'images'}{_hint_of(root)}"
        )
    for name, kind in _LAYOUT.items():
        path = root / name
        if os.path.lexists(path) and not (path.is_dir() if kind == "folder" else path.is_file()):
            raise ValueError(
                f"{path}: expected a {kind}" + ("" if path.exists() else ", but it links to nothing")
            )
    missing = [name for name in _LAYOUT if not (root / name).exists()]
    unread = []
    for entry in sorted(root.iterdir()):
        if entry.name in _LAYOUT or is_left_behind(entry.name):
            continue
        near = [name for name in missing if Path(name).stem == entry.stem.lower()]
        near = near or difflib.get_close_matches(entry.name.lower(), missing, 1, cutoff=0.8)
        if near:
            what = f"not read: is it {near[0]}? expected that name, letter by letter"
            problems.append(Problem(entry, 0, what))
        elif entry.is_dir() or not _is_prose(entry):
            unread.append(entry.name)
    if unread:
        more = f" and {len(unread) - 5} more" if len(unread) > 5 else ""
        notes.append(f"not read, beside images/: {', '.join(unread[:5])}{more}")


def _is_prose(path: Path) -> bool:
    """Tell whether a file is written for people alone, unlike tables and whatever else may hold labels."""
    is_named_so = path.stem.lower() in ("readme", "license", "licence", "copying", "notes")
    return (is_named_so or path.suffix.lower() not in _TABLES) and group_unread([path])[0].is_text


def _hint_of(root: Path) -> str:
    """Say what a folder without ``images/`` may be instead."""
    if not root.is_dir():
        return ""
    beside = files_beside(root, ())
    foreign = recognise(beside)
    if foreign:
        return f"; {foreign[0].file} looks like {foreign[0].tool}, which is not read: {_EXPECTED}"
    pictures = [path.relative_to(root) for path in beside if path.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        return ""
    return f"; {len(pictures)} pictures lie elsewhere, the first {root / pictures[0]}: move them into images/"


def report_foreign(root: Path, files: PictureFiles, problems: list[Problem], notes: list[str]) -> None:
    """Report annotations of other tools; they are a problem where the folder itself lacks labels."""
    in_masks = files_below(root / "masks") if (root / "masks").is_dir() else []
    is_ours = (root / "labels.csv").is_file()
    no_masks = [path for path in in_masks if path.suffix != ".png"]
    for file, tool in recognise([*files_beside(root, _LAYOUT), *files.unread, *no_masks]):
        if is_ours:
            notes.append(f"{file} looks like {tool}, which is not read")
        else:
            problems.append(Problem(file, 0, f"looks like {tool}, which is not read: {_EXPECTED}"))


def report_unread(
    paths: list[Path], expected: str, are_problems: bool, problems: list[Problem], notes: list[str]
) -> None:
    """Report files of kinds that nobody reads, one line a kind; text is no picture and never a problem."""
    for kind in group_unread(paths):
        if are_problems and not kind.is_text:
            problems.append(Problem(kind.first, 0, f"not read: {expected} ({kind}, this is the first)"))
        else:
            notes.append(f"not read: {kind}, the first {kind.first}")
