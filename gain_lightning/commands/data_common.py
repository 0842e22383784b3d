"""What the verbs of data sets share: how annotations of another tool are read."""

import argparse
from pathlib import Path

from gain_lightning.datasets.readers.annotations import UNANNOTATED, Asked


def add_annotations(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how annotations of another tool are read; see :func:`asked_of`."""
    parser.add_argument(
        "--images",
        type=Path,
        help="folder of the pictures that annotations name (default: near the annotations)",
    )
    parser.add_argument(
        "--unannotated",
        choices=UNANNOTATED,
        help="what a picture without annotation is: negative, it shows no class; leave_out, nobody looked at it",
    )


def asked_of(args: argparse.Namespace) -> Asked:
    """Return what the options of :func:`add_annotations` say."""
    return Asked(args.images, args.unannotated)
