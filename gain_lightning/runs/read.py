"""A finished run, read from the files of its folder."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gain_lightning.runs.background import background_scores
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.map_checks import opinion_scores, read_opinion
from gain_lightning.runs.old_settings import BEFORE
from gain_lightning.runs.settings import CONFIG, read_settings
from gain_lightning.runs.summary import SUMMARY, read_summary
from gain_lightning.support.home import hide_home
from gain_lightning.support.messages import printable
from gain_lightning.support.walk import is_left_behind

# A file by which the folder of another verb is known, and what that folder does.
_OTHER_VERBS = {
    "provenance.json": "holds the seeds of a segmentation",
    "predictions.csv": "holds the predictions of a run",
}


@dataclass(frozen=True)
class Run:
    """What a finished run says about itself.

    Attributes:
        path: Its folder, as given.
        config: ``config.yaml`` with dotted keys, see :func:`flatten`.
        summary: ``summary.json`` as it is.
        method: ``gradcam``, ``gain``, ``gain_ext`` or another name.
        seed: Of the training; None if the run names none.
        metrics: Every finite metric, such as ``test/mean_ap``, and what ``gain background`` and ``gain check-maps``
            measured.
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
    return [trial for trial in trials if os.path.isfile(os.path.join(trial, SUMMARY))]


def reason_to_pass_over(path: str) -> str:
    """Why a folder is no run to compare although nothing is wrong with it; "" for all others, :func:`read_run` judges.

    A trial that its sweep ended early has no test. What other verbs write often lies beside the runs, where
    ``runs/*`` names it too.
    """
    name = os.path.basename(os.path.abspath(path))
    # a glob of the shell names no hidden folder, a person may
    if is_left_behind(name) and not name.startswith("."):
        return "was left behind by a program, and is no run"
    try:
        summary = read_summary(Path(path))
    except RunError:
        summary = {}
    if summary.get("state") == "pruned":
        return "its sweep ended it early"
    if Path(path, CONFIG).exists():
        return ""
    if {"groups", "differences"} <= summary.keys():
        return "holds the report of a comparison, and is no run"
    found = (f"{what}, and is no run" for name, what in _OTHER_VERBS.items() if Path(path, name).is_file())
    return next(found, "")


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
    summary = read_summary(Path(path))
    if not Path(path, SUMMARY).exists():
        if glob.glob(os.path.join(glob.escape(path), "*", SUMMARY)):
            raise RunError(f"{path}: is no run, but holds some: '{os.path.join(path, '*')}' names them")
        raise RunError(f"{path}: has no {SUMMARY}, expected the folder of a run")
    state = summary.get("state")
    if state != "finished":
        raise RunError(f"{path}: its state is {state!r}, expected 'finished'")
    if summary.get("guided") is False:
        raise RunError(
            f"{path}: is called {summary.get('method')} but was never guided, for its training ended within the "
            "warm-up; expected a smaller model.warmup"
        )
    finite = {
        printable(key): float(value)
        for key, value in summary.get("metrics", {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
    }
    if not any(key.startswith("test/") for key in finite):
        raise RunError(f"{path}: no test metrics in its summary.json, expected test/mean_ap or others")
    method, seed = summary.get("method"), summary.get("seed")
    if not isinstance(method, str) or not method:
        raise RunError(
            f"{path}: method is {method!r} in its summary.json, expected gradcam, gain or gain_ext"
        )
    config = _read_config(path)
    is_seed = isinstance(seed, int) and not isinstance(seed, bool)
    metrics = {**finite, **background_scores(path), **opinion_scores(read_opinion(path))}
    return Run(path, config, summary, printable(method), seed if is_seed else None, metrics)


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


def _read_config(path: str) -> dict[str, Any]:
    """The settings of a run with dotted keys, paths below the home folder as ``~``."""
    try:
        return flatten(hide_home(read_settings(Path(path))))
    except FileNotFoundError as error:
        raise RunError(str(error)) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{path}: its {CONFIG} is unreadable ({reason})") from error


def as_text(run: Run, key: str) -> str:
    """A config value as text, without the run's own folder."""
    value, folder = run.config.get(key, BEFORE.get(key)), run.config.get("run_dir")
    # W&B writes 1.0 as 1, which is the same but for these: there 1 is one, and 1.0 is all
    is_share = key.rpartition(".")[2].startswith(("mask_budget", "limit_", "val_check_interval"))
    text = str(int(value) if isinstance(value, float) and value.is_integer() and not is_share else value)
    return text.replace(folder, "RUN_DIR") if isinstance(folder, str) and os.path.dirname(folder) else text
