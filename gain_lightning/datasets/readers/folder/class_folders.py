"""Without ``labels.csv`` the class of a picture is the folder that it lies in."""

import re
from pathlib import Path

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.readers.folder.tables import Row
from gain_lightning.support.names import composed
from gain_lightning.support.walk import folders_without

# Folders of splits are called so: train, val2017, 0_test, training_set.
_SPLIT = re.compile(
    r"\d*[_ -]?(train|training|trainval|val|valid|validation|dev|eval|evaluation|test|testing|holdout|fold[_ -]?\d+)"
    r"([_ -]?(set|data|images|split|\d+))?",
    re.IGNORECASE,
)
_WORDS = {"train", "training", "trainval", "val", "valid", "validation", "test", "testing", "fold"}


def read_class_folders(
    images: Path, pictures: list[str], problems: list[Problem], notes: list[str]
) -> list[Row]:
    """Make a row for every picture; its class is the folder that it lies in."""
    rows = []
    for filename in pictures:
        if "/" not in filename:
            what = "lies in no class's folder, and there is no labels.csv"
            problems.append(Problem(images / filename, 0, what))
        else:
            name = composed(filename.split("/")[0].strip())
            rows.append(Row(images / filename, 0, filename, {name: 1}, "", {}))
    for path in folders_without(images, [images / name for name in pictures]):
        if path.parent == images:
            what = "holds no picture, so it would be no class: expected pictures, or no such folder"
            problems.append(Problem(path, 0, what))
    if not rows and not problems:
        raise FileNotFoundError(f"{images}: holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    _check_for_splits(images, pictures, problems, notes)
    return rows


def _is_split(name: str, *, holds_folders: bool) -> bool:
    """Tell whether a folder is called like a split; one that holds folders may have other words beside the split's.

    Example:
        >>> [_is_split(name, holds_folders=True) for name in ("val2017", "seg_train", "trainA", "train (1)", "trainer")]
        [True, True, True, True, False]
        >>> _is_split("test_tube", holds_folders=False)
        False
    """
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return bool(_SPLIT.fullmatch(name) or (holds_folders and words & _WORDS))


def _check_for_splits(images: Path, pictures: list[str], problems: list[Problem], notes: list[str]) -> None:
    """Find folders named like splits, above or below those of classes; without a table they are no splits."""
    parts = [name.split("/")[:-1] for name in pictures]
    for level in (0, 1):
        names = sorted({folders[level] for folders in parts if len(folders) > level})
        holds_folders = level == 1 or all(len(folders) > 1 for folders in parts)
        splits = [name for name in names if _is_split(name, holds_folders=holds_folders)]
        if len(splits) > 1 or (splits and splits == names):
            first = next(
                name
                for name, folders in zip(pictures, parts, strict=True)
                if folders[level:] and folders[level] in splits
            )
            folders = [*first.split("/")[:-1], "CLASS"]
            row = f"{first},{folders[1 - level]},{folders[level]}"
            what = (
                f"{', '.join(splits)} are names of splits, but folders are classes: expected images/CLASS/, or "
                f"labels.csv with the header filename,classes,split and rows such as {row}"
            )
            problems.append(Problem(images / Path(*folders[: level + 1]), 0, what))
        elif splits and level == 0 and all(len(folders) > 1 for folders in parts if folders[:1] == splits):
            notes.append(f"{splits[0]!r} is a class here and no split: splits are written into labels.csv")
        elif level == 0 and (below := _common_folders(parts)):
            notes.append(
                f"each of {', '.join(names)} holds the folders {', '.join(below)}: the outer ones are the classes here"
            )


def _common_folders(parts: list[list[str]]) -> list[str]:
    """Name the folders that lie below each of several outermost folders, if these all hold the same ones.

    Example:
        >>> _common_folders([["a", "cat"], ["a", "dog"], ["b", "cat"], ["b", "dog"]])
        ['cat', 'dog']
        >>> _common_folders([["cat", "indoors"], ["dog", "outdoors"]])
        []
    """
    below: dict[str, set[str]] = {}
    for folders in parts:
        below.setdefault(folders[0] if folders else "", set()).add(folders[1] if len(folders) > 1 else "")
    first, *others = below.values()
    is_common = others and all(names == first for names in others) and len(first) > 1 and "" not in first
    return sorted(first) if is_common else []
