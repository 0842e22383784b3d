"""Walk through a person's folders. All readers find the files of pictures, masks and maps this way.

Systems and programs leave files behind in such folders (``.DS_Store``, ``._a.png``, ``.ipynb_checkpoints/``,
``Thumbs.db``, ``__MACOSX/``). They are not the person's and are passed over, for every reader alike.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Names that programs leave behind, in upper or lower case, beside all names that begin with a dot.
_LEFT_BEHIND = frozenset(
    (
        *("__macosx", "icon\r", "lost+found", "__pycache__", "@eadir", "#recycle"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    )
)
# So many first bytes tell text from data.
_HEAD = 1024


def is_left_behind(name: str) -> bool:
    """Return whether a file or folder of this name is a program's and not a person's.

    Example:
        >>> [is_left_behind(name) for name in ("._a.png", "Thumbs.db", "__MACOSX", "a.png")]
        [True, True, True, False]
    """
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def files_below(folder: Path, *, depth: int | None = None) -> list[Path]:
    """Return every file in a folder and below it, sorted, except those that programs leave behind.

    Links to folders outside are followed, each folder once. Links to nothing are among the files, so that their
    reader reports them.

    Args:
        folder: The folder to begin with, whatever its name.
        depth: Number of levels of folders to enter; None enters all.

    Raises:
        OSError: If a folder cannot be read.
    """
    found = []
    for at, _, files in _walk(folder, depth):
        found += [path for name in files if (path := Path(at, name)).is_file() or path.is_symlink()]
    # as paths are sorted, but without a comparison of two at a time
    return sorted(found, key=lambda path: path.parts)


def folders_without(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the folders below ``folder`` that hold none of ``files`` at any level, sorted, but none inside another.

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
        first: The first file.
        num_files: The number of files.
        is_text: Whether the first is text, and so no picture.
    """

    first: Path
    num_files: int
    is_text: bool

    def __str__(self) -> str:
        kind = self.first.suffix or "no ending"
        return f"1 file of {kind}" if self.num_files == 1 else f"{self.num_files} files of {kind}"


def group_unread(paths: Iterable[Path]) -> list[Unread]:
    """Group unread files by their kind, which is the ending of their names in lower case.

    Example:
        >>> [str(kind) for kind in group_unread([Path("b.HEIC"), Path("a.heic"), Path("README")])]
        ['1 file of no ending', '2 files of .heic']
    """
    kinds: dict[str, list[Path]] = {}
    for path in sorted(paths):
        kinds.setdefault(path.suffix.lower(), []).append(path)
    return [Unread(files[0], len(files), _is_text(files[0])) for _, files in sorted(kinds.items())]


def _is_text(path: Path) -> bool:
    # A link to nothing, or a file that may not be read, may be a picture.
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A letter that is cut at the end of the head is no error.
        if error.start < len(head) - 3 or len(head) < _HEAD:
            return False
    return b"\0" not in head
