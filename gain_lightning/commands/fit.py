"""``gain fit``: train one run; and what ``fit``, ``validate`` and ``test`` refuse before torch is imported."""

import ast
import difflib
import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from gain_lightning.commands.common import prepare_torch
from gain_lightning.methods.table import METHODS
from gain_lightning.runs.folder import refuse_second_run
from gain_lightning.runs.old_settings import IN_SHARES
from gain_lightning.support.command_line import is_file_name, options_of
from gain_lightning.support.messages import print_error, unknown_name

# Classes whose arguments are the keys below a group, by import path; those below ``model`` are the methods'.
_CLASSES = {
    "trainer": ("pytorch_lightning.trainer.trainer.Trainer",),
    "data": (
        "gain_lightning.datasets.folder.FolderDataModule",
        "gain_lightning.datasets.shapes.ShapesDataModule",
        "gain_lightning.datasets.voc12.VOC12DataModule",
        # The data modules pass their **streams to it.
        "gain_lightning.datasets.streams.TwoStreamDataModule",
    ),
}
_GROUPS = ("model", *_CLASSES)
_TOP = (
    "config",
    "help",
    "print_config",
    "seed_everything",
    "run_dir",
    "method",
    "test_after_fit",
    "keep",
    "keep_score",
    "threads",
    "ckpt_path",
)


def main(argv: list[str]) -> int:
    """Run ``gain fit``; see :func:`run_verb`."""
    return run_verb("fit", argv)


def run_verb(verb: str, argv: list[str]) -> int:
    """Run ``gain fit``, ``validate`` or ``test``.

    Args:
        verb: Which of them.
        argv: The words after it.

    Returns:
        Exit status 0.

    Raises:
        SystemExit: 2 if an option or a key of a config is not understood.
        FileNotFoundError: If a checkpoint is missing.
        FileExistsError: If a training would begin in a folder that holds a run.
    """
    words = [verb, *argv]
    refuse_early(words)

    # It imports torch, so it comes after all that can be refused without it.
    prepare_torch()
    from gain_lightning.training.experiment import run_experiment

    run_experiment(words)
    return 0


def refuse_early(argv: list[str]) -> None:
    """Refuse unknown options, missing files and a folder in use at once: the parser would need seconds for it.

    Args:
        argv: The verb and its options.
    """
    options = dict(options_of(argv))
    for key in options:
        _refuse_unknown(argv[0], key)
    configs = [value for key, value in options_of(argv) if key in ("config", "c")]
    for config in configs:
        if is_file_name(config) and not os.path.exists(os.path.expanduser(config)):
            stop(argv[0], f"--config {config}: no such file{_nearest_file(Path(config))}")
    ckpt_path = options.get("ckpt_path")
    if ckpt_path and ckpt_path not in ("last", "best", "null") and not Path(ckpt_path).expanduser().is_file():
        path = Path(ckpt_path).expanduser()
        raise FileNotFoundError(f"--ckpt_path {ckpt_path}: {path} does not exist; --run_dir names the run")
    asks = any(word == "-h" or word.startswith(("--help", "--print_")) for word in argv)
    may_resume = ckpt_path or any("ckpt_path" in _text(config) for config in configs)
    if argv[0] == "fit" and options.get("run_dir") not in (None, "null") and not (asks or may_resume):
        refuse_second_run(Path(options["run_dir"]).expanduser())


def stop(verb: str, message: str) -> NoReturn:
    """Say which of the words of a verb is not understood, and exit with status 2."""
    print_error(verb, message)
    sys.exit(2)


def _text(config: str) -> str:
    """The text of a config; nothing if it cannot be read, of which the parser speaks later."""
    if not is_file_name(config):
        return config
    try:
        return Path(config).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _refuse_unknown(verb: str, key: str) -> None:
    """Refuse a key that no class can have.

    Keys of data may belong to a user's own class, and deeper keys to any class: the parser judges those.
    """
    group, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if group in ("model", "trainer") and name and name != "help":
        known = keys_of(group)
        if group == "model" and name in IN_SHARES:
            new = IN_SHARES[name]
            stop(
                verb, f"model.{name} is model.{new} now, a share of the training: epochs / trainer.max_epochs"
            )
        if known and name not in known:
            stop(verb, unknown_name(f"{group}.{name}", [f"{group}.{other}" for other in known]))
    elif group not in _GROUPS and group not in (*_TOP, "c", "optimizer", "lr_scheduler"):
        known = [*_TOP, *_GROUPS, *(f"{of}.{name}" for of in _GROUPS for name in keys_of(of))]
        bare = {other.partition(".")[2]: other for other in known}
        if key in bare:
            stop(verb, f"unknown key {key!r}; did you mean {bare[key]!r}?")
        stop(verb, unknown_name(key, known))


def keys_of(group: str) -> list[str]:
    """Arguments of the classes of a group of options, read from their source; none where it cannot be read."""
    paths = [row.path for row in METHODS.values()] if group == "model" else _CLASSES[group]
    found: dict[str, None] = {}
    for path in paths:
        source = _source_of(path)
        if source is None:
            return []
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name == path.rpartition(".")[2]:
                functions = [part for part in node.body if isinstance(part, ast.FunctionDef)]
                (init,) = [part for part in functions if part.name == "__init__"]
                arguments = [*init.args.args, *init.args.kwonlyargs]
                found |= dict.fromkeys(argument.arg for argument in arguments if argument.arg != "self")
    return list(found)


def _source_of(path: str) -> Path | None:
    """The file of a class, by its import path and without importing it; None where there is no such file."""
    package, *folders, _ = path.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    place = Path(spec.submodule_search_locations[0], *folders)
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _nearest_file(path: Path) -> str:
    """The end of an error that says which config of that folder may be meant."""
    others = sorted(file.name for file in path.expanduser().parent.glob("*.y*ml"))
    near = difflib.get_close_matches(path.name, others, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; expected one of {', '.join(others)}" if others else ""
