"""Text files: read with an error that names the file, written so that a kill leaves the old one or the new one."""

import contextlib
import csv
import errno
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

MEANS_TAKEN = (errno.EACCES, errno.EAGAIN)  # of a lock, that another has it; any other error is a failure


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a kill at any moment leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes may write the same file
    try:
        part.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(part, path)
    except OSError as error:  # a full disk
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


class WholeTable:
    r"""A table that is written as its rows come, and that is there as soon as it is whole.

    Until then its rows lie in a part beside it: a kill at any moment leaves the old table or the new one.

    Args:
        path: Of the CSV file.

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
        self.part = path.with_name(f"{path.name}.{os.getpid()}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._checked():
            self._file = self.part.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, rows: Iterable[Iterable[Any]]) -> None:
        """Add rows; the header is the first."""
        with self._checked():
            self._writer.writerows(rows)

    def finish(self) -> None:
        """No more rows come: the table takes its place."""
        with self._checked():
            self._file.close()
            os.replace(self.part, self.path)

    def drop(self) -> None:
        """What there is of the table is worth nothing: the old one stays."""
        with contextlib.suppress(OSError):  # a full disk takes no last rows
            self._file.close()
        self.part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # a full disk
            self.part.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(self.path)) from error

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
