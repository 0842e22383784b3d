"""The form of error messages, shared by all that report errors."""

import difflib
import sys
from collections.abc import Iterable
from functools import lru_cache


def unknown_name(name: str, known: Iterable[str], kind: str = "key") -> str:
    """Return the message that a name is unknown, with the known name that may be meant.

    Args:
        name: The name as it was given.
        known: The names that exist.
        kind: The kind of thing that they name, such as ``key``, ``class`` or ``option``.

    Example:
        >>> unknown_name("model.sigmaa", ["model.sigma", "model.omega"])
        "unknown key 'model.sigmaa'; did you mean 'model.sigma'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    listed = "options" if kind == "option" else "keys"
    return (
        f"unknown {kind} {name!r}; {f'did you mean {near[0]!r}?' if near else f'--help lists the {listed}'}"
    )


# Answers are kept, because every row of a table asks for the same few names of test sets.
@lru_cache
def printable(text: str) -> str:
    """Return the text with ``?`` for every letter that a terminal or a font cannot show."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def print_error(verb: str, message: str) -> None:
    """Print an error to stderr in the one form that all verbs have, ``gain VERB: error: ...``.

    Names out of files may hold codes that would move the cursor or colour the screen; ``?`` stands for them.

    Args:
        verb: The verb's name; empty if there is none yet.
        message: The message: it says what was got, what was expected, and where.
    """
    text = "\n".join(printable(line) for line in message.split("\n"))
    print(f"gain {verb}: error: {text}" if verb else f"gain: error: {text}", file=sys.stderr)
