"""The parser of ``gain fit | validate | test``: an error is one line that names the key."""

import difflib
import inspect
import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from jsonargparse import get_loader, set_loader
from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.utilities import rank_zero_warn

from gain_lightning.datasets import __all__ as DATA_MODULES
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.methods.table import METHODS, method_for
from gain_lightning.runs.old_settings import today
from gain_lightning.support.command_line import config_of, options_of
from gain_lightning.support.messages import print_error, unknown_name
from gain_lightning.support.yaml_files import refuse_key_twice


def method_of(argv: list[str]) -> str:
    """Return the name of the method that a command line is about; it decides which keys ``model`` has.

    The last config or option with a ``method`` names it. Without one, it is the method that the last named data
    module is made for.

    Raises:
        ValueError: If a config is unfit, see :func:`read_config`, if there is no method of this name, or if it trains
            on other data.

    Example:
        >>> method_of(["fit", "--data=CueDataModule"]), method_of(["fit", "--data", "ShapesDataModule"])
        ('SEC', 'GAIN')
    """
    method: Any = None
    data = ""
    for key, value in options_of(argv):
        if key in ("config", "c"):
            config = config_of(value)
            method = config.get("method", method)
            named = config.get("data")
            data = str(named.get("class_path", data)) if isinstance(named, dict) else data
        elif key == "method":
            method = yaml.safe_load(value)
        elif key in ("data", "data.class_path"):
            data = value
    if method is None:
        return method_for(data)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}, or null")
    module, theirs = data.rpartition(".")[2], METHODS[method].data
    if module in DATA_MODULES and METHODS[method_for(module)].data != theirs:
        raise ValueError(f"method is {method}, but data is {module}: expected {theirs.rpartition('.')[2]}")
    return method


_UNKNOWN = re.compile(
    r"unrecognized arguments: --(?P<flag>[\w.]+)|does not accept option '(?P<key>[\w.]+)'"
    r"|Option '(?P<option>[\w.]+)' is not accepted|Expected a dot import path string: (?P<name>[A-Z]\w+)"
)
_INSIDE = re.compile(r"Problem with given class_path '(?:\w+\.)*(\w+)'")


def _load_yaml(text: str) -> Any:
    """Read YAML of a file or a value as jsonargparse does, but refuse a key that comes twice.

    A config of an earlier version is given in today's keys, and a warning says how it is written now.
    """
    refuse_key_twice(text)
    found = _lenient(text)
    if not isinstance(found, dict):
        return found
    config, notes = today(found)
    for note in notes:
        rank_zero_warn(note)
    return config


_lenient = get_loader("yaml")
set_loader("yaml", _load_yaml, exceptions=(yaml.YAMLError,))


def whole_numbers_first(kind: Any) -> Any:
    """Reorder a type that takes whole numbers and fractions, so that whole numbers are tried first.

    ``trainer.limit_train_batches 1`` is one batch, and ``1.0`` is all of them. jsonargparse tries the members of a
    union in their order, and makes 1.0 of a 1 if ``float`` comes before ``int``. The order is chance, since
    ``typing`` keeps one object for ``int | float | None`` and ``float | int | None``, the one that was made first.

    Args:
        kind: A type as annotations have it, nested to any depth.

    Returns:
        The same type, with ``int`` right before ``float`` in each of its unions.

    Example:
        >>> whole_numbers_first(dict[str, float | int | str])
        dict[str, typing.Union[int, float, str]]
    """
    origin, inner = get_origin(kind), get_args(kind)
    if not inner or origin in (Literal, Annotated, Callable):
        return kind
    ordered = [whole_numbers_first(member) for member in inner]
    if origin in (Union, UnionType):
        if int in ordered and float in ordered:
            ordered.remove(int)
            ordered.insert(ordered.index(float), int)
        # The members are a list, which ``|`` cannot join.
        return Union[tuple(ordered)]  # noqa: UP007
    if all(new is old for new, old in zip(ordered, inner, strict=True)):
        return kind
    return origin[tuple(ordered)]


