"""The files below ``masks/`` are matched with the pictures that they are the masks of."""

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.readers.folder.layout import report_unread
from gain_lightning.support.names import composed, difference, look_of
from gain_lightning.support.walk import files_below, folders_without


class _Layout(NamedTuple):
    """The folders that masks lie in.

    Attributes:
        class_folders: The folder of each class's masks; empty where masks are of class indices.
        not_folders: The folder of the masks that say where each class is not; empty as above.
    """

    class_folders: tuple[str, ...]
    not_folders: tuple[str, ...]

    @property
    def by_class(self) -> bool:
        """Whether each class has a folder of its own."""
        return bool(self.class_folders)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the classes' masks, then those of the masks that say where classes are not."""
        return self.class_folders + self.not_folders

    def names(self, stem: str) -> list[str]:
        """List the mask files that a picture may have, with folders of classes in the order of ``folders``."""
        return [f"{folder}/{stem}.png" for folder in self.folders] if self.by_class else [f"{stem}.png"]


def find_masks(
    folder: Path,
    ids: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    problems: list[Problem],
    notes: list[str],
) -> dict[str, Any]:
    """Find out which pictures have masks, and of which kind.

    Args:
        folder: ``masks/``, which need not be there.
        ids: The names of the n pictures.
        labels: Their labels, ``(n, C)``.
        class_names: The names of the C classes.
        problems: What is wrong is added here, such as a mask of no picture.
        notes: What may not be meant is added here.

    Returns:
        The fields of a :class:`~gain_lightning.datasets.listing.Listing` that say where masks are.
    """
    paths = files_below(folder) if folder.is_dir() else []
    files = {path.relative_to(folder).as_posix() for path in paths if path.suffix == ".png"}
    expected = "masks are PNG files, their names end in .png"
    report_unread([path for path in paths if path.suffix != ".png"], expected, True, problems, notes)
    stems = [str(PurePosixPath(image_id).with_suffix("")) for image_id in ids.tolist()]
    folders = _outer_folders(folder, files, problems)
    layout = _layout(folders, files, stems, class_names)
    if folder.is_dir():
        _report_empty_folders(folder, paths, class_names, problems, notes)
    has_mask, has_not = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    is_drawn = np.zeros(len(ids), bool)
    used: dict[str, str] = {}
    for row, stem in enumerate(stems):
        for place, name in enumerate(layout.names(stem)):
            if name not in files:
                continue
            if name in used:
                what = f"{ids[row]} is a duplicate of {used[name]}: both would have the mask {name}"
                problems.append(Problem(folder.parent / "images" / str(ids[row]), 0, what))
                continue
            used[name] = str(ids[row])
            is_drawn[row] = True
            if layout.by_class:
                kind, class_idx = divmod(place, len(class_names))
                (has_mask, has_not)[kind][row, class_idx] = True
            else:
                has_mask[row] = labels[row] > 0
    problems += _unused(folder, files - set(used), layout, folders, stems, class_names)
    return {
        "mask_pattern": "masks/{class_name}/{stem}.png" if layout.by_class else "masks/{stem}.png",
        "has_mask": has_mask,
        "is_drawn": is_drawn,
        "mask_folders": layout.class_folders,
        "has_not": has_not if has_not.any() else None,
        "not_folders": layout.not_folders,
    }


def _outer_folders(folder: Path, files: set[str], problems: list[Problem]) -> dict[str, str]:
    """List the folders right below ``masks/`` as they are called on the disk, by their composed names."""
    folders: dict[str, str] = {}
    for name in sorted({name.split("/")[0] for name in files if "/" in name}):
        other = folders.setdefault(composed(name.strip()), name)
        if other != name:
            what = f"a second folder of this class, {difference(name, other)}: expected one"
            problems.append(Problem(folder / name, 0, what))
    return folders


def _layout(
    folders: dict[str, str], files: set[str], stems: list[str], class_names: tuple[str, ...]
) -> _Layout:
    """Find out whether masks lie in a folder for each class, and what these folders are called."""
    meant = {look_of(text) for name in class_names for text in (name, f"not {name}")}
    # pictures may lie in folders of their classes, and then their masks of indices do, too
    beside_pictures = any(f"{stem}.png" in files for stem in stems)
    if beside_pictures or not {look_of(name) for name in folders} & meant:
        return _Layout((), ())
    # "not cat" may be a class of its own: then nothing says where cats are not
    not_names = ["" if f"not {name}" in class_names else f"not {name}" for name in class_names]
    return _Layout(
        tuple(folders.get(name, name) for name in class_names),
        tuple(folders.get(name, name) for name in not_names),
    )


def _report_empty_folders(
    folder: Path, paths: list[Path], class_names: tuple[str, ...], problems: list[Problem], notes: list[str]
) -> None:
    for path in folders_without(folder, paths):
        if path.suffix == ".png":
            problems.append(Problem(path, 0, "a folder, expected a mask"))
        elif path.parent == folder and composed(path.name.strip()) in class_names:
            notes.append(f"{path} holds no mask: nobody drew this class")


def _unused(
    folder: Path,
    unused: set[str],
    layout: _Layout,
    folders: dict[str, str],
    stems: list[str],
    class_names: tuple[str, ...],
) -> list[Problem]:
    """Find folders of no class, and masks of no picture."""
    problems = []
    if layout.by_class:
        for name in sorted(set(folders.values()) - set(layout.folders)):
            what = f"unknown class {name!r}, expected one of {', '.join(class_names)}"
            problems.append(Problem(folder / name, 0, what))
        unused = {name for name in unused if name.split("/")[0] in layout.folders}
    alike = {look_of(stem): stem for stem in stems} if unused else {}
    for name in sorted(unused):
        stem = name.removesuffix(".png").partition("/")[2] if layout.by_class else name.removesuffix(".png")
        other = alike.get(look_of(stem), stem)
        what = "a mask of none of the labelled pictures"
        if other != stem:
            what += f"; that of {other} is called so {difference(stem, other)}"
        problems.append(Problem(folder / name, 0, what))
    return problems
