"""Paths below the user's home: kept as ``~/...``, so that a run folder can be shared without a user's name in it."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace


def hide_home(value: Any) -> Any:
    """Replace the home folder at the beginning of every string by ``~``; whoever opens a path expands it again.

    Args:
        value: A string, or lists, dicts and namespaces of any depth.

    Returns:
        The same with other strings.

    Example:
        >>> hide_home([str(Path.home() / "VOCdevkit"), "/data/VOCdevkit", 3])
        ['~/VOCdevkit', '/data/VOCdevkit', 3]
    """
    if isinstance(value, str):
        home = str(Path.home()).rstrip("/")
        is_below = home and (value == home or value.startswith(f"{home}/"))
        return f"~{value[len(home) :]}" if is_below else value
    if isinstance(value, list | tuple):
        return type(value)(map(hide_home, value))
    if isinstance(value, dict):
        return {key: hide_home(element) for key, element in value.items()}
    if isinstance(value, Namespace):
        return Namespace({key: hide_home(element) for key, element in vars(value).items()})
    return value
