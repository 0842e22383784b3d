"""Files: read with an error that names the file, written so that a kill leaves the old one or the new one."""

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


@contextlib.contextmanager
def written_whole(path: Path, *, is_synced: bool = False) -> Iterator[Path]:
    """Write a file so that a kill at any moment leaves the old one or the new one: the one way for all files.

    The block writes to a part beside the file, which takes its place when the block ends. Two processes may write the
    same file, since the part's name has the process's number. What a kill leaves of it, :func:`remove_parts` removes.

    Args:
        path: The file; its folder is made if there is none.
        is_synced: Bring the part to the disk first, so that it also outlives a machine that loses its power. That
            takes time, and is for what cannot be made again in a moment: checkpoints.

    Yields:
        The part to write to.

    Raises:
        OSError: If it cannot be written, with the file's name; the old file stays and the part is removed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "a", "note.txt")
        >>> with written_whole(path) as part:
        ...     num_characters = part.write_text("whole")
        >>> path.read_text(), [file.name for file in path.parent.iterdir()]
        ('whole', ['note.txt'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    with _whole_or_nothing(path):
        yield part
        if is_synced:
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(part, path)


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.part")


@contextlib.contextmanager
def _whole_or_nothing(path: Path) -> Iterator[None]:
    """Remove the part of ``path`` if the block fails, and name ``path`` where the disk is what failed."""
    part = _part_of(path)
    try:
        yield
    except BaseException as error:
        part.unlink(missing_ok=True)
        # an error that names another file, or has no number of the system's, is none of this file's disk
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_parts(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left of files in a folder that nobody else writes to now.

    Args:
        folder: The folder.
        name: The file, or a pattern of files: all in the folder by default, ``**/*`` also those below it.
    """
    for left in folder.glob(f"{name}.*.part"):
        # parts have a process's number, so a browser's half download is none
        if re.search(r"\.(rank)?\d+\.part$", left.name):
            left.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file by :func:`written_whole`."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object by :func:`written_whole`, as :func:`read_json` reads it."""
    write_atomically(path, json.dumps(content, indent=1) + "\n")


class WholeTable:
    r"""A table that is written as its rows come, and that is there as soon as it is whole.

    Until then its rows lie in a part beside it: a kill at any moment leaves the old table or the new one.

    Args:
        path: The CSV file; its folder is made if there is none.

    Raises:
        OSError: If it cannot be written, with its name; the part is removed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "table.csv")
        >>> with WholeTable(path) as table:
        ...     table.write([["image", "score"], ["cat.jpg", 0.5]])
        >>> path.read_text()
        'image,score\ncat.jpg,0.5\n'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = _part_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _whole_or_nothing(path):
            self._file = self.part.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, rows: Iterable[Iterable[Any]]) -> None:
        """Add rows; the header is the first."""
        with _whole_or_nothing(self.path):
            self._writer.writerows(rows)

    def finish(self) -> None:
        """No more rows come: the table takes its place."""
        with written_whole(self.path):
            self._file.close()

    def drop(self) -> None:
        """What there is of the table is worth nothing: the old one stays."""
        # a full disk takes no last rows
        with contextlib.suppress(OSError):
            self._file.close()
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> "WholeTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish() if kind is None else self.drop()


def read_text(path: Path) -> str:
    """Text in UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8; UTF-16 is told by its zeros, too.
    """
    expected = "expected it saved as UTF-8"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}), {expected}") from error
    if "\0" in text:
        raise ValueError(f"{path}: not UTF-8 text (a zero at character {text.index(chr(0))}), {expected}")
    return text


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no file.

    Raises:
        ValueError: If it is not JSON, or no object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:  # the latter of brackets in brackets without end
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object, but a {type(content).__name__}")
    return content


def csv_text(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()