class ConfigParser(LightningArgumentParser):
    """A parser that keeps whole numbers whole, and reports a wrong key in one line with the nearest valid name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"prog": "gain", **kwargs}, allow_abbrev=False)

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Add an argument as jsonargparse does; its groups of arguments use this method too."""
        action = super().add_argument(*args, **kwargs)
        if hasattr(action, "_typehint"):
            action._typehint = whole_numbers_first(action._typehint)
        return action

    def error(self, message: str, ex: Exception | None = None) -> None:
        """Print the error and exit with status 2."""
        # Without ``exit_on_error`` jsonargparse is trying alternatives.
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        unknown = _UNKNOWN.search(message)
        name = next((group for group in unknown.groups() if group), "") if unknown else ""
        inside = _wrapping_module(_INSIDE.findall(message)[-1:])
        if unknown is not None and name and not unknown["name"] and inside is not None:
            near = _nearest_inside(inside, name)
            message = (
                f"unknown key 'data.{name}'; {f'did you mean {near!r}?' if near else '--help lists the keys'}"
            )
        elif name in _known_names(self):
            modules = ", ".join(module.__name__ for module in TwoStreamDataModule.__subclasses__())
            message = f"key {name!r} needs data.class_path beside it, expected one of {modules}"
        elif unknown:
            known = sorted(_known_names(parser if parser is not self else self._fit_parser()))
            message = unknown_name(name, known, "class" if unknown["name"] else "key")
        print_error(self._verb(), explain(message))
        self.exit(2)

    def _verb(self) -> str:
        """Return the verb whose options this parser reads."""
        return next(iter(self._verb_parsers()), self.prog.split()[-1])

    def _fit_parser(self) -> LightningArgumentParser:
        """Return the parser of any verb, since all verbs share their keys."""
        return next(iter(self._verb_parsers().values()), self)

    def _verb_parsers(self) -> dict[str, LightningArgumentParser]:
        """Return the parsers below this one by their verbs: one below that of ``gain``, none below that of a verb."""
        maps = (action._name_parser_map for action in self._actions if hasattr(action, "_name_parser_map"))
        return next(maps, {})


def _wrapping_module(names: list[str]) -> type | None:
    """Return the first data module among ``names`` that takes its images from another, as argument ``images``."""
    modules = {module.__name__: module for module in LightningDataModule.__subclasses__()}
    found = [modules[name] for name in names if name in modules]
    return next((module for module in found if "images" in inspect.signature(module).parameters), None)


def _nearest_inside(module: type, name: str) -> str | None:
    """Return the nearest key of a data module that takes its images from another one."""
    arguments = arguments_of(TwoStreamDataModule.__subclasses__())
    if name in arguments:
        return f"data.images.{name}"
    known = arguments_of([module]) | {f"images.{argument}" for argument in arguments}
    return next(
        (f"data.{near}" for near in difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)), None
    )


def arguments_of(classes: list[type]) -> set[str]:
    """Return the arguments of data modules or methods, with those that a ``**`` passes on to the base class."""
    names: set[str] = set()
    for each_class in classes:
        for base in each_class.__mro__:
            parameters = inspect.signature(base).parameters.values()
            names |= {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
            if all(each.kind is not each.VAR_KEYWORD for each in parameters):
                break
    return names


def _known_names(parser: LightningArgumentParser) -> set[str]:
    """Return the keys of the config, the arguments of the data modules, and the data modules' names."""
    names = {action.dest for action in parser._actions}
    modules = TwoStreamDataModule.__subclasses__()
    arguments = arguments_of(modules)
    return (
        names | arguments | {f"data.{name}" for name in arguments} | {module.__name__ for module in modules}
    )


_TYPE = re.compile(
    r"Expected an? (?:<class '(?:\w+\.)*(?P<name>\w+)'>|typing\.Literal\[(?P<choices>[^\]]*)\])"
)
_CLASS = re.compile(
    r"Not a valid subclass of|Expected a dot import path|Expected an import path or a subclass spec, but got"
)
_NO_MAPPING = "object has no attribute 'keys'"
_GIVEN = re.compile(r"(?:Got|Given) value: (?P<value>.*?)(?:\. Got value: .*)?$", re.MULTILINE)


def explain(message: str) -> str:
    """Shorten jsonargparse's message about a wrong value, without the list of all types that it tried.

    Example:
        >>> explain('''Parser key "model.sigma":
        ...   Expected a <class 'float'>. Got value: high''')
        "model.sigma is 'high', expected float"
    """
    keys = list(re.finditer(r'Parser key "([\w.]+)":', message))
    if not keys:
        return _innermost(message)
    reasons = message[keys[-1].end() :]
    given = _GIVEN.search(reasons)
    if given:
        reasons = reasons[: given.start()]
    types = list(dict.fromkeys(found["name"] or found["choices"] for found in _TYPE.finditer(reasons)))
    if _NO_MAPPING in reasons:
        types = ["init_args of keys and values"]
    # Where a number is expected, a class is expected only because torch takes a Tensor for a rate too.
    elif _CLASS.search(reasons) and not {"int", "float"} & set(types):
        types.insert(0, "class_path with init_args")
    if not given or not types:
        return _innermost(message)
    key = ".".join(found[1] for found in keys)
    expected = " or ".join("null" if name == "NoneType" else name for name in types)
    return f"{key} is {given['value']!r}, expected {expected}"


def _innermost(message: str) -> str:
    """Return the error inside a data module, without the list of types that jsonargparse tried."""
    if "Union subtypes" not in message:
        return message
    tried = re.findall(r"^ +- (.*(?:\n {6,}.*)*)", message, flags=re.MULTILINE)
    inner = next((reason for reason in tried if "NoneType" not in reason), message)
    return re.sub(r"^Problem with given class_path '[^']*':\s*", "", inner)
