"""Which files below ``masks/`` are the masks of which pictures."""

from pathlib import Path, PurePosixPath

import numpy as np

from gain_lightning.datasets.check import Problem
from gain_lightning.datasets.readers.folder.layout import report_unread
from gain_lightning.support.names import composed, difference, look_of
from gain_lightning.support.walk import files_below, folders_without


def find_masks(
    folder: Path,
    ids: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    problems: list[Problem],
    notes: list[str],
) -> dict[str, object]:
    """Which pictures have masks, of which kind; a mask of no picture is a problem."""
    paths = files_below(folder) if folder.is_dir() else []
    files = {path.relative_to(folder).as_posix() for path in paths if path.suffix == ".png"}
    expected = "masks are PNG files, their names end in .png"
    report_unread([path for path in paths if path.suffix != ".png"], expected, True, problems, notes)
    folders: dict[str, str] = {}  # of each class, as on the disk
    for name in sorted({name.split("/")[0] for name in files if "/" in name}):
        other = folders.setdefault(composed(name.strip()), name)
        if other != name:
            what = f"a second folder of this class, {difference(name, other)}: expected one"
            problems.append(Problem(folder / name, 0, what))
    of_class = {look_of(text) for name in class_names for text in (name, f"not {name}")}
    by_class = bool({look_of(name) for name in folders} & of_class)
    stems = [str(PurePosixPath(image_id).with_suffix("")) for image_id in ids.tolist()]
    if by_class and any(f"{stem}.png" in files for stem in stems):
        by_class = False  # pictures lie in folders of their classes, and so do their masks of indices
    mask_folders = tuple(folders.get(name, name) for name in class_names) if by_class else ()
    not_names = [
        "" if f"not {name}" in class_names else f"not {name}" for name in class_names
    ]  # a class of its own
    not_folders = tuple(folders.get(name, name) for name in not_names) if by_class else ()
    for path in folders_without(folder, paths) if folder.is_dir() else ():
        if path.suffix == ".png":
            problems.append(Problem(path, 0, "a folder, expected a mask"))
        elif path.parent == folder and composed(path.name.strip()) in class_names:
            notes.append(f"{path} holds no mask: nobody drew this class")
    has_mask, has_not = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    is_drawn = np.zeros(len(ids), bool)
    used: dict[str, str] = {}
    for row, stem in enumerate(stems):
        names = [f"{name}/{stem}.png" for name in mask_folders + not_folders] if by_class else [f"{stem}.png"]
        for place, name in enumerate(names):
            if name not in files:
                continue
            if name in used:
                what = f"{ids[row]} is a duplicate of {used[name]}: both would have the mask {name}"
                problems.append(Problem(folder.parent / "images" / str(ids[row]), 0, what))
                continue
            used[name] = str(ids[row])
            is_drawn[row] = True
            if by_class:
                kind, class_idx = divmod(place, len(class_names))
                (has_mask, has_not)[kind][row, class_idx] = True
            else:
                has_mask[row] = labels[row] > 0
    unused = sorted(files - set(used))
    if by_class:
        for name in sorted(set(folders.values()) - set(mask_folders) - set(not_folders)):
            what = f"unknown class {name!r}, expected one of {', '.join(class_names)}"
            problems.append(Problem(folder / name, 0, what))
        unused = [name for name in unused if name.split("/")[0] in mask_folders + not_folders]
    alike = {look_of(stem): stem for stem in stems} if unused else {}
    for name in unused:
        stem = name.removesuffix(".png").partition("/")[2] if by_class else name.removesuffix(".png")
        other = alike.get(look_of(stem), stem)
        what = "a mask of none of the labelled pictures"
        if other != stem:
            what += f"; that of {other} is called so {difference(stem, other)}"
        problems.append(Problem(folder / name, 0, what))
    pattern = "masks/{class_name}/{stem}.png" if by_class else "masks/{stem}.png"
    return {
        "mask_pattern": pattern,
        "has_mask": has_mask,
        "is_drawn": is_drawn,
        "mask_folders": mask_folders,
        "has_not": has_not if has_not.any() else None,
        "not_folders": not_folders,
    }
