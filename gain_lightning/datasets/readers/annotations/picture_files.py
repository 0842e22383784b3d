"""The pictures that annotations name are found below a folder, however the tool wrote their paths."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.readers.annotations.split_names import split_of
from gain_lightning.support.names import composed
from gain_lightning.support.walk import files_below


class _Index:
    """Pictures by what a path may say of them.

    Args:
        names: Their names.
        is_stem: Whether paths lack the suffix.
    """

    def __init__(self, names: list[str], *, is_stem: bool = False) -> None:
        self.by_text: dict[str, list[str]] = {}
        self.by_last: dict[str, list[str]] = {}
        self.shown: dict[str, list[str]] = {}
        for name in names:
            text = composed(name[: name.rfind(".")] if is_stem else name)
            self.shown[name] = text.split("/")
            self.by_text.setdefault(text, []).append(name)
            self.by_last.setdefault(self.shown[name][-1], []).append(name)


class PictureFiles:
    """The pictures below a folder.

    Args:
        folder: The folder.

    Attributes:
        folder: The folder.
        names: The names of the pictures relative to it, sorted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        start = len(str(folder).rstrip("/")) + 1
        self.names = [
            path.as_posix()[start:] for path in files_below(folder) if path.suffix.lower() in PICTURE_SUFFIXES
        ]
        self._starts: dict[Path, str] = {}
        self._whole, self._stems = _Index(self.names), _Index([])

    def find(self, written: str, beside: Path) -> list[str]:
        """Find the pictures that a written path may mean.

        A path that leads to a picture from the folder, or from that of the annotations, means it. Else the pictures
        that share the most of its end do, its last part at least, since data sets are moved about.

        Args:
            written: A path, absolute or relative, with either kind of slash; or an address, with its codes. It may lack
                the picture's suffix.
            beside: The folder that the annotations lie in.

        Returns:
            The names: none, one, or several that fit equally well.
        """
        start = self._start(beside)
        nearest: list[str] = []
        longest = 0
        for text in forms(written):
            parts = _parts(text)
            index = self._index(text)
            for path in ("/".join(_parts(f"{start}/{text}")), "/".join(parts)):
                if path in index.by_text:
                    return index.by_text[path]
            split = split_of(PurePosixPath(*parts[:-1], "x"))
            for name in index.by_last.get(parts[-1], ()) if parts else ():
                # the picture of another split may be called alike
                if split and split_of(PurePosixPath(name).parent / "x") not in ("", split):
                    continue
                shared = _shared_end(parts, index.shown[name])
                if shared > longest:
                    nearest, longest = [name], shared
                elif shared == longest and name not in nearest:
                    nearest.append(name)
        return nearest

    def _index(self, text: str) -> "_Index":
        """Return the pictures by their names, or without suffix for a path without a picture's suffix."""
        if text[text.rfind(".") :].lower() in PICTURE_SUFFIXES:
            return self._whole
        if self.names and not self._stems.by_text:
            self._stems = _Index(self.names, is_stem=True)
        return self._stems

    def _start(self, beside: Path) -> str:
        """Return the way from the folder to the annotations'."""
        if beside not in self._starts:
            is_below = beside.is_relative_to(self.folder)
            self._starts[beside] = beside.relative_to(self.folder).as_posix() if is_below else "."
        return self._starts[beside]


def forms(written: str) -> Iterator[str]:
    r"""Give the paths that a written path or address may stand for, the likeliest first.

    Example:
        >>> list(forms("a\\b 1.jpg")), list(forms("http://host/a/b%201.jpg?x=1"))
        (['a/b 1.jpg'], ['/a/b%201.jpg', '/a/b 1.jpg'])
        >>> list(forms("/data/local-files/?d=a/b%201.jpg"))[-1]
        'a/b 1.jpg'
    """
    text = composed(written.strip().replace("\\", "/"))
    plain = text
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        text = plain = urlsplit(text).path
        query = written
    else:
        query = text
    yield plain
    if "%" in plain:
        yield composed(unquote(plain).replace("\\", "/"))
    if "?" in query:
        # Label Studio serves local files so
        yield from (composed(path) for path in parse_qs(urlsplit(query).query).get("d", []))


def _parts(path: str) -> list[str]:
    """Take a path apart, without what leads upwards.

    Example:
        >>> _parts("C:/x/./y/../a.jpg")
        ['C:', 'x', 'a.jpg']
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _shared_end(parts: list[str], others: list[str]) -> int:
    """Count the parts that two paths have in common at their ends."""
    count = 0
    for one, other in zip(reversed(parts), reversed(others), strict=False):
        if one != other:
            break
        count += 1
    return count
