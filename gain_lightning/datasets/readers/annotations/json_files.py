"""JSON of annotation tools is parsed into what it must be; what it is instead becomes an error with its key."""

from pathlib import Path
from typing import TypeVar

import msgspec

Kind = TypeVar("Kind")
# Some tools write a byte order mark.
_MARK = b"\xef\xbb\xbf"


def read_json(file: Path, kind: type[Kind]) -> Kind:
    """Parse a file of JSON.

    Args:
        file: The file.
        kind: What it must hold, such as a ``msgspec.Struct``; further keys are passed over.

    Raises:
        ValueError: If it is no JSON or something else; the error names the key.
    """
    return parse_json(file.read_bytes().removeprefix(_MARK), kind)


def parse_json(text: bytes | msgspec.Raw, kind: type[Kind], key: str = "") -> Kind:
    """Parse a text of JSON that stands at a key of a file; see :func:`read_json`.

    Example:
        >>> parse_json(b"[1, 2]", list[int])
        [1, 2]
        >>> parse_json(b'[1, "2"]', list[int], "counts")
        Traceback (most recent call last):
        ValueError: counts[1]: Expected `int`, got `str`
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what, _, place = str(error).partition(" - at `$")
        place = key + place.removesuffix("`") if place else key
        raise ValueError(f"{place.lstrip('.')}: {what}" if place else what) from error
