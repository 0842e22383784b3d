"""Options that several verbs have."""

import argparse


def add_threads(parser: argparse.ArgumentParser) -> None:
    """How many threads a verb computes with."""
    parser.add_argument(
        "--threads",
        type=int,
        help="of a CPU (default: as many as cores are free, unless OMP_NUM_THREADS is set)",
    )
