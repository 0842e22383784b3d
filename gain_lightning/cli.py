"""The command ``gain``: the table of its verbs, and the one way in which each of them begins, fails and ends.

A verb is a row of :data:`VERBS` and a module of :mod:`gain_lightning.commands` by the same name, whose ``main(argv)``
returns the exit status. Only the module of the verb that runs is imported.
"""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gain_lightning.constants import INTERRUPTED, REQUEUE
from gain_lightning.support.console import forgiving_output
from gain_lightning.support.messages import print_error


class Verb(NamedTuple):
    """A row of the table of verbs.

    Attributes:
        name: One word or two, as they follow ``gain`` on the command line.
        help: What it does.
        example: How it is called.
        continues: Whether the same command goes on where Ctrl-C stopped it.
    """

    name: str
    help: str
    example: str
    continues: bool = False

    @property
    def module(self) -> str:
        """The module of ``gain_lightning.commands`` that runs it."""
        return re.sub("[ -]", "_", self.name)


VERBS = (
    Verb("fit", "train one run", "gain fit --config experiments/shapes/gain_ext.yaml"),
    Verb("validate", "score the validation set", "gain validate --config RUN/config.yaml"),
    Verb("test", "score the test sets", "gain test --config RUN/config.yaml"),
    Verb("predict", "map a folder of pictures", "gain predict --images DIR --ckpt_path FILE --out DIR"),
    Verb("check-maps", "do maps speak of the network?", "gain check-maps RUN"),
    Verb("background", "does it judge by the ground?", "gain background RUN"),
    Verb("next", "which images to mark", "gain next RUN -n 20"),
    Verb("seeds", "seeds of a segmentation", "gain seeds RUN --out DIR", continues=True),
    Verb("seeds score", "judge seeds of any origin", "gain seeds score DIR --masks DIR"),
    Verb(
        "reproduce", "make published tables anew", "gain reproduce section4 --root VOCdevkit", continues=True
    ),
    Verb("runs", "list runs", "gain runs runs/"),
    Verb("compare", "report on runs side by side", "gain compare RUN... --out DIR"),
    Verb("sweep", "many runs from one file", "gain sweep FILE --workers 2"),
    Verb("sweep worker", "join a sweep from elsewhere", "gain sweep worker SWEEP"),
    Verb("data check", "count pictures, list problems", "gain data check DIR"),
    Verb("data show", "draw samples of a data set", "gain data show DIR --out grid.png"),
    Verb("data import", "read other tools' annotations", "gain data import FILE --images DIR --out DIR"),
)
EXIT_CODES = {
    0: "done",
    1: "failed: a file is missing or broken, runs do not fit together, a check found a problem",
    2: "refused by the parser: an unknown verb, option or key, a value of the wrong kind, no such config",
    REQUEUE: "told to stop by SIGTERM, and saved: the same command goes on (`fit` with `--ckpt_path last`)",
    INTERRUPTED: "stopped by Ctrl-C",
}
_NOTES = """\
gain VERB --help lists a verb's options.
Any key of a config is an option too: --model.sigma 0.4 --trainer.max_epochs 20
A run that was stopped goes on: gain fit --config RUN/config.yaml --ckpt_path last
GAIN_DEBUG=1 shows the whole traceback of an error.
"""


def main(argv: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv: The words after ``gain``; None takes the command line.

    Returns:
        The exit status, a key of :data:`EXIT_CODES`.

    Raises:
        SystemExit: With the exit status, if the parser refuses the words, or a training was told to stop.
    """
    with forgiving_output():
        return _main(sys.argv[1:] if argv is None else argv)


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(help_text(VERBS), end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        from gain_lightning.constants import VERSION

        print(f"gain_lightning {VERSION}")
        return 0
    verb = find_verb(argv)
    if verb is None:
        return _refuse(argv)
    try:
        return _run(verb, argv[len(verb.name.split()) :])
    except KeyboardInterrupt:
        return _interrupted(verb)
    except SystemExit as stop:
        # Lightning catches Ctrl-C itself and exits with 1.
        if isinstance(stop.__context__, KeyboardInterrupt):
            return _interrupted(verb)
        raise
    except Exception as error:
        if os.environ.get("GAIN_DEBUG"):
            raise
        print_error(verb.name, _rank_prefix() + message_of(error))
        return 1


def help_text(verbs: Sequence[Verb]) -> str:
    """The rows of verbs as ``gain --help`` prints them."""
    name, words = (
        max(map(len, column)) for column in zip(*((verb.name, verb.help) for verb in verbs), strict=True)
    )
    rows = [f"  {verb.name:{name}}  {verb.help:{words}}  {verb.example}" for verb in verbs]
    return "\n".join(["usage: gain VERB [options]", "", *rows, "", _NOTES])


def find_verb(argv: list[str]) -> Verb | None:
    """The row whose name a command line begins with, the longest if there are two; None if there is none.

    Example:
        >>> find_verb(["seeds", "score", "DIR"]).module, find_verb(["seeds", "RUN"]).module, find_verb(["data"])
        ('seeds_score', 'seeds', None)
    """
    by_name = {verb.name: verb for verb in VERBS}
    return by_name.get(" ".join(argv[:2])) or by_name.get(argv[0])


def _refuse(argv: list[str]) -> int:
    """Answer words that name no verb: with the help of a group such as ``data``, or with what may be meant."""
    group = [verb for verb in VERBS if verb.name.split()[0] == argv[0]]
    if group and argv[1:2] in (["-h"], ["--help"], ["help"]):
        print(help_text(group), end="")
        return 0
    name = " ".join(argv[:2]) if group else argv[0]
    known = [verb.name for verb in group or VERBS]
    near = [] if name == argv[0] and group else difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    print_error("", f"unknown verb {name!r}; {hint}")
    return 2


def _run(verb: Verb, words: list[str]) -> int:
    """Import the verb's module and run it with the words that follow its name."""
    return importlib.import_module(f"gain_lightning.commands.{verb.module}").main(words)


def _interrupted(verb: Verb) -> int:
    more = "; the same command goes on where it was" if verb.continues else ""
    print(f"gain {verb.name}: stopped{more}", file=sys.stderr)
    return INTERRUPTED


def message_of(error: Exception) -> str:
    """An error in words for the person who typed the command.

    The error of a loader's worker loses the worker's traceback. The error of a path says what lies there.
    """
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes | os.PathLike):
        path = Path(os.fsdecode(error.filename))
        blocking = next((part for part in (path, *path.parents) if part.is_file()), None)
        if isinstance(error, FileExistsError | NotADirectoryError) and blocking is not None:
            return f"{blocking} is a file, expected a folder"
        if isinstance(error, IsADirectoryError):
            return f"{path} is a folder, expected a file"
    text = str(error) or type(error).__name__
    if "\nOriginal Traceback (most recent call last):\n" not in text:
        return text
    lines = text.splitlines()
    frame = max(number for number, line in enumerate(lines) if line.startswith('  File "'))
    raised = next(number for number, line in enumerate(lines) if number > frame and line[:1].strip())
    name, _, words = "\n".join(lines[raised:]).partition(": ")
    return words or name


def _rank_prefix() -> str:
    """The number of this process where several train together, else nothing."""
    torch: Any = sys.modules.get("torch")
    several = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return f"rank {torch.distributed.get_rank()}: " if several else ""
