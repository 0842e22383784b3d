"""Read files with errors that name them, and write files so that a kill leaves the old one or the new one."""

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
    """Write a file so that a kill at any moment leaves the old one or the new one. All files are written this way.

    The block writes to a part beside the file, and the part takes the file's place when the block ends. Two processes
    may write the same file, since the part's name has the process's number. :func:`remove_parts` removes the parts
    that kills leave.

    Args:
        path: The file; its folder is made if there is none.
        is_synced: Whether the part is brought to the disk first, so that it also outlives a machine that loses its
            power. That takes time and is meant for files that cannot be made again in a moment, such as checkpoints.

    Yields:
        The part to write to.

    Raises:
        OSError: If the file cannot be written; the error names it. The old file stays and the part is removed.

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
    """Remove the part of ``path`` if the block fails, and name ``path`` in the error if its disk failed."""
    part = _part_of(path)
    try:
        yield
    except BaseException as error:
        part.unlink(missing_ok=True)
        # An error that names another file, or has no number of the system's, does not come from this file's disk.
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_parts(folder: Path, name: str = "*") -> None:
    """Remove the parts of files that killed processes left in a folder that nobody else writes to now.

    Args:
        folder: The folder.
        name: A file's name, or a pattern of names: by default all in the folder; ``**/*`` are those below it too.
    """
    for left in folder.glob(f"{name}.*.part"):
        # A part has a process's number in its name. A browser's half download has none and stays.
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
    r"""A table that is written row by row, and that takes its place when it is whole.

    Until then its rows lie in a part beside it, so a kill at any moment leaves the old table or the new one.

    Args:
        path: The CSV file; its folder is made if there is none.

    Raises:
        OSError: If the table cannot be written; the error names it. The part is removed.

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
        """Add rows; the very first is the header."""
        with _whole_or_nothing(self.path):
            self._writer.writerows(rows)

    def finish(self) -> None:
        """Put the table in its place, as no more rows come."""
        with written_whole(self.path):
            self._file.close()

    def drop(self) -> None:
        """Drop the rows written so far; the old table stays."""
        # A full disk does not take the last rows.
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
    """Read text in UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8, or holds zeros, as UTF-16 does.
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
    """Read a JSON object; an empty one where there is no file.

    Raises:
        ValueError: If the file is not JSON, or no object.
    """
    if not path.is_file():
        return {}
    # Very many brackets inside brackets raise a RecursionError.
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object, but a {type(content).__name__}")
    return content


def csv_text(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV text."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()
