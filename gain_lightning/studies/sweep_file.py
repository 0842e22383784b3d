"""A W&B sweep file (https://docs.wandb.ai/guides/sweeps/sweep-config-keys), read for sweeps without a server."""

import contextlib
import difflib
import itertools
import json
import math
import os
import re
import shlex
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from gain_lightning.files import read_text
from gain_lightning.yaml_files import read_mapping

_TOP = (
    *("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap"),
    *("name", "description", "project", "entity", "controller"),
)
_PARAMETER = ("value", "values", "distribution", "probabilities", "min", "max", "mu", "sigma", "q")
_RANGES = {  # distribution: is it of whole numbers, is it uniform in the logarithm, are its ends exponents
    "int_uniform": (True, False, False),
    "uniform": (False, False, False),
    "q_uniform": (False, False, False),
    "log_uniform": (False, True, True),
    "q_log_uniform": (False, True, True),
    "log_uniform_values": (False, True, False),
    "q_log_uniform_values": (False, True, False),
    "inv_log_uniform": (False, True, True),
    "inv_log_uniform_values": (False, True, False),
}
_NORMALS = ("normal", "q_normal", "log_normal", "q_log_normal")
_CHOICES = ("constant", "categorical", "categorical_w_probabilities")
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
MACROS = (  # each a word of its own
    *("${env}", "${interpreter}", "${program}", "${args}", "${args_no_equals}", "${args_no_hyphens}"),
    *("${args_no_boolean_flags}", "${args_json}", "${args_json_file}"),
    *("${args_append_hydra}", "${args_override_hydra}"),
)
_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]+)\}")  # anywhere in a word


class SweepError(ValueError):
    """A sweep file that cannot be run as it says; the message names the key."""


@dataclass(frozen=True)
class Parameter:
    """What one key of the config may be.

    A search sees a raw value (an index, a number, or a quantile of a normal distribution), a trial gets
    :meth:`value` of it.

    Attributes:
        key: Dotted, as on the command line.
        values: To choose from; empty if it is a number.
        probabilities: Of the values; empty if all are equal.
        low, high: Ends of the raw value.
        is_int: Whether the number is whole.
        is_log: Whether the number's logarithm is drawn.
        normal: Mean and standard deviation, or None.
        q: The number is rounded to a multiple of this; 0 leaves it.
    """

    key: str
    values: tuple = ()
    probabilities: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_int: bool = False
    is_log: bool = False
    normal: tuple[float, float] | None = None
    q: float = 0

    def draw(self, rng: np.random.Generator) -> Any:
        """A random raw value."""
        if self.values:
            return int(rng.choice(len(self.values), p=self.probabilities or None))
        if self.is_int:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if self.is_log and not self.normal:
            return min(
                max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high
            )
        return float(rng.uniform(self.low, self.high))

    def grid(self) -> list:
        """Every raw value.

        Raises:
            SweepError: If there is no end to them.
        """
        if self.values:
            return list(range(len(self.values)))
        if self.is_int:
            return list(range(int(self.low), int(self.high) + 1))
        raise SweepError(f"parameters.{self.key}: method grid needs values, int_uniform or q_uniform")

    def suggest(self, trial: Any) -> Any:
        """The value that an Optuna trial has, or now gets."""
        if len(self.values) == 1:
            return self.values[0]
        if self.values:
            raw = trial.suggest_categorical(self.key, list(range(len(self.values))))
        elif self.is_int:
            raw = trial.suggest_int(self.key, int(self.low), int(self.high))
        else:
            raw = trial.suggest_float(self.key, self.low, self.high, log=self.is_log and not self.normal)
        return self.value(raw)

    def value(self, raw: Any) -> Any:
        """What a raw value stands for."""
        if self.values:
            return self.values[raw]
        if self.normal:
            raw = NormalDist(*self.normal).inv_cdf(raw)
            raw = math.exp(raw) if self.is_log else raw
        if not self.q:
            return raw
        value = round(raw / self.q) * self.q
        return value if isinstance(self.q, int) else float(f"{value:.12g}")  # not 0.6000000000000001

    def as_choice(self) -> "Parameter":
        """For a grid: what W&B takes of a quantised range, from its lower end on and without its upper end."""
        if self.values or not self.q or self.is_log or self.normal:
            return self
        steps = math.ceil((self.high - self.low) / self.q - 1e-9)
        points = (self.low + step * self.q for step in range(steps))
        whole = isinstance(self.q, int)
        return Parameter(
            self.key, tuple(int(p) if whole and p % 1 == 0 else float(f"{p:.12g}") for p in points)
        )


