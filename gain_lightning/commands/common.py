"""What the verbs' parsers share."""

import argparse


def verb_parser(verb: str, description: str) -> argparse.ArgumentParser:
    """A parser that shows its description as it is written, and takes options by their whole names alone.

    Args:
        verb: As on the command line, after ``gain``.
        description: For its ``--help``.

    Returns:
        The parser, without options.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        f"gain {verb}", description=description, formatter_class=formatter, allow_abbrev=False
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """How many threads a verb computes with."""
    parser.add_argument(
        "--threads",
        type=int,
        help="of a CPU (default: as many as cores are free, unless OMP_NUM_THREADS is set)",
    )
