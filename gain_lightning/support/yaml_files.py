"""Read YAML that people write, strictly."""

import contextlib
from pathlib import Path
from typing import Any

import yaml

from gain_lightning.support.files import read_text


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key that comes twice; YAML's own reader would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for place, name in enumerate(names):
            if name in names[:place]:
                line = node.value[place][0].start_mark.line + 1
                raise ValueError(f"line {line}: key {name!r} comes twice")
        return super().construct_mapping(node, deep)


def refuse_key_twice(text: str) -> None:
    r"""Refuse a key that comes twice in YAML that another reader reads.

    Raises:
        ValueError: If a key comes twice in one mapping.

    Example:
        >>> refuse_key_twice("sigma: 0.3\nsigma: 0.7")
        Traceback (most recent call last):
        ValueError: line 2: key 'sigma' comes twice
    """
    # The other reader reports text that is no YAML.
    with contextlib.suppress(yaml.YAMLError):
        yaml.load(text, _StrictLoader)


def read_mapping(text: str) -> dict[str, Any]:
    """Read keys and values from YAML that people wrote.

    Raises:
        ValueError: If it is no YAML, no mapping, runs code, or has a key twice.

    Example:
        >>> read_mapping("model: {sigma: 0.4}")
        {'model': {'sigma': 0.4}}
    """
    try:
        tree = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"not readable as YAML ({' '.join(str(error).split())})") from error
    except RecursionError as error:
        raise ValueError("nested deeper than YAML's reader goes") from error
    if not isinstance(tree, dict):
        raise ValueError(f"holds {type(tree).__name__}, expected keys and values")
    return tree


def read_config(path: Path) -> dict[str, Any]:
    """Read a config file as it is written.

    Raises:
        ValueError: If :func:`read_mapping` refuses the text, or the text is not UTF-8; the error names the file.
    """
    text = read_text(path)
    try:
        return read_mapping(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
