"""Text files: read with an error that names the file, written so that a kill leaves the old one or the new one."""

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


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


def read_text(path: Path) -> str:
    """Text in UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error


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
