"""Your own pictures: a folder with images, labels, and masks or boxes for some of them.

::

    DIR/
      images/...            the pictures, in folders as you like
      labels.csv            filename,classes[,split]   one row a picture; ; between classes, none is a negative;
                            boat=3 is an amount, for task regression
      classes.txt           optional: class names, one a line; class c of a mask is line c
      masks/...png          optional: class indices, named like the picture (images/a/b.jpg: masks/a/b.png)
      masks/CLASS/...png    or one folder a class (images/a/b.jpg: masks/CLASS/a/b.png), anything but 0 is the class
      boxes.csv             optional: filename,class,xmin,ymin,xmax,ymax

Without ``labels.csv`` each folder below ``images/`` is a class: ``images/cat/1.jpg``. Without ``classes.txt``
the classes are those that occur, sorted. Paths are relative to ``images/``. Boxes are in pixels from the
upper left corner, (0, 0, width, height) is the whole picture. In masks of indices 0 is background and 255
not labelled.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gain_lightning import VOID
from gain_lightning.datasets.check import Problem, check_boxes, check_images, check_masks, stop_at
from gain_lightning.datasets.image_set import ImageSet, training_sets
from gain_lightning.datasets.images import PICTURE_SUFFIXES, files_below
from gain_lightning.datasets.listing import Listing, stays_inside
from gain_lightning.datasets.mask_budget import MaskBudget
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.datasets.transforms import Augmentation
from gain_lightning.files import read_text

_KINDS = {"labels.csv": "file", "classes.txt": "file", "boxes.csv": "file", "masks": "folder"}  # if there
_LABEL_COLUMNS = ("filename", "classes")
RESERVED = (  # scores of the first test set, which the name of another may not hide
    *("mean_ap", "seed_miou", "seed_miou_best", "seed_threshold_best", "energy", "pointing", "zero_maps"),
    *("accuracy", "biased_accuracy", "mae"),
)
_BOX_COLUMNS = ("filename", "class", "xmin", "ymin", "xmax", "ymax")


def is_reserved(split: str) -> bool:
    """Whether a test set of this name would hide a score, or be taken for an error.

    Example:
        >>> is_reserved("mean_ap"), is_reserved("night_mae"), is_reserved("night")
        (True, True, False)
    """
    return split in RESERVED or split.endswith("_mae")


class FolderContents(NamedTuple):
    """What :func:`read_folder` found: the listing, the split of each picture ("" without one), all problems."""

    listing: Listing
    splits: np.ndarray
    problems: list[Problem]


def read_folder(root: Path, class_names: Sequence[str] | None = None) -> FolderContents:
    """Read a folder laid out as this module says, and look at every picture, mask and box.

    Args:
        root: The folder.
        class_names: Names of the classes; None takes ``classes.txt``, or those that occur.

    Returns:
        Listing, splits and problems; a picture with a broken row is left out of the listing.

    Raises:
        FileNotFoundError: If there is no folder ``images``, or no picture in it.
        ValueError: If a table lacks a column.
    """
    if not (root / "images").is_dir():
        raise FileNotFoundError(f"{root}: no folder of pictures here, expected {root / 'images'}")
    for name, kind in _KINDS.items():
        path = root / name
        if os.path.lexists(path) and not (path.is_dir() if kind == "folder" else path.is_file()):
            raise ValueError(
                f"{path}: expected a {kind}" + ("" if path.exists() else ", but it links to nothing")
            )
    problems: list[Problem] = []
    has_table = (root / "labels.csv").is_file()
    rows = _read_labels(root, problems) if has_table else _read_class_folders(root, problems)
    if class_names is None:
        class_names = _read_classes(root, problems) or sorted({name for row in rows for name in row.classes})
    class_idx = {name: idx for idx, name in enumerate(class_names)}
    if rows and not class_names:
        problems.append(Problem(rows[0].file, 0, "names no class: every picture is a negative"))
    if len(class_names) >= VOID and ((root / "masks").is_dir() or (root / "boxes.csv").is_file()):
        raise ValueError(f"{root}: {len(class_names)} classes, but with masks or boxes at most {VOID - 1}")
    is_amount = any(amount != 1 for entry in rows for amount in entry.classes.values())
    labels = np.zeros((len(rows), len(class_names)), np.float32 if is_amount else np.uint8)
    for row, entry in enumerate(rows):
        for name, amount in entry.classes.items():
            if name in class_idx:
                labels[row, class_idx[name]] = amount
            else:
                what = f"unknown class {name!r} of {entry.filename}, expected one of {', '.join(class_names)}"
                problems.append(Problem(entry.file, entry.line, what))
    ids = np.array([entry.filename for entry in rows], dtype=str)
    row_of = {entry.filename: row for row, entry in enumerate(rows)}
    boxes, lines = _read_boxes(root, row_of, labels, class_idx, problems)
    masks = _find_masks(root, ids, labels, tuple(class_names), problems)
    listing = Listing(
        root=root,
        class_names=tuple(class_names),
        ids=ids,
        labels=labels,
        image_pattern="images/{id}",
        size=np.zeros((len(ids), 2), np.int32),
        **masks,
        **boxes,
    )
    listing, unfit = check_images(listing)
    entry_of = {str(listing.image_path(row)): entry for row, entry in enumerate(rows)}
    for problem in unfit:  # a missing picture's line is that of the table which names it
        entry = entry_of.get(str(problem.file))
        is_missing = problem.what == "missing" and entry is not None and entry.line
        problems.append(
            Problem(entry.file, entry.line, f"{problem.file} is missing") if is_missing else problem
        )
    listing, unfit = check_masks(listing, agree=True)
    problems += unfit
    problems += check_boxes(listing, lambda box: (root / "boxes.csv", int(lines[box])))
    return FolderContents(listing, np.array([entry.split for entry in rows], dtype=str), problems)


class _Row(NamedTuple):
    file: Path
    line: int
    filename: str
    classes: dict[str, float]
    split: str


def _read_table(
    path: Path, columns: Sequence[str], problems: list[Problem]
) -> list[tuple[int, dict[str, str]]]:
    """Lines of a CSV with a header, whatever its byte order mark or line ends, each with its number."""
    reader = csv.reader(read_text(path).splitlines(), strict=True)
    table, last = [], 0
    try:
        for cells in reader:
            if reader.line_num > last + 1 or any(ord(letter) < 32 for cell in cells for letter in cell):
                problems.append(Problem(path, last + 1, "a quote that is not closed, or a control character"))
            elif cells:
                table.append((reader.line_num, [cell.strip() for cell in cells]))
            last = reader.line_num
    except csv.Error as error:
        problems.append(Problem(path, last + 1, f"unreadable from here on ({error})"))
    header = table[0][1] if table else []
    missing = [name for name in columns if name not in header]
    if missing:
        got = ",".join(header) or "nothing"
        raise ValueError(f"{path}:1: no column {missing[0]!r}; got {got}, expected {','.join(columns)}")
    if len(set(header)) < len(header):
        raise ValueError(f"{path}:1: a column comes twice; got {','.join(header)}")
    rows = []
    for line, cells in table[1:]:
        if len(cells) == len(header):
            rows.append((line, dict(zip(header, cells, strict=True))))
        else:
            what = f"{len(cells)} columns, expected {len(header)} as in the header"
            problems.append(Problem(path, line, what))
    return rows


def _filename(cell: str) -> str:
    r"""A path as every table writes it in the end: ./a.jpg and a\b.jpg are a.jpg and a/b.jpg."""
    return PurePosixPath(cell.replace("\\", "/")).as_posix()


def _read_labels(root: Path, problems: list[Problem]) -> list[_Row]:
    path = root / "labels.csv"
    rows: dict[str, _Row] = {}
    for line, cells in _read_table(path, _LABEL_COLUMNS, problems):
        filename = _filename(cells["filename"])
        entries = [name.strip() for name in cells["classes"].split(";") if name.strip()]
        amounts = [_amount(entry) for entry in entries]
        classes = dict(amounts)
        if not stays_inside(cells["filename"]):
            problems.append(Problem(path, line, f"filename {cells['filename']!r} leaves the data folder"))
        elif filename in rows:
            what = f"{filename} is a duplicate of line {rows[filename].line}"
            problems.append(Problem(path, line, what))
        else:
            for name, amount in amounts:
                with np.errstate(over="ignore"):
                    stored = np.float32(amount)
                if not 0 <= stored < np.inf or (amount and not stored):
                    what = f"{filename} has {amount:g} of {name}, expected an amount from 0 on that float32 holds"
                    problems.append(Problem(path, line, what))
            if len(classes) < len(amounts):
                problems.append(Problem(path, line, f"{filename} names a class twice, a duplicate"))
            if "split" in cells and not cells["split"]:
                problems.append(
                    Problem(path, line, f"{filename} has no split, expected train, val or a test set")
                )
            split = cells.get("split", "")
            if is_reserved(split):
                problems.append(
                    Problem(path, line, f"split {split!r} is the name of a score, expected another")
                )
            if split.lower() in ("train", "val", "test") and split != split.lower():
                problems.append(Problem(path, line, f"split is {split!r}, expected {split.lower()!r}"))
            rows[filename] = _Row(path, line, filename, classes, split)
    if not rows and not problems:
        raise ValueError(f"{path}: names no picture")
    return list(rows.values())


def _amount(entry: str) -> tuple[str, float]:
    """A class and how much of it; 1 where no number is given.

    Example:
        >>> _amount("boat=2.5"), _amount("a=b")
        (('boat', 2.5), ('a=b', 1))
    """
    name, separator, amount = entry.rpartition("=")
    try:
        return (name.strip(), float(amount)) if separator else (entry, 1)
    except ValueError:
        return entry, 1


def _read_class_folders(root: Path, problems: list[Problem]) -> list[_Row]:
    rows = []
    for path in list_pictures(root / "images"):
        filename = path.relative_to(root / "images").as_posix()
        if "/" not in filename:
            problems.append(Problem(path, 0, "lies in no class's folder, and there is no labels.csv"))
        else:
            rows.append(_Row(path, 0, filename, {filename.split("/")[0]: 1}, ""))
    if not rows and not problems:
        raise FileNotFoundError(f"{root / 'images'}: holds no picture ({', '.join(PICTURE_SUFFIXES)})")
    return rows


def list_pictures(folder: Path) -> list[Path]:
    """Every picture in a folder and those below, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in files_below(folder)
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _read_classes(root: Path, problems: list[Problem]) -> list[str]:
    path = root / "classes.txt"
    if not path.is_file():
        return []
    names: list[str] = []
    lines = read_text(path).rstrip().splitlines()
    for line, name in enumerate(lines, start=1):
        name = name.strip()
        if not name:
            problems.append(Problem(path, line, "an empty line: class c of a mask is line c"))
        elif name in names:
            problems.append(
                Problem(path, line, f"class {name!r} is a duplicate of line {names.index(name) + 1}")
            )
        else:
            names.append(name)
    if not names:
        raise ValueError(f"{path}: names no class")
    return names