@dataclass(frozen=True)
class SweepFile:
    """A sweep.

    Attributes:
        text: The file, verbatim.
        method: ``grid``, ``random`` or ``bayes``.
        parameters: What varies, and what is constant.
        command: Words of the program with macros such as ``${args}``.
        metric: Name of the number that is looked at; empty if none is.
        maximize: Whether more of it is better.
        target: No trial is begun once the metric is as good as this; None for never.
        run_cap: Trials at most; None for all of a grid.
        early_terminate: Hyperband's ``eta``, ``min_iter`` and ``max_iter``; empty without it.
        name: For people.
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
        """Raw values of every trial, drawn from the file's text; empty ones for a search that chooses as it goes."""
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
            values: By key.
            args_json_file: What takes the place of ``${args_json_file}``.

        Raises:
            SweepError: If an environment variable that the command names is not set.

        Example:
            >>> text = "{method: grid, parameters: {a: {values: [true]}}, command: [run, '${args_no_equals}']}"
            >>> read_sweep_file(text, where="sweep.yaml").words({"a": True})
            ['run', '--a', 'True']
        """
        said = _yaml_word if _is_gain(self.command) else str
        pairs = [(key, said(value)) for key, value in values.items()]
        kinds = {
            "${env}": ["/usr/bin/env"],
            "${interpreter}": [sys.executable],
            "${args}": [f"--{key}={word}" for key, word in pairs],
            "${args_no_equals}": [part for key, word in pairs for part in (f"--{key}", word)],
            "${args_no_hyphens}": [f"{key}={word}" for key, word in pairs],
            "${args_no_boolean_flags}": [  # a flag is there or not
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
        text: YAML.
        where: Its file, for messages.

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
    try:
        tree = read_mapping(text)
    except ValueError as error:
        raise SweepError(str(error)) from error
    _refuse_unknown(tree, _TOP, "")
    method = tree.get("method")
    if method not in ("grid", "random", "bayes"):
        raise SweepError(f"method is {method!r}, expected grid, random or bayes")
    metric = tree.get("metric") or {}
    _refuse_unknown(metric, ("name", "goal", "target"), "metric.")
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise SweepError(f"metric.goal is {goal!r}, expected minimize or maximize")
    if method == "bayes" and not metric.get("name"):
        raise SweepError("metric.name is missing: method bayes has to know what to improve")
    parameters = tuple(_parameters(tree.get("parameters"), ""))
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
        target=_number(metric, "target", "metric") if "target" in metric else None,
        run_cap=run_cap,
        early_terminate=_early_terminate(tree.get("early_terminate"), str(metric.get("name") or "")),
        name=str(tree.get("name") or ""),
    )
    if method == "grid":
        for parameter in sweep.parameters:
            parameter.grid()
    return sweep


def _refuse_unknown(tree: Any, known: Iterable[str], prefix: str) -> None:
    if not isinstance(tree, dict):
        raise SweepError(f"{prefix.rstrip('.')} is {tree!r}, expected keys and values")
    known = list(known)
    for key in tree:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise SweepError(f"unknown key {prefix}{key}; {hint}")


def _command(tree: dict) -> tuple[str, ...]:
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


def _variable(macro: re.Match) -> str:
    """What an environment variable holds; W&B would pass its name where it is not set."""
    if macro[1] not in os.environ:
        raise SweepError(f"command has {macro[0]}, but the environment variable {macro[1]} is not set")
    return os.environ[macro[1]]


def _early_terminate(tree: Any, metric: str) -> dict[str, int]:
    if tree is None:
        return {}
    _refuse_unknown(tree, ("type", "min_iter", "max_iter", "s", "eta", "strict"), "early_terminate.")
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


def _parameters(tree: Any, prefix: str) -> Iterable[Parameter]:
    if not isinstance(tree, dict):
        raise SweepError(
            f"parameters{'.' + prefix[:-1] if prefix else ''} is {tree!r}, expected keys and values"
        )
    for name, entry in tree.items():
        key = f"{prefix}{name}"
        if isinstance(entry, dict) and set(entry) == {"parameters"}:
            yield from _parameters(entry["parameters"], f"{key}.")
        else:
            _refuse_unknown(entry, _PARAMETER, f"parameters.{key}.")
            yield _parameter(key, entry)


def _parameter(key: str, entry: dict) -> Parameter:
    where = f"parameters.{key}"
    kind = entry.get("distribution") or _kind(entry, where)
    if kind not in (*_CHOICES, *_RANGES, *_NORMALS):
        raise SweepError(
            f"{where}: unknown distribution {kind!r}, expected one of {', '.join((*_CHOICES, *_RANGES, *_NORMALS))}"
        )
    if kind in _CHOICES:
        values = [entry["value"]] if "value" in entry else entry.get("values")
        if not isinstance(values, list) or not values:
            raise SweepError(f"{where}: {kind} needs value or values")
        probabilities = entry.get("probabilities") or []
        are_shares = isinstance(probabilities, list) and all(
            isinstance(share, int | float) and 0 <= share <= 1 for share in probabilities
        )
        if probabilities and not (
            are_shares and len(probabilities) == len(values) and abs(sum(probabilities) - 1) <= 1e-6
        ):
            raise SweepError(f"{where}.probabilities: expected {len(values)} numbers of 0 to 1 that sum to 1")
        return Parameter(key, tuple(values), tuple(float(share) for share in probabilities))
    if "q" in entry and not kind.startswith("q_"):
        raise SweepError(f"{where}.q: {kind} knows no q, expected distribution q_{kind.removeprefix('int_')}")
    q = _number(entry, "q", where, 1.0) if kind.startswith("q_") else 0.0
    if isinstance(entry.get("q", 1), int):
        q = int(q)
    if kind.startswith("q_") and not q > 0:
        raise SweepError(f"{where}.q is {q}, expected a positive number")
    if kind in _NORMALS:
        mu, sigma = _number(entry, "mu", where, 0.0), _number(entry, "sigma", where, 1.0)
        if not sigma > 0:
            raise SweepError(f"{where}.sigma is {sigma}, expected a positive number")
        return Parameter(key, low=1e-6, high=1 - 1e-6, is_log="log" in kind, normal=(mu, sigma), q=q)
    is_int, is_log, are_exponents = _RANGES[kind]
    low, high = _number(entry, "min", where), _number(entry, "max", where)
    if not low <= high:
        raise SweepError(f"{where}: min is {low}, above max {high}")
    if is_int and (low % 1 or high % 1):
        raise SweepError(f"{where}: {kind} needs whole numbers, got {low} and {high}")
    if kind == "inv_log_uniform":  # log(1/x) lies between them
        low, high = -high, -low
    if are_exponents:
        if max(abs(low), abs(high)) > 700:
            raise SweepError(
                f"{where}: {kind} takes exponents, and e to the power of {high:g} is too large; "
                "did you mean log_uniform_values?"
            )
        low, high = math.exp(low), math.exp(high)
    if is_log and not low > 0:
        raise SweepError(f"{where}.min is {low}, but a logarithm needs a positive number")
    return Parameter(key, low=low, high=high, is_int=is_int, is_log=is_log, q=q)


def _kind(entry: dict, where: str) -> str:
    """The distribution that W&B takes where none is named."""
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical_w_probabilities" if "probabilities" in entry else "categorical"
    if "min" in entry and "max" in entry:
        both_int = all(isinstance(entry[end], int) for end in ("min", "max"))
        return "int_uniform" if both_int else "uniform"
    if "mu" in entry and "sigma" in entry:
        return "normal"
    raise SweepError(f"{where}: got {', '.join(entry) or 'nothing'}, expected value, values, or min and max")


def _number(entry: dict, name: str, where: str, default: float | None = None) -> float:
    number = entry.get(name, default)
    if isinstance(number, str):  # YAML reads 1e-4 as text
        with contextlib.suppress(ValueError):
            number = float(number)
    if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
        raise SweepError(f"{where}.{name} is {number!r}, expected a number")
    return float(number)


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
