"""The parameters of a sweep file: the meaning of their entries, and how values are drawn."""

import contextlib
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

_PARAMETER = ("value", "values", "distribution", "probabilities", "min", "max", "mu", "sigma", "q")
# By distribution: whether it has whole numbers, is uniform in the logarithm, and takes exponents as its ends.
_RANGES = {
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


class SweepError(ValueError):
    """A sweep file that cannot be run as it says; the message names the key."""


@dataclass(frozen=True)
class Parameter:
    """The values that one key of the config may have.

    A search sees a raw value: an index, a number, or a quantile of a normal distribution. A trial gets what it stands
    for, see :meth:`value`.

    Attributes:
        key: The dotted key, as on the command line.
        values: The values to choose from; empty for a range of numbers.
        probabilities: The probabilities of the values; empty if all are equal.
        low, high: The ends of the raw value.
        is_int: Whether the number is whole.
        is_log: Whether the number's logarithm is drawn.
        normal: The mean and standard deviation of a normal distribution; None for others.
        q: The number is rounded to a multiple of this; 0 does not round it.
    """

    key: str
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_int: bool = False
    is_log: bool = False
    normal: tuple[float, float] | None = None
    q: float = 0

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw a raw value."""
        if self.values:
            return int(rng.choice(len(self.values), p=self.probabilities or None))
        if self.is_int:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if self.is_log and not self.normal:
            return min(
                max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high
            )
        return float(rng.uniform(self.low, self.high))

    def grid(self) -> list[int]:
        """All raw values.

        Raises:
            SweepError: If they are infinitely many.
        """
        if self.values:
            return list(range(len(self.values)))
        if self.is_int:
            return list(range(int(self.low), int(self.high) + 1))
        raise SweepError(f"parameters.{self.key}: method grid needs values, int_uniform or q_uniform")

    def suggest(self, trial: Any) -> Any:
        """The value of an Optuna trial, which gets one if it has none."""
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
        """The value that a raw value stands for."""
        if self.values:
            return self.values[raw]
        if self.normal:
            raw = NormalDist(*self.normal).inv_cdf(raw)
            raw = math.exp(raw) if self.is_log else raw
        if not self.q:
            return raw
        value = round(raw / self.q) * self.q
        # A multiple of 0.2 is 0.6, not 0.6000000000000001.
        return value if isinstance(self.q, int) else float(f"{value:.12g}")

    def as_choice(self) -> "Parameter":
        """The parameter of a grid: W&B takes the steps of a quantised range without its upper end."""
        if self.values or not self.q or self.is_log or self.normal:
            return self
        steps = math.ceil((self.high - self.low) / self.q - 1e-9)
        points = (self.low + step * self.q for step in range(steps))
        whole = isinstance(self.q, int)
        return Parameter(
            self.key, tuple(int(p) if whole and p % 1 == 0 else float(f"{p:.12g}") for p in points)
        )


def refuse_unknown(tree: Any, known: Iterable[str], prefix: str) -> None:
    """Refuse a level of a sweep file that holds an unknown key, or no keys at all.

    Args:
        tree: What stands there.
        known: The keys that may.
        prefix: The keys above it, each with a dot after it.

    Raises:
        SweepError: If so; it names the key and the nearest known one.
    """
    if not isinstance(tree, dict):
        raise SweepError(f"{prefix.rstrip('.')} is {tree!r}, expected keys and values")
    known = list(known)
    for key in tree:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise SweepError(f"unknown key {prefix}{key}; {hint}")


def read_parameters(tree: Any, prefix: str) -> Iterable[Parameter]:
    """Read the parameters of a sweep file, nested ones too.

    Args:
        tree: What stands below ``parameters``.
        prefix: The keys above it, each with a dot after it.

    Yields:
        Each parameter, by its dotted key.

    Raises:
        SweepError: If an entry is unfit.
    """
    if not isinstance(tree, dict):
        raise SweepError(
            f"parameters{'.' + prefix[:-1] if prefix else ''} is {tree!r}, expected keys and values"
        )
    for name, entry in tree.items():
        key = f"{prefix}{name}"
        if isinstance(entry, dict) and set(entry) == {"parameters"}:
            yield from read_parameters(entry["parameters"], f"{key}.")
        else:
            refuse_unknown(entry, _PARAMETER, f"parameters.{key}.")
            yield _parameter(key, entry)


def _parameter(key: str, entry: dict[str, Any]) -> Parameter:
    """Read one parameter."""
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
    q = read_number(entry, "q", where, 1.0) if kind.startswith("q_") else 0.0
    if isinstance(entry.get("q", 1), int):
        q = int(q)
    if kind.startswith("q_") and not q > 0:
        raise SweepError(f"{where}.q is {q}, expected a positive number")
    if kind in _NORMALS:
        mu, sigma = read_number(entry, "mu", where, 0.0), read_number(entry, "sigma", where, 1.0)
        if not sigma > 0:
            raise SweepError(f"{where}.sigma is {sigma}, expected a positive number")
        return Parameter(key, low=1e-6, high=1 - 1e-6, is_log="log" in kind, normal=(mu, sigma), q=q)
    is_int, is_log, are_exponents = _RANGES[kind]
    low, high = read_number(entry, "min", where), read_number(entry, "max", where)
    if not low <= high:
        raise SweepError(f"{where}: min is {low}, above max {high}")
    if is_int and (low % 1 or high % 1):
        raise SweepError(f"{where}: {kind} needs whole numbers, got {low} and {high}")
    if kind == "inv_log_uniform":
        # log(1/x) lies between the ends.
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


def _kind(entry: dict[str, Any], where: str) -> str:
    """The distribution that W&B takes if none is named."""
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


def read_number(entry: dict[str, Any], name: str, where: str, default: float | None = None) -> float:
    """Read a finite number of a sweep file.

    Args:
        entry: The keys and values among which it stands.
        name: Its key.
        where: The dotted keys above it, for messages.
        default: Stands for a missing number; None refuses that.

    Raises:
        SweepError: If it is no finite number.
    """
    number = entry.get(name, default)
    if isinstance(number, str):
        # YAML reads 1e-4 as text.
        with contextlib.suppress(ValueError):
            number = float(number)
    if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
        raise SweepError(f"{where}.{name} is {number!r}, expected a number")
    return float(number)
