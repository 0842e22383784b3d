"""Folders of pictures whose names are classes, for who has no ``labels.csv``."""

import re
from pathlib import Path

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.images import PICTURE_SUFFIXES
from gain_lightning.datasets.tables import Row
from gain_lightning.names import composed
from gain_lightning.walk import folders_without

_SPLIT = re.compile(  # train, val2017, 0_test, training_set
    r"\d*[_ -]?(train|training|trainval|val|valid|validation|dev|eval|test|testing|fold\d+)"
    r"([_ -]?(set|data|images|split|\d+))?",
    re.IGNORECASE,
)


def read_class_folders(
    images: Path, pictures: list[str], problems: list[Problem], notes: list[str]
) -> list[Row]:
    """A row for every picture: its class is the folder that it lies in."""
    rows = []
    for filename in pictures:
        if "/" not in filename:
            what = "lies in no class's folder, and there is no labels.csv"
            problems.append(Problem(images / filename, 0, what))
        else:
            name = composed(filename.split("/")[0].strip())
            rows.append(Row(images / filename, 0, filename, {name: 1}, ""))
    for path in folders_without(images, [images / name for name in pictures]):
        if path.parent == images:
            what = "holds no picture, so it would be no class: expected pictures, or no such folder"
            problems.append(Problem(path, 0, what))
    if not rows and not problems:
        raise FileNotFoundError(f"{images}: holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    _check_for_splits(images, pictures, problems, notes)
    return rows


def _check_for_splits(images: Path, pictures: list[str], problems: list[Problem], notes: list[str]) -> None:
    """Folders named like splits, above or below those of classes, which are no splits without a table."""
    parts = [name.split("/")[:-1] for name in pictures]
    for level in (0, 1):
        names = sorted({folders[level] for folders in parts if len(folders) > level})
        splits = [name for name in names if _SPLIT.fullmatch(name)]
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
