"""A finished run, read from the files of its folder."""

import csv
import glob
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from gain_lightning import VOID
from gain_lightning.home import hide_home
from gain_lightning.walk import is_left_behind

COLUMNS = ("set", "id", "class", "present", "score", "energy", "pointing")  # read of per_image.csv

_NO_RUN = {  # a file that tells a folder of another verb, and what it is
    "provenance.json": "holds the seeds of a segmentation",
    "predictions.csv": "holds the predictions of a run",
}

# What NumPy and zipfile raise on a foreign or broken .npz.
_UNREADABLE = (
    *(OSError, EOFError, KeyError, AttributeError, TypeError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class RunError(ValueError):
    """A run that cannot be read, or runs that cannot be compared; the message says which and why."""


@dataclass(frozen=True)
class Run:
    """What a finished run says about itself.

    Attributes:
        path: Its folder, as given.
        config: ``config.yaml`` with dotted keys, see :func:`flatten`.
        summary: ``summary.json`` as it is.
        method: ``gradcam``, ``gain``, ``gain_ext`` or another name.
        seed: Of the training; None if the run names none.
        metrics: Every finite metric, such as ``test/mean_ap``.
    """

    path: str
    config: dict[str, Any]
    summary: dict[str, Any]
    method: str
    seed: int | None
    metrics: dict[str, float]

    @property
    def segments(self) -> bool:
        """Whether it is of SEC, and not of a classifier."""
        return "data.cues" in self.config


class ImageTable(NamedTuple):
    """One test set in ``per_image.csv``: sorted ids ``(N,)``, class names ``(C,)``, and ``(N, C)`` arrays.

    ``energy`` and ``pointing`` are nan where a class is absent or without mask, ``amount`` where the task is no
    regression. ``logit`` is None of a regression, and of runs that were made before the file had it.
    """

    ids: list[str]
    class_names: list[str]
    present: np.ndarray
    score: np.ndarray
    energy: np.ndarray
    pointing: np.ndarray
    amount: np.ndarray
    logit: np.ndarray | None = None

    @property
    def rank(self) -> np.ndarray:
        """What orders images for average precision: logits, for probabilities round to 0 and 1; without them scores."""
        return self.score if self.logit is None else self.logit


class PixelTable(NamedTuple):
    """``per_image.csv`` of a run of SEC: sorted ids ``(N,)``, class names with the background ``(1 + C,)``, and counts.

    ``set_name`` is what the data call the set of these images.

    ``pixels`` has, for ``miou`` and where a CRF was judged ``miou_crf``, pixels of the mask, of the segmentation and
    of both, ``(3, N, 1 + C)``.
    """

    ids: list[str]
    class_names: list[str]
    pixels: dict[str, np.ndarray]
    set_name: str = "test"


class Maps(NamedTuple):
    """``maps.npz``: the fixed test images and the raw attention maps of their P (image, class) pairs."""

    ids: np.ndarray  # (N,) str
    image: np.ndarray  # (N, H, W, 3) uint8
    mask: np.ndarray  # (N, H, W) uint8, class indices to look at
    pair_image: np.ndarray  # (P,) index of the image
    pair_class: np.ndarray  # (P,) index of the class
    pair_mask: np.ndarray  # (P, H, W) uint8: 1 the class, 0 not the class, 255 unknown
    map: np.ndarray  # (P, H, W)
    class_names: np.ndarray  # (C,) str


def find_runs(patterns: Sequence[str]) -> list[str]:
    """Folders that paths and globs name, each once, in the order given.

    Args:
        patterns: Paths, or globs that the shell has not expanded. The folder of a sweep stands for its trials.

    Returns:
        Paths; those without wildcard are not checked.

    Raises:
        RunError: If a glob matches no folder.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        is_glob = glob.has_magic(pattern) and not os.path.exists(pattern)
        paths = [path for path in sorted(glob.glob(pattern)) if os.path.isdir(path)] if is_glob else [pattern]
        if not paths:
            raise RunError(f"{pattern}: matches no folder")
        for path in paths:
            for run in _trials(path) or [path]:
                found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def _trials(path: str) -> list[str]:
    """Run folders of a sweep's trials that have begun; none if it is no sweep."""
    if not os.path.isfile(os.path.join(path, "sweep.yaml")):
        return []
    trials = sorted(glob.glob(os.path.join(glob.escape(path), "trials", "*")))
    return [trial for trial in trials if os.path.isfile(os.path.join(trial, "summary.json"))]


def reason_to_pass_over(path: str) -> str:
    """Why a folder is no run to compare although nothing is wrong with it; "" for all others, :func:`read_run` judges.

    A trial that its sweep ended early has no test. What other verbs write often lies beside the runs, where
    ``runs/*`` names it too.
    """
    name = os.path.basename(os.path.abspath(path))
    if is_left_behind(name) and not name.startswith(
        "."
    ):  # a glob of the shell names no hidden folder, a person may
        return "was left behind by a program, and is no run"
    summary = _summary(path)
    if summary.get("state") == "pruned":
        return "its sweep ended it early"
    if os.path.exists(os.path.join(path, "config.yaml")):
        return ""
    if {"groups", "differences"} <= summary.keys():
        return "holds the report of a comparison, and is no run"
    return next(
        (f"{what}, and is no run" for name, what in _NO_RUN.items() if Path(path, name).is_file()), ""
    )


def _summary(path: str) -> dict[str, Any]:
    """``summary.json``; nothing if it cannot be read, as :func:`read_run` says."""
    try:
        content = json.loads(Path(path, "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_run(path: str) -> Run:
    """Read a finished run.

    Args:
        path: Its folder.

    Returns:
        The run.

    Raises:
        RunError: If it is missing, unreadable, not finished, was never guided although its method is one that
            guides, or has no test metrics.
    """
    if not os.path.isdir(path):
        reason = "is a file, expected the folder of a run" if os.path.exists(path) else "no such folder"
        raise RunError(f"{path}: {reason}")
    is_run = os.path.exists(os.path.join(path, "summary.json"))
    if not is_run and glob.glob(os.path.join(glob.escape(path), "*/summary.json")):
        raise RunError(f"{path}: is no run, but holds some: '{os.path.join(path, '*')}' names them")
    summary = _read_mapping(path, "summary.json", json.loads)
    state = summary.get("state")
    if state != "finished":
        raise RunError(f"{path}: its state is {state!r}, expected 'finished'")
    if summary.get("guided") is False:
        raise RunError(
            f"{path}: is called {summary.get('method')} but was never guided, for its training ended within the "
            "warm-up; expected a run of more epochs than model.warmup_epochs"
        )
    metrics = summary.get("metrics")
    finite = {
        printable(key): float(value)
        for key, value in (metrics if isinstance(metrics, dict) else {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
    }
    if not any(key.startswith("test/") for key in finite):
        raise RunError(f"{path}: no test metrics in its summary.json, expected test/mean_ap or others")
    method, seed = summary.get("method"), summary.get("seed")
    if not isinstance(method, str) or not method:
        raise RunError(
            f"{path}: method is {method!r} in its summary.json, expected gradcam, gain or gain_ext"
        )
    config = _read_mapping(path, "config.yaml", lambda text: flatten(hide_home(yaml.safe_load(text))))
    is_seed = isinstance(seed, int) and not isinstance(seed, bool)
    return Run(path, config, summary, printable(method), seed if is_seed else None, finite)


def flatten(config: dict[Any, Any]) -> dict[str, Any]:
    """Nested keys as dotted ones; the level ``init_args`` is left out, as on the command line.

    Example:
        >>> flatten({"data": {"class_path": "Shapes", "init_args": {"image_size": 96}}})
        {'data.class_path': 'Shapes', 'data.image_size': 96}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if not (isinstance(value, dict) and value):
            flat[str(key)] = value
            continue
        for inner, leaf in flatten(value).items():
            flat[inner if key == "init_args" else f"{key}.{inner}"] = leaf
    return flat


def read_images(path: str) -> dict[str, ImageTable]:
    """Read ``per_image.csv``.

    Args:
        path: Folder of the run.

    Returns:
        The tables of the test sets by name, in the file's order; none if there is no such file.

    Raises:
        RunError: If a row is malformed or missing.
    """
    name = os.path.join(path, "per_image.csv")
    header, rows = _read_csv(name)
    missing = [column for column in COLUMNS if rows and column not in header]
    if missing:
        raise RunError(f"{name}: has no column {missing[0]!r}, expected {', '.join(COLUMNS)}")
    sets: dict[str, dict[tuple[str, str], list[float]]] = {}
    columns = (*COLUMNS, "amount", "logit")
    pick = itemgetter(*(header.index(column) if column in header else -1 for column in columns))
    for number, cells in rows:
        set_name, image_id, class_name, *rest = pick([*cells, ""])
        values = [_number(cell, name, number) for cell in rest]
        if values[0] not in (0, 1) or np.isnan(values[1]):
            raise RunError(
                f"{name}, row {number}: present is {rest[0]!r} and score {rest[1]!r}, "
                "expected 0 or 1 and a number"
            )
        pairs = sets.setdefault(printable(set_name), {})
        if (image_id, class_name) in pairs:
            raise RunError(f"{name}, row {number}: {image_id!r}, {class_name!r} comes twice in {set_name!r}")
        pairs[image_id, class_name] = values
    tables = {}
    for set_name, pairs in sets.items():
        ids = sorted({image_id for image_id, _ in pairs})
        class_names = list(dict.fromkeys(class_name for _, class_name in pairs))
        if len(pairs) != len(ids) * len(class_names):
            raise RunError(
                f"{name}: set {set_name!r} has {len(pairs)} rows, "
                f"expected {len(ids)} images x {len(class_names)} classes"
            )
        values = np.array([[pairs[image_id, class_name] for class_name in class_names] for image_id in ids])
        present, *scores, logit = np.moveaxis(values, 2, 0)
        tables[set_name] = ImageTable(
            ids, class_names, present == 1, *scores, None if np.isnan(logit).any() else logit
        )
    return tables


def read_pixels(path: str) -> PixelTable | None:
    """Read ``per_image.csv`` of a run of SEC; None if there is no such file.

    Args:
        path: Folder of the run.

    Raises:
        RunError: If a row is malformed, missing or twice there.
    """
    name = os.path.join(path, "per_image.csv")
    header, rows = _read_csv(name)
    if not rows:
        return None
    kinds = ["", "_crf"] if "found_crf" in header else [""]
    columns = ["true", *(f"{what}{kind}" for kind in kinds for what in ("found", "right"))]
    missing = [column for column in ("id", "class", *columns) if column not in header]
    if missing:
        raise RunError(f"{name}: has no column {missing[0]!r}, expected id, class, {', '.join(columns)}")
    counts: dict[tuple[str, str], list[float]] = {}
    for number, cells in rows:
        row = dict(zip(header, cells, strict=True))
        if (row["id"], row["class"]) in counts:
            raise RunError(f"{name}, row {number}: {row['id']!r}, {row['class']!r} comes twice")
        values = counts[row["id"], row["class"]] = [_number(row[column], name, number) for column in columns]
        if not all(value >= 0 for value in values):
            raise RunError(f"{name}, row {number}: {values} pixels, expected numbers of at least 0")
    ids = sorted({image_id for image_id, _ in counts})
    class_names = list(dict.fromkeys(class_name for _, class_name in counts))
    if len(counts) != len(ids) * len(class_names):
        raise RunError(
            f"{name}: has {len(counts)} rows, expected {len(ids)} images x {len(class_names)} classes"
        )
    values = np.array([[counts[image_id, class_name] for class_name in class_names] for image_id in ids])
    true, *others = np.moveaxis(values, 2, 0)
    pixels = {f"miou{kind}": np.stack([true, *others[2 * i : 2 * i + 2]]) for i, kind in enumerate(kinds)}
    # Older runs do not say it.
    set_name = printable(rows[0][1][header.index("set")]) if "set" in header else "test"
    return PixelTable(ids, class_names, pixels, set_name)


def read_classes(path: str) -> dict[str, dict[str, float]]:
    """Read ``per_class.csv``: scores by class, those that there are, and by their name.

    Args:
        path: Folder of the run.

    Raises:
        RunError: If a cell is no number.
    """
    name = os.path.join(path, "per_class.csv")
    header, rows = _read_csv(name)
    scores: dict[str, dict[str, float]] = {}
    for number, cells in rows:
        for column, cell in zip(header[1:], cells[1:], strict=True):
            if cell:
                scores.setdefault(column, {})[printable(cells[0])] = _number(cell, name, number)
    return scores


def read_curves(path: str) -> dict[str, np.ndarray]:
    """Read ``metrics.csv``.

    Args:
        path: Folder of the run.

    Returns:
        Rows (epoch, step, value) of every column that has values, ``(rows, 3)``; none without the file.

    Raises:
        RunError: If a cell is no number.
    """
    name = os.path.join(path, "metrics.csv")
    curves: dict[str, list[tuple[float, float, float]]] = {}
    header, rows = _read_csv(name)
    for number, cells in rows:
        row = {
            column: _number(cell, name, number) for column, cell in zip(header, cells, strict=True) if cell
        }
        epoch, step = row.pop("epoch", np.nan), row.pop("step", np.nan)
        for column, value in row.items():
            curves.setdefault(printable(column), []).append((epoch, step, value))
    return {column: np.array(points) for column, points in curves.items()}


def read_maps(path: str) -> Maps | None:
    """Read ``maps.npz``; None if the run kept no maps.

    Raises:
        RunError: If its arrays are unreadable or do not fit together.
    """
    name = os.path.join(path, "maps.npz")
    if not os.path.exists(name):
        return None
    try:
        with open(name, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            fields = {field: arrays[field] for field in Maps._fields if field in arrays}
        num_images, height, width, _ = fields["image"].shape
        pair_image, pair_class = fields["pair_image"], fields["pair_class"]
        if not (
            pair_image.shape == pair_class.shape
            and pair_image.dtype.kind in "iu"
            and pair_class.dtype.kind in "iu"
            and fields["mask"].shape == (num_images, height, width)
            and ((pair_image >= 0) & (pair_image < num_images)).all()
            and ((pair_class >= 0) & (pair_class < len(fields["class_names"]))).all()
        ):
            raise ValueError("its pairs do not fit its images and classes")
        maps = Maps(**{"pair_mask": _pair_masks(fields), **fields})
        fits = (
            maps.image.shape[3] == 3
            and maps.image.dtype == maps.mask.dtype == np.uint8
            and maps.map.shape == maps.pair_mask.shape == (len(maps.pair_image), height, width)
            and maps.ids.shape == (num_images,)
        )
        if not fits:
            raise ValueError("its arrays do not fit together")
        return maps._replace(map=np.nan_to_num(maps.map.astype(np.float32), posinf=0, neginf=0))
    except _UNREADABLE as error:
        raise RunError(f"{name}: unreadable ({error})") from error


def _pair_masks(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Each pair's mask, of runs that kept one mask of class indices for all classes of an image."""
    mask = fields["mask"][fields["pair_image"]]
    is_class = mask == fields["pair_class"][:, None, None] + 1
    return np.where(mask == VOID, VOID, is_class).astype(np.uint8)


@lru_cache  # of the few names of test sets, for every row of a table
def printable(text: str) -> str:
    """The text with ``?`` for what a terminal or a font cannot show."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _read_mapping(path: str, name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = parse((Path(path) / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path}: has no {name}, expected the folder of a run") from error
    except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{path}: its {name} is unreadable ({reason})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: its {name} holds no keys and values")
    return content


def _read_csv(name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and numbered rows of equal length; nothing if there is no file."""
    if not os.path.exists(name):
        return [], []
    try:
        with open(name, newline="", encoding="utf-8") as file:
            header, *rows = [cells for cells in csv.reader(file) if cells] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{name}: unreadable ({error})") from error
    for number, cells in enumerate(rows, 1):
        if len(cells) != len(header):
            raise RunError(f"{name}, row {number}: {len(cells)} cells, expected {len(header)}")
    return header, list(enumerate(rows, 1))


def _number(cell: str, name: str, number: int) -> float:
    try:
        return float(cell) if cell else np.nan
    except ValueError as error:
        raise RunError(f"{name}, row {number}: {cell!r} is no number") from error
