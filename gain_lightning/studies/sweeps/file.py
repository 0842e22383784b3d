"""The reader of W&B sweep files (https://docs.wandb.ai/guides/sweeps/sweep-config-keys), without a server."""

import itertools
import json
import math
import os
import re
import shlex
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gain_lightning.studies.sweeps.parameter import (
    Parameter,
    SweepError,
    read_number,
    read_parameters,
    refuse_unknown,
)
from gain_lightning.support.files import read_text
from gain_lightning.support.yaml_files import read_mapping

_TOP = (
    *("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap"),
    *("name", "description", "project", "entity", "controller"),
)
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
# Macros of a command; each is a word of its own.
MACROS = (
    *("${env}", "${interpreter}", "${program}", "${args}", "${args_no_equals}", "${args_no_hyphens}"),
    *("${args_no_boolean_flags}", "${args_json}", "${args_json_file}"),
    *("${args_append_hydra}", "${args_override_hydra}"),
)
# An environment variable, which may stand anywhere in a word.
_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]+)\}")


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says.

    Attributes:
        text: The file, verbatim.
        method: ``grid``, ``random`` or ``bayes``.
        parameters: What varies, and what is constant.
        command: The words of the program, with macros such as ``${args}``.
        metric: The name of the score that trials are judged by; empty if there is none.
        maximize: Whether more of it is better.
        target: No trial begins once the metric is as good as this; None sets no target.
        run_cap: The largest number of trials; None runs all of a grid.
        early_terminate: Hyperband's ``eta``, ``min_iter`` and ``max_iter``; empty if no trial is ended early.
        name: A title for people.
    """

    text: str
    method: str
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    metric: str = ""
    maximize: bool = False
    target: float | None = None
    run_cap: int | None = None
    early_terminate: dict[str, int] = field(default_factory=dict)
    name: str = ""

    def planned(self) -> list[dict[str, Any]]:
        """The raw values of every trial by key; a random search draws them with the file's text as seed.

        They are empty for ``bayes``, which chooses them as it goes.
        """
        varied = [parameter for parameter in self.parameters if len(parameter.values) != 1]
        if self.method == "grid":
            grid = [
                dict(zip([p.key for p in varied], raw, strict=True))
                for raw in itertools.product(*(p.grid() for p in varied))
            ]
            return grid[: self.run_cap]
        assert self.run_cap is not None
        if self.method == "bayes":
            return [{} for _ in range(self.run_cap)]
        rng = np.random.default_rng(zlib.crc32(self.text.encode()))
        return [{p.key: p.draw(rng) for p in varied} for _ in range(self.run_cap)]

    def words(self, values: dict[str, Any], args_json_file: str = "") -> list[str]:
        """The command of a trial, as an agent of W&B would run it.

        Values are written as Python prints them; for ``gain``, whose options are YAML, as JSON: null, not None.

        Args:
            values: The trial's values by key.
            args_json_file: The path that takes the place of ``${args_json_file}``.

        Returns:
            The words; ``gain`` becomes this Python's own.

        Raises:
            SweepError: If an environment variable that the command names is not set.

        Example:
            >>> text = "{method: grid, parameters: {a: {values: [true]}}, command: [run, '${args_no_equals}']}"
            >>> read_sweep_file(text, where="sweep.yaml").words({"a": True})
            ['run', '--a', 'True']
        """
        written = _yaml_word if _is_gain(self.command) else str
        pairs = [(key, written(value)) for key, value in values.items()]
        kinds = {
            "${env}": ["/usr/bin/env"],
            "${interpreter}": [sys.executable],
            "${args}": [f"--{key}={word}" for key, word in pairs],
            "${args_no_equals}": [part for key, word in pairs for part in (f"--{key}", word)],
            "${args_no_hyphens}": [f"{key}={word}" for key, word in pairs],
            # A flag is there or not.
            "${args_no_boolean_flags}": [
                f"--{key}" if values[key] is True else f"--{key}={word}"
                for key, word in pairs
                if values[key] is not False
            ],
            "${args_json}": [json.dumps(values, default=str)],
            "${args_json_file}": [args_json_file],
            "${args_append_hydra}": [f"+{key}={word}" for key, word in pairs],
            "${args_override_hydra}": [f"++{key}={word}" for key, word in pairs],
        }
        words: list[str] = []
        for word in self.command:
            words += kinds[word] if word in kinds else [_VARIABLE.sub(_variable, word)]
        return [sys.executable, "-m", "gain_lightning", *words[1:]] if words[0] == "gain" else words


def _is_gain(command: Sequence[str]) -> bool:
    """Whether a command runs ``gain``, or ``python -m gain_lightning``."""
    words = [word for word in command if word not in ("${env}", "/usr/bin/env")]
    return os.path.basename(words[0]) == "gain" or words[1:3] == ["-m", "gain_lightning"] if words else False


def read_sweep_file(text: str, *, where: str) -> SweepFile:
    """Read a W&B sweep.

    Args:
        text: The sweep in YAML.
        where: The file that it comes from, for messages.

    Returns:
        The sweep.

    Raises:
        SweepError: If a key, a method or a distribution is unknown or incomplete; it names it.
    """
    try:
        return _read(text)
    except SweepError as error:
        raise SweepError(f"{where}: {error}") from error


def _read(text: str) -> SweepFile:
    """Read a sweep; an error does not name the file yet."""
    try:
        tree = read_mapping(text)
    except ValueError as error:
        raise SweepError(str(error)) from error
    refuse_unknown(tree, _TOP, "")
    method = tree.get("method")
    if method not in ("grid", "random", "bayes"):
        raise SweepError(f"method is {method!r}, expected grid, random or bayes")
    metric = tree.get("metric") or {}
    refuse_unknown(metric, ("name", "goal", "target"), "metric.")
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise SweepError(f"metric.goal is {goal!r}, expected minimize or maximize")
    if method == "bayes" and not metric.get("name"):
        raise SweepError("metric.name is missing: method bayes has to know what to improve")
    parameters = tuple(read_parameters(tree.get("parameters"), ""))
    if not parameters:
        raise SweepError("parameters is empty, expected what varies")
    keys = [parameter.key for parameter in parameters]
    for key in keys:
        if keys.count(key) > 1:
            raise SweepError(f"parameters.{key} comes twice, flat and nested")
    if method == "grid":
        parameters = tuple(parameter.as_choice() for parameter in parameters)
    run_cap = tree.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or isinstance(run_cap, bool) or run_cap < 1):
        raise SweepError(f"run_cap is {run_cap!r}, expected a number of trials")
    if run_cap is None and method != "grid":
        raise SweepError(f"run_cap is missing: method {method} has no end of its own")
    sweep = SweepFile(
        text=text,
        method=method,
        parameters=parameters,
        command=_command(tree),
        metric=str(metric.get("name") or ""),
        maximize=goal == "maximize",
        target=read_number(metric, "target", "metric") if "target" in metric else None,
        run_cap=run_cap,
        early_terminate=_early_terminate(tree.get("early_terminate"), str(metric.get("name") or "")),
        name=str(tree.get("name") or ""),
    )
    if method == "grid":
        for parameter in sweep.parameters:
            parameter.grid()
    return sweep


def _command(tree: dict[str, Any]) -> tuple[str, ...]:
    """The words of the command, with the program in its place; an unknown macro is refused."""
    command = tree.get("command")
    command = DEFAULT_COMMAND if command is None else command
    if not isinstance(command, str | list | tuple):
        raise SweepError(f"command is {command!r}, expected words such as [gain, fit, ..., ${{args}}]")
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    for word in words:
        if word in MACROS or _VARIABLE.fullmatch(word):
            continue
        within = next((macro for macro in MACROS if macro in word), None)
        if within is not None:
            raise SweepError(
                f"command has {within} inside the word {word!r}, expected it as a word of its own"
            )
        if word.startswith("${") and word.endswith("}") and not _VARIABLE.search(word):
            raise SweepError(
                f"unknown macro {word} in command, expected one of {', '.join(MACROS)}, "
                "or ${envvar:NAME} with a NAME of capital letters, digits and _"
            )
        if "${envvar:" in _VARIABLE.sub("", word):
            raise SweepError(
                f"command has {word!r}, expected ${{envvar:NAME}} with capital letters, digits and _"
            )
    if "${program}" in words and not tree.get("program"):
        raise SweepError(
            "program is missing, expected a script, or a command such as [gain, fit, ..., ${args}]"
        )
    words = [str(tree["program"]) if word == "${program}" else word for word in words]
    if not any(word != "${env}" for word in words):
        raise SweepError("command is empty")
    return tuple(words)


def _variable(macro: re.Match[str]) -> str:
    """The value of an environment variable; where it is not set, W&B would pass on the macro itself."""
    if macro[1] not in os.environ:
        raise SweepError(f"command has {macro[0]}, but the environment variable {macro[1]} is not set")
    return os.environ[macro[1]]


def _early_terminate(tree: Any, metric: str) -> dict[str, int]:
    """Hyperband's ``eta``, ``min_iter`` and ``max_iter``; empty if the sweep ends no trial early."""
    if tree is None:
        return {}
    refuse_unknown(tree, ("type", "min_iter", "max_iter", "s", "eta", "strict"), "early_terminate.")
    if tree.get("type") != "hyperband":
        raise SweepError(f"early_terminate.type is {tree.get('type')!r}, expected hyperband")
    if not metric:
        raise SweepError("metric.name is missing: early_terminate has to know what to look at")
    if metric.startswith(("test/", "center/")):
        raise SweepError(
            f"metric.name is {metric!r}, but early_terminate looks after each epoch: expected val/..."
        )
    numbers = {key: tree[key] for key in ("min_iter", "max_iter", "s", "eta") if key in tree}
    for key, number in numbers.items():
        if not isinstance(number, int) or number < (2 if key == "eta" else 1):
            raise SweepError(f"early_terminate.{key} is {number!r}, expected a whole number")
    if numbers.get("min_iter", 0) >= numbers.get("max_iter", math.inf):
        raise SweepError(f"early_terminate.min_iter is {numbers['min_iter']}, expected less than max_iter")
    if "min_iter" not in numbers and not {"max_iter", "s"} <= numbers.keys():
        raise SweepError("early_terminate needs min_iter, or max_iter and s")
    eta = numbers.get("eta", 3)
    if "min_iter" not in numbers:
        numbers["min_iter"] = max(numbers["max_iter"] // eta ** numbers["s"], 1)
    return {"eta": eta, **{key: numbers[key] for key in ("min_iter", "max_iter") if key in numbers}}


def _yaml_word(value: Any) -> str:
    """A value as LightningCLI reads it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def read_sweep_path(path: Path) -> SweepFile:
    """Read a sweep from its file.

    Raises:
        SweepError: If there is none, or as :func:`read_sweep_file`.
        ValueError: If it is not UTF-8.
    """
    if not path.is_file():
        raise SweepError(f"{path}: no such file")
    return read_sweep_file(read_text(path), where=str(path))
