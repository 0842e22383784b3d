"""Keep paths below the user's home as ``~/...``, so that a run folder can be shared without a user's name in it."""

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any


def hide_home(value: Any) -> Any:
    """Replace the home folder at the beginning of every string by ``~``.

    Args:
        value: A string, or lists, tuples, dicts and namespaces of any depth.

    Returns:
        The same value with the home folder replaced.

    Example:
        >>> hide_home([os.path.expanduser("~/VOCdevkit"), "/data/VOCdevkit", 3])
        ['~/VOCdevkit', '/data/VOCdevkit', 3]
    """
    home = _home()
    if not home:
        return value
    return map_strings(
        value, lambda text: f"~{text[len(home) :]}" if text == home or text.startswith(f"{home}/") else text
    )


def expand_home(value: Any) -> Any:
    """Undo :func:`hide_home`."""
    return map_strings(
        value, lambda text: os.path.expanduser(text) if text == "~" or text.startswith("~/") else text
    )


def without_home(text: str) -> str:
    """Return a text, such as an error's, in which paths below the home folder begin with ``~``."""
    home = _home()
    return text.replace(f"{home}/", "~/") if home else text


def map_strings(value: Any, function: Callable[[str], str]) -> Any:
    """Apply a function to every string in lists, tuples, dicts (their keys too) and namespaces of any depth."""
    if isinstance(value, str):
        return function(value)
    if isinstance(value, Path):
        return type(value)(function(str(value)))
    if type(value) in (list, tuple):
        return type(value)(map_strings(element, function) for element in value)
    if isinstance(value, dict):
        return {map_strings(key, function): map_strings(element, function) for key, element in value.items()}
    # jsonargparse's namespace is a subclass of argparse's.
    if isinstance(value, Namespace):
        return type(value)(**{key: map_strings(element, function) for key, element in vars(value).items()})
    return value


def cache_folder() -> Path:
    """Return the folder of files that runs share and can make again, in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "gain_lightning"


def _home() -> str:
    """Return the home folder; "" where there is none, or where it is the root of all folders."""
    home = os.path.expanduser("~").rstrip("/")
    return home if os.path.isabs(home) else ""
