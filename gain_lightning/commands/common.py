"""What the verbs share: their parser, the kinds of values that options take, and how torch is prepared."""

import argparse
import itertools
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gain_lightning.datasets.writers import WRITERS
from gain_lightning.support.messages import print_error, unknown_name
from gain_lightning.support.threads import let_waiting_threads_sleep

# What argparse says, and how it is said here: the option, what was given, what was expected.
_WORDS = (
    (r"argument (\S+): (is .*)", r"\1 \2"),
    (r"argument (\S+): invalid (\w+) value: (.*)", r"\1 is \3, expected \2"),
    (r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", r"\1 is \2, expected one of \3"),
    (r"argument (\S+): (.*)", r"\1: \2"),
    (r"the following arguments are required: (.*)", r"missing: \1"),
)


class VerbParser(argparse.ArgumentParser):
    """The parser of a verb: options by their whole names alone, an error in one line, the description as written.

    Args:
        verb: Its name, as in the table of verbs.
        description: For ``--help``.
    """

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(
            f"gain {verb}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.verb = verb

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> argparse.Namespace:
        """Parse the words after the verb; an unknown option is refused with the nearest known one."""
        known = {option: action for action in self._actions for option in action.option_strings}
        for word in itertools.takewhile("--".__ne__, args):
            name = word.partition("=")[0]
            if re.fullmatch(r"--\w[\w.-]*", name) and name not in known:
                shown = [option for option, action in known.items() if action.help is not argparse.SUPPRESS]
                self.error(unknown_name(name, shown, "option"))
        parsed, others = self.parse_known_args(args, namespace)
        if others:
            self.error(f"got {' '.join(others)} too, expected no more than --help shows")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Print an error and exit with status 2."""
        for pattern, words in _WORDS:
            if re.fullmatch(pattern, message, flags=re.DOTALL):
                message = re.sub(pattern, words, message, count=1, flags=re.DOTALL)
                break
        print_error(self.verb, message)
        self.exit(2)


def at_least(lowest: int) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from ``lowest`` on."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"is {text!r}, expected a whole number") from error
        if number < lowest:
            raise argparse.ArgumentTypeError(f"is {number}, expected at least {lowest}")
        return number

    return read


def share(text: str) -> float:
    """The type of an option that takes numbers from 0 to 1."""
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"is {number}, expected a share between 0 and 1")
    return number


def factor(text: str) -> float:
    """The type of an option that takes positive finite numbers."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"is {number}, expected a positive factor")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is {text!r}, expected a number") from error


def add_export(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option that names the annotation formats which a verb also writes.

    Args:
        parser: The verb's parser.
        what: What is written, in words.
    """
    formats = "; ".join(f"{name}: {row.files} ({row.title})" for name, row in WRITERS.items())
    parser.add_argument(
        "--export",
        nargs="+",
        choices=list(WRITERS),
        default=[],
        metavar="FORMAT",
        help=f"also write {what} for the tools of annotators. {formats}",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many threads a verb computes with."""
    parser.add_argument(
        "--threads",
        type=at_least(1),
        help="threads of a CPU (default: as many as cores are free, unless OMP_NUM_THREADS is set)",
    )


def prepare_torch() -> None:
    """Set up a process that will import torch, and hide warnings that a user of ``gain`` cannot act on."""
    let_waiting_threads_sleep()
    for message in (
        # Shapes live in memory.
        ".*does not have many workers.*",
        # `gain` has the words already, and passes them on.
        ".*LightningCLI's args parameter.*",
        # GAIN overrides it on purpose.
        ".*overridden `on_.*_batch_transfer`.*",
        # torch and Lightning settle this between them.
        ".*LeafSpec.*deprecated.*",
        # Classes that no image shows are left out of the mean.
        ".*No positive samples found in target.*",
        # RunRecord logs often enough.
        ".*number of training batches .* smaller than the logging interval.*",
        # torchmetrics has gathered the ranks' scores.
        ".*recommended to use .*sync_dist=True.*",
    ):
        warnings.filterwarnings("ignore", message=message)
