"""The pictures of a folder are found for ``gain predict``, without torch."""

import os
import re
from pathlib import Path, PurePath
from typing import NamedTuple

from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.support.files import read_text
from gain_lightning.support.names import composed, first_pair
from gain_lightning.support.walk import files_below, group_unread


class FoundPictures(NamedTuple):
    """The files that :func:`find_pictures` found.

    Attributes:
        paths: The pictures.
        unread: Files of kinds that are not read; empty with a list, which says what is meant.
    """

    paths: list[Path]
    unread: list[Path]


def find_pictures(folder: Path, out: Path | None = None, listed: Path | None = None) -> FoundPictures:
    """Find every picture below a folder.

    Args:
        folder: The folder, which is searched with all folders below it.
        out: A folder that is left out, should it lie below ``folder``.
        listed: A file of names, one a line, with or without ending, as VOC's lists are; other pictures are left out.

    Raises:
        FileNotFoundError: If there is no such folder or list, no picture, or not every one that is listed.
        ValueError: If two pictures would write to the same files.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--images {folder}: no such folder")
    files = files_below(folder)
    found = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    if out is not None:
        files = [path for path in files if not Path(os.path.realpath(path)).is_relative_to(out.resolve())]
    paths = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    unread = [path for path in files if path.suffix.lower() not in PICTURE_SUFFIXES]
    if found and not paths:
        raise ValueError(
            f"--out {out}: all {len(found)} pictures of --images {folder} lie below, expected it elsewhere"
        )
    if not paths:
        kinds = ", ".join(map(str, group_unread(unread)))
        raise FileNotFoundError(
            f"--images {folder}: no picture here, expected {' '.join(PICTURE_SUFFIXES)}"
            + (f"; got {kinds}" if kinds else "")
        )
    pair = first_pair(paths, lambda path: str(path.relative_to(folder).with_suffix("")))
    if pair is not None:
        raise ValueError(
            f"{pair[0]} and {pair[1]} have the same name, expected one: their maps would collide, if only on a "
            "disk that tells neither case nor Unicode forms"
        )
    if listed is not None:
        return FoundPictures(_listed(listed, {str(path.relative_to(folder)): path for path in paths}), [])
    return FoundPictures(paths, unread)


def refuse_used(out: Path) -> None:
    """Refuse a folder that holds the maps of an earlier call: those of this one would stand beside them.

    Raises:
        FileExistsError: If it does.
    """
    if (out / "predictions.csv").exists():
        raise FileExistsError(
            f"--out {out}: holds predictions.csv of an earlier call, expected a new folder: the maps would mix"
        )


def _listed(listing: Path, paths: dict[str, Path]) -> list[Path]:
    if not listing.is_file():
        raise FileNotFoundError(f"--list {listing}: no such file")
    by_name = {str(PurePath(name).with_suffix("")): path for name, path in paths.items()} | paths
    by_name = {composed(name): path for name, path in by_name.items()}
    lines = [composed(line.strip()) for line in read_text(listing).splitlines() if line.strip()]
    # a line of VOC's lists of a class has a number behind the name: name -1
    names = [line if line in by_name else re.sub(r"\s+(-1|0|1)$", "", line) for line in lines]
    missing = [name for name in names if name not in by_name]
    if missing:
        raise FileNotFoundError(
            f"--list {listing}: {len(missing)} of {len(names)} pictures are not there, the first {missing[0]}"
        )
    if not names:
        raise ValueError(f"--list {listing}: is empty")
    return list(dict.fromkeys(by_name[name] for name in names))
