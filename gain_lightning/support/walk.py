"""Walk through a person's folders: the one way to the files of pictures, masks and maps.

What systems and programs leave behind in such folders (``.DS_Store``, ``._a.png``, ``.ipynb_checkpoints/``,
``Thumbs.db``, ``__MACOSX/``) is no file of theirs and is passed over, for every reader alike.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_LEFT_BEHIND = frozenset(  # beside all names that begin with a dot; any case
    (
        *("__macosx", "icon\r", "lost+found", "__pycache__", "@eadir", "#recycle"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    )
)
_HEAD = 1024  # bytes that tell text from data


def is_left_behind(name: str) -> bool:
    """Whether a file or folder of this name is a program's and not a person's.

    Example:
        >>> [is_left_behind(name) for name in ("._a.png", "Thumbs.db", "__MACOSX", "a.png")]
        [True, True, True, False]
    """
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def files_below(folder: Path, *, depth: int | None = None) -> list[Path]:
    """Every file in a folder and those below, sorted, but not what programs leave behind.

    Links to folders outside are followed, each folder once. Links to nothing are among the files, so that whoever
    reads them says so.

    Args:
        folder: Where to begin; its own name may be any.
        depth: How many levels of folders to enter; None enters all.

    Raises:
        OSError: If a folder cannot be read.
    """
    found = []
    for at, _, files in _walk(folder, depth):
        found += [path for name in files if (path := Path(at, name)).is_file() or path.is_symlink()]
    return sorted(found)


def folders_without(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Folders below ``folder`` that hold none of ``files`` at any level, sorted; those inside such a one are not named.

    Raises:
        OSError: If a folder cannot be read.
    """
    full = {folder}.union(*(path.parents for path in files))
    folders = [Path(at, name) for at, inside, _ in _walk(folder, None) for name in inside]
    return sorted(path for path in folders if path not in full and path.parent in full)


def _walk(folder: Path, depth: int | None) -> Iterator[tuple[str, list[str], list[str]]]:
    def refuse(error: OSError) -> None:
        raise error

    root = os.path.realpath(folder)
    seen = {root}
    for at, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        level = len(Path(at).relative_to(folder).parts)
        inside = []
        for name in folders if depth is None or level < depth else ():
            path = os.path.join(at, name)
            target = os.path.realpath(path)
            leads_back = os.path.islink(path) and (
                Path(target).is_relative_to(root) or Path(root).is_relative_to(target)
            )
            if not is_left_behind(name) and not leads_back and target not in seen:
                seen.add(target)
                inside.append(name)
        folders[:] = inside
        yield at, inside, [name for name in files if not is_left_behind(name)]


class Unread(NamedTuple):
    """Files of one kind that nobody reads.

    Attributes:
        first: The first of them.
        count: How many there are.
        is_text: Whether the first is text, and so no picture.
    """

    first: Path
    count: int
    is_text: bool

    def __str__(self) -> str:
        kind = self.first.suffix or "no ending"
        return f"1 file of {kind}" if self.count == 1 else f"{self.count} files of {kind}"


def group_unread(paths: Iterable[Path]) -> list[Unread]:
    """Unread files by their kind, which is the ending of their names in lower case.

    Example:
        >>> [str(kind) for kind in group_unread([Path("b.HEIC"), Path("a.heic"), Path("README")])]
        ['1 file of no ending', '2 files of .heic']
    """
    kinds: dict[str, list[Path]] = {}
    for path in sorted(paths):
        kinds.setdefault(path.suffix.lower(), []).append(path)
    return [Unread(files[0], len(files), _is_text(files[0])) for _, files in sorted(kinds.items())]


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:  # a link to nothing, or no right to read it: it may be a picture
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or len(head) < _HEAD:  # else a letter is cut at the end
            return False
    return b"\0" not in head
