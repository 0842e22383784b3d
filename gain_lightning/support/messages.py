"""Words of errors that several places share."""

import difflib
from collections.abc import Iterable
from functools import lru_cache


def unknown_name(name: str, known: Iterable[str], kind: str = "key") -> str:
    """That there is no such name, and which may be meant.

    Example:
        >>> unknown_name("model.sigmaa", ["model.sigma", "model.omega"])
        "unknown key 'model.sigmaa'; did you mean 'model.sigma'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"unknown {kind} {name!r}; {f'did you mean {near[0]!r}?' if near else '--help lists the keys'}"


@lru_cache  # of the few names of test sets, for every row of a table
def printable(text: str) -> str:
    """The text with ``?`` for what a terminal or a font cannot show."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
