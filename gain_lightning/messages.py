"""Words of errors that several places share."""

import difflib
from collections.abc import Iterable


def unknown_name(name: str, known: Iterable[str], kind: str = "key") -> str:
    """That there is no such name, and which may be meant.

    Example:
        >>> unknown_name("model.sigmaa", ["model.sigma", "model.omega"])
        "unknown key 'model.sigmaa'; did you mean 'model.sigma'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"unknown {kind} {name!r}; {f'did you mean {near[0]!r}?' if near else '--help lists the keys'}"