def _read_boxes(
    root: Path, row_of: dict[str, int], labels: np.ndarray, class_idx: dict[str, int], problems: list[Problem]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The listing's arrays of boxes, and the line that each comes from."""
    path = root / "boxes.csv"
    found: list[tuple[int, int, tuple[float, ...], int]] = []
    for line, cells in _read_table(path, _BOX_COLUMNS, problems) if path.is_file() else ():
        filename, name = _filename(cells["filename"]), cells["class"]
        try:
            for key in _BOX_COLUMNS[2:]:
                float(cells[key])
        except ValueError:
            problems.append(
                Problem(path, line, f"box of {filename}: {key} is {cells[key]!r}, expected pixels")
            )
            continue
        corners = tuple(float(cells[key]) for key in _BOX_COLUMNS[2:])
        xmin, ymin, xmax, ymax = corners
        if not stays_inside(cells["filename"]):
            problems.append(Problem(path, line, f"filename {cells['filename']!r} leaves the data folder"))
        elif filename not in row_of:
            problems.append(Problem(path, line, f"{filename} is not among the labelled pictures"))
        elif name not in class_idx:
            problems.append(
                Problem(path, line, f"unknown class {name!r}, expected one of {', '.join(class_idx)}")
            )
        elif not labels[row_of[filename], class_idx[name]]:
            problems.append(Problem(path, line, f"box of {name}, which the label of {filename} lacks"))
        elif not (xmin < xmax and ymin < ymax and np.isfinite(corners).all()):
            problems.append(
                Problem(
                    path, line, f"box {corners} of {filename} is empty, expected xmin < xmax, ymin < ymax"
                )
            )
        else:
            found.append((row_of[filename], class_idx[name], corners, line))
    found.sort(key=lambda box: box[0])
    return {
        "box_row": np.array([box[0] for box in found], np.int64),
        "box_class": np.array([box[1] for box in found], np.int64),
        "box_corners": np.array([box[2] for box in found], np.float64).reshape(-1, 4),
    }, np.array([box[3] for box in found], np.int64)


def _find_masks(
    root: Path, ids: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], problems: list[Problem]
) -> dict[str, object]:
    """Which pictures have masks, of which kind; a mask of no picture is a problem."""
    folder = root / "masks"
    files = (
        {path.relative_to(folder).as_posix() for path in files_below(folder) if path.suffix == ".png"}
        if folder.is_dir()
        else set()
    )
    for path in sorted(folder.rglob("*.png")) if folder.is_dir() else ():
        if path.is_dir():
            problems.append(Problem(path, 0, "a folder, expected a mask"))
    by_class = any(name.split("/")[0] in class_names and "/" in name for name in files)
    stems = [str(PurePosixPath(image_id).with_suffix("")) for image_id in ids.tolist()]
    if by_class and any(f"{stem}.png" in files for stem in stems):
        by_class = False  # pictures lie in folders of their classes, and so do their masks of indices
    has_mask = np.zeros(labels.shape, bool)
    is_drawn = np.zeros(len(ids), bool)
    used: dict[str, str] = {}
    for row, stem in enumerate(stems):
        names = [f"{name}/{stem}.png" for name in class_names] if by_class else [f"{stem}.png"]
        for class_idx, name in enumerate(names):
            if name not in files:
                continue
            if name in used:
                what = f"{ids[row]} is a duplicate of {used[name]}: both would have the mask {name}"
                problems.append(Problem(root / "images" / str(ids[row]), 0, what))
                continue
            used[name] = str(ids[row])
            is_drawn[row] = True
            if by_class:
                has_mask[row, class_idx] = True
            else:
                has_mask[row] = labels[row] > 0
    unused = sorted(files - set(used))
    if by_class:
        for name in sorted({name.split("/")[0] for name in unused} - set(class_names)):
            what = f"unknown class {name!r}, expected one of {', '.join(class_names)}"
            problems.append(Problem(folder / name, 0, what))
        unused = [name for name in unused if name.split("/")[0] in class_names]
    for name in unused:
        problems.append(Problem(folder / name, 0, "a mask of none of the labelled pictures"))
    for path in list_pictures(folder) if folder.is_dir() else ():
        if path.suffix != ".png":
            problems.append(Problem(path, 0, "not read: masks are PNG files, their names end in .png"))
    pattern = "masks/{class_name}/{stem}.png" if by_class else "masks/{stem}.png"
    return {"mask_pattern": pattern, "has_mask": has_mask, "is_drawn": is_drawn}


