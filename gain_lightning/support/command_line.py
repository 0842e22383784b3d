"""A command line of ``gain fit | validate | test``, read before its parser is made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gain_lightning.support.yaml_files import read_config, read_mapping


def options_of(argv: list[str]) -> Iterator[tuple[str, str]]:
    """Give the keys and values of a command line; a missing value is an empty text.

    Example:
        >>> list(options_of(["fit", "--model.sigma=0.4", "-crun.yaml", "--run_dir", "runs/a"]))
        [('model.sigma', '0.4'), ('c', 'run.yaml'), ('run_dir', 'runs/a')]
    """
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word.startswith("--"):
            key, separator, value = word.lstrip("-").partition("=")
            yield key.rstrip("+"), value if separator else following
        elif word.startswith("-c"):
            yield "c", word[2:].removeprefix("=") or following


def is_file_name(config: str) -> bool:
    """Tell whether the value of ``--config`` names a file; jsonargparse takes any other for the text of a config."""
    try:
        return isinstance(yaml.safe_load(config), str)
    except yaml.YAMLError:
        return False


def config_of(value: str) -> dict[str, Any]:
    """Read what ``--config`` is given, a file or a text; a file that is missing holds nothing.

    Raises:
        ValueError: If :func:`read_config` or :func:`read_mapping` refuses it.
    """
    if not is_file_name(value):
        return read_mapping(value)
    path = Path(value).expanduser()
    return read_config(path) if path.is_file() else {}
