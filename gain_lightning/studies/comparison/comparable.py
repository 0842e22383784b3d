"""Refuse to compare runs whose settings differ in what must be equal, and note other differences."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.images import ImageTable, read_images
from gain_lightning.runs.pixels import PixelTable, read_pixels
from gain_lightning.runs.read import Run, as_text
from gain_lightning.studies.comparison.folds import FOLD, fold_of
from gain_lightning.studies.comparison.groups import Group, metric_order
from gain_lightning.support.messages import printable

# Comparable runs agree on all data settings but these, and on the keys of _FIXED.
_FREE_DATA = (
    "batch_size",
    "masked_batch_size",
    "mask_budget",
    "mask_seed",
    "balance_by",
    "mask_augment",
    "num_workers",
    "mask_folder",
    "supervision",
    "box_dilation",
    "mask_noise",
    "void_border",
    "told_shortcuts",
    "cues",
    # methods are compared over all folds, see folds.py
    FOLD,
)
# These say how val is drawn, which may have no effect; runs that were scored on the same images agree.
_OF_DRAW = ("val_fraction", "val_draw", "split_by")
_FIXED = (
    *("model.backbone", "model.output_stride", "model.class_names", "model.score_classes", "model.task"),
    *("trainer.max_epochs", "keep", "keep_score"),
)
_IGNORED = (
    "run_dir",
    "seed_everything",
    "data.fold",
    "data.images.fold",
    "ckpt_path",
    "threads",
    "trainer.logger",
    "trainer.default_root_dir",
)


def check_comparable(runs: Sequence[Run], allow: Sequence[str] = (), by: str | None = None) -> list[str]:
    """Refuse runs that do not measure the same thing.

    Args:
        runs: Finished runs.
        allow: Keys that may differ.
        by: The key that the runs are grouped by, which may differ.

    Returns:
        A note on every key that was allowed to differ and differs.

    Raises:
        RunError: If another key differs, or ``allow`` names a key that is not compared.
    """
    found = dict.fromkeys(key for run in runs for key in run.config if key.startswith("data."))
    # A data setting that may differ between classifiers may also differ for the images that SEC is trained on.
    names = {key: key.removeprefix("data.").removeprefix("images.").split(".")[0] for key in found}
    keys = [*(key for key in found if names[key] not in _FREE_DATA), *_FIXED]
    allowed = {key.replace(".init_args.", ".") for key in allow}
    if unknown := allowed.difference(keys, [f"data.{FOLD}"]):
        raise RunError(f"--allow {min(unknown)}: no such key is compared, expected one of {', '.join(keys)}")
    refused, notes = [], []
    for key in keys:
        paths: dict[str, list[str]] = {}
        for run in runs:
            paths.setdefault(as_text(run, key), []).append(run.path)
        if by is not None and key == by.replace(".init_args.", "."):
            continue
        if len(paths) > 1 and key in allowed:
            values = "; ".join(f"{value} in {', '.join(p)}" for value, p in paths.items())
            notes.append(f"Allowed to differ: {key} is {values}.")
        elif len(paths) > 1 and not (names.get(key) in _OF_DRAW and _same_images(runs)):
            refused.append(f"  {key}\n" + "\n".join(f"    {v}: {', '.join(p)}" for v, p in paths.items()))
    if refused:
        raise RunError(
            "the runs are not comparable, these keys differ:\n" + "\n".join(refused) + "\n"
            "Expected equal values; --allow KEY compares nevertheless, and the report says so."
        )
    return notes


def _same_images(runs: Sequence[Run]) -> bool:
    """Return whether all runs are known to be scored on the same images and classes."""
    tables = [read_scored(run) for run in runs]
    contents = [scored_images(table) for table in tables if table]
    return len(contents) == len(runs) and all(content == contents[0] for content in contents)


def read_scored(run: Run) -> dict[str, ImageTable] | PixelTable | None:
    """Read the scores of every image that a run was tested on; None or nothing where it has none."""
    return read_pixels(run.path) if run.segments else read_images(run.path)


def scored_images(tables: dict[str, ImageTable] | PixelTable) -> list[tuple[Any, ...]]:
    """Return the images and classes that were tested, by test set."""
    if isinstance(tables, PixelTable):
        return [(tables.ids, tables.class_names)]
    return sorted((name, table.ids, table.class_names) for name, table in tables.items())


def config_differences(groups: Sequence[Group]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Return the keys whose values differ, with each group's values, and a note on those that differ in a group."""
    runs = [run for group in groups for run in group.runs]
    rows, mixed = [], []
    for key in dict.fromkeys(key for run in runs for key in run.config):
        values = [list(dict.fromkeys(as_text(run, key) for run in group.runs)) for group in groups]
        if key.startswith(_IGNORED) or len({text for texts in values for text in texts}) < 2:
            continue
        rows.append((printable(key), [printable(", ".join(texts)) for texts in values]))
        settings = [{_setting(run, key) for run in group.runs} for group in groups]
        mixed += [f"{key} ({groups[i].name})" for i, texts in enumerate(settings) if len(texts) > 1]
    note = f"Runs of one method differ in {', '.join(mixed)}: their means mix settings."
    return rows, [note] if mixed else []


def _setting(run: Run, key: str) -> str:
    """Return a setting as text.

    The paths of our own cues, of the checkpoint that SEC starts from, and of the run that a rival begins from differ
    between seeds by nature, so they all read "of a run".
    """
    if key in ("model.from_run", "model.identified_by"):
        return "of a run"
    text = as_text(run, key)
    is_of_run = (key == "data.cues" and run.method != "sec_cues") or (
        key == "model.weights" and Path(text).parent.name == "checkpoints"
    )
    return "of a run" if is_of_run and run.segments else text


def repetitions(groups: Sequence[Group]) -> list[str]:
    """Return notes on runs of one seed and equal settings, which should agree."""
    notes = []
    for group in groups:
        for a, b in combinations(group.runs, 2):
            keys = [key for key in {*a.config, *b.config} if not key.startswith(_IGNORED)]
            if fold_of(a) != fold_of(b):
                continue
            if a.seed is None or a.seed != b.seed or any(as_text(a, key) != as_text(b, key) for key in keys):
                continue
            shared = [key for key in metric_order([group]) if key in a.metrics and key in b.metrics]
            if not shared:
                continue
            gaps = {key: abs(a.metrics[key] - b.metrics[key]) for key in shared}
            widest = max(gaps, key=gaps.__getitem__)
            found = (
                f"{widest} differs by {gaps[widest]:.4f}" if gaps[widest] else "no difference in any score"
            )
            notes.append(f"{a.path} and {b.path} have equal settings and seed: {found}.")
    return notes