class FolderDataModule(TwoStreamDataModule):
    """Your own pictures with one label, many, or amounts, laid out as data/README.md says.

    The splits ``train``, ``val`` and ``test`` of ``labels.csv`` are what they say, every other one is a further
    test set. Without a split ``test`` the main scores are those of ``val``. Without a column ``split``,
    ``val_fraction`` of the pictures are drawn for ``val``.

    Args:
        root: The folder.
        image_size: Height and width that pictures are resized to, pixels.
        augmentation: How training pictures are varied.
        val_fraction: Share drawn for validation, always the same, where ``labels.csv`` names no split.
        accuracy_class: Class whose presence the accuracies judge; null judges the whole label.
        batch_size, masked_batch_size, mask_budget, mask_seed, supervision, box_dilation, other_boxes, num_workers: See
            :class:`~gain_lightning.datasets.streams.TwoStreamDataModule`.

    Raises:
        FileNotFoundError, ValueError: If the folder, a table, a picture, a mask or a box is missing or unfit; the
            words are those of ``gain data check``.
    """

    def __init__(
        self,
        *,
        root: str,
        image_size: int = 224,
        augmentation: Augmentation = Augmentation(),  # noqa: B008, frozen
        val_fraction: float = 0.2,
        accuracy_class: str | None = None,
        batch_size: int = 16,
        masked_batch_size: int = 4,
        mask_budget: MaskBudget = 0,
        mask_seed: int | None = None,
        supervision: str = "mask",
        box_dilation: float = 1.0,
        other_boxes: str = "unknown",
        num_workers: int = 2,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            masked_batch_size=masked_batch_size,
            mask_budget=mask_budget,
            mask_seed=mask_seed,
            supervision=supervision,
            box_dilation=box_dilation,
            other_boxes=other_boxes,
            num_workers=num_workers,
        )
        if not 0 < val_fraction < 1:
            raise ValueError(f"data.val_fraction is {val_fraction}, expected a share between 0 and 1")
        self.root = Path(root)
        self.image_size = image_size
        self.augmentation = augmentation
        self.contents = read_folder(self.root)
        stop_at(self.contents.problems, self.root)
        self.splits = draw_val(self.contents.splits, val_fraction)
        self.class_names = self.contents.listing.class_names
        if accuracy_class is not None and accuracy_class not in self.class_names:
            names = ", ".join(self.class_names)
            raise ValueError(f"data.accuracy_class is {accuracy_class!r}, expected one of {names}")
        self.accuracy_class = accuracy_class

    def _listing(self, split: str) -> Listing:
        rows = np.flatnonzero(self.splits == split)
        if not len(rows):
            names = ", ".join(sorted(set(self.splits.tolist())))
            raise ValueError(f"{self.root / 'labels.csv'}: no picture of split {split!r}, only of {names}")
        return self.contents.listing.take(rows)

    def image_set(self, split: str | None = None) -> ImageSet:
        """Pictures of a split (None: train) with their labels, without masks."""
        return ImageSet(self._listing(split or "train"), image_size=self.image_size, supervision="none")

    def setup(self, stage: str) -> None:
        """Open the sets that ``stage`` needs."""
        if stage == "fit":
            self.train_set, self.masked_set = training_sets(self, self._listing("train"), self.augmentation)
        self.val_set = ImageSet(self._listing("val"), image_size=self.image_size)
        names = set(self.splits.tolist())
        self.test_sets = {} if "test" in names else {"val": self.val_set}
        for name in sorted(names - {"train", "val"}, key=lambda name: (name != "test", name)):
            self.test_sets[name] = ImageSet(self._listing(name), image_size=self.image_size)


def draw_val(splits: np.ndarray, fraction: float) -> np.ndarray:
    """Splits where there were none: ``val`` for a share of the pictures, the same for every run.

    Example:
        >>> draw_val(np.array(["", "", "", ""]), 0.25).tolist()
        ['train', 'train', 'val', 'train']
    """
    if (splits != "").any() or not len(splits):
        return splits
    count = min(max(round(fraction * len(splits)), 1), len(splits) - 1)
    drawn = np.full(len(splits), "train")
    drawn[np.random.default_rng(0).permutation(len(splits))[:count]] = "val"
    return drawn
