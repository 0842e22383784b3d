"""Compare texts as a person sees them: letters may have another Unicode form, blanks or case may differ.

macOS writes ``é`` into the names of files as ``e`` and an accent (NFD), keyboards and tables write it as one letter
(NFC). Only the bytes differ, but a plain comparison of texts says that there is no such file or class.
"""

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def composed(text: str) -> str:
    r"""Return the text with every accented letter as one (NFC); it is equal for all texts that Unicode calls equal.

    Example:
        >>> composed("Ba\u0308r") == "B\u00e4r"
        True
    """
    return unicodedata.normalize("NFC", text)


def written_as(text: str, names: Iterable[str]) -> str:
    r"""Return the name that a text is, as the names write it; the text itself where it is not among them.

    The names may be in another Unicode form than the text.

    Example:
        >>> written_as("Ba\u0308r", ["B\u00e4r", "cat"]) == "B\u00e4r"
        True
        >>> written_as("dog", ["B\u00e4r", "cat"])
        'dog'
    """
    names = list(names)
    return text if text in names else {composed(name): name for name in names}.get(composed(text), text)


def places_of(names: Iterable[str], known: Sequence[str], key: str) -> list[int]:
    """Return the places that names have among others.

    Args:
        names: The names, in any Unicode form.
        known: The names that exist.
        key: The setting that names them, for the error.

    Raises:
        ValueError: If a name is not there; the error has the nearest one.

    Example:
        >>> places_of(["cow", "boat"], ["boat", "car", "cow"], "model.score_classes")
        [2, 0]
        >>> places_of(["bota"], ["boat", "car"], "model.score_classes")
        Traceback (most recent call last):
        ValueError: model.score_classes names 'bota', expected names among boat, car; did you mean 'boat'?
    """
    known, found = list(known), []
    for name in names:
        written = written_as(name, known)
        if written not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{key} names {name!r}, expected names among {', '.join(known)}{meant}")
        found.append(known.index(written))
    return found


def as_seen(text: str) -> str:
    r"""Return a text as a person sees it: no invisible letters, one space for every run of blanks, none at the ends.

    Example:
        >>> as_seen("polar\u00a0bear\u200b "), as_seen("\uff43at")
        ('polar bear', 'cat')
    """
    plain = unicodedata.normalize("NFKC", text)
    return " ".join("".join(letter for letter in plain if unicodedata.category(letter) != "Cf").split())


def look_of(text: str) -> str:
    """Return a key that is equal for texts that a person may take for one, in upper or lower case.

    Example:
        >>> look_of("IMG 1.JPG") == look_of("img  1.jpg")
        True
    """
    return as_seen(text).casefold()


def as_file(name: str) -> str:
    r"""Return a key that is equal for names that are one file on some system.

    macOS and Windows do not tell upper from lower case, and macOS does not tell Unicode forms apart.

    Example:
        >>> as_file("A\u0308.PNG") == as_file("\u00e4.png")
        True
    """
    return composed(composed(name).casefold())


def difference(text: str, expected: str) -> str:
    r"""Say in words how two texts differ that look alike.

    Example:
        >>> difference("Ba\u0308r", "B\u00e4r")
        'in another Unicode form (NFD, expected NFC)'
        >>> difference("cat\u00a0", "cat"), difference("Cat", "cat")
        ("with other blanks or invisible letters ('cat\\xa0')", 'with other upper and lower case')
    """
    if composed(text) == composed(expected):
        forms = [
            next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, one)), "a mixture")
            for one in (text, expected)
        ]
        return f"in another Unicode form ({forms[0]}, expected {forms[1]})"
    if as_seen(text) == as_seen(expected):
        return f"with other blanks or invisible letters ({text!a})"
    return "with other upper and lower case"


def first_pair(items: Iterable[Item], name: Callable[[Item], str] = str) -> tuple[Item, Item] | None:
    """Return the first two items whose names are one file on some system; None where there are no such two.

    Example:
        >>> first_pair(["a", "b", "A"])
        ('a', 'A')
    """
    taken: dict[str, Item] = {}
    for item in items:
        key = as_file(name(item))
        if key in taken:
            return taken[key], item
        taken[key] = item
    return None
