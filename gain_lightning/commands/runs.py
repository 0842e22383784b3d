"""``gain runs``: list the runs below a folder."""

import argparse
import os
from collections.abc import Sequence

from gain_lightning.studies.listing import run_folders, run_row, runs_table


def runs_main(argv: Sequence[str]) -> int:
    """The command ``gain runs``.

    Args:
        argv: What follows ``runs``.

    Returns:
        Exit status: 0, or 1 if there is no run.
    """
    parser = argparse.ArgumentParser(
        prog="gain runs",
        description="List runs: state, method, number of masks and seed, and of the test what a run has: mean AP, "
        "mean absolute error, best seed mIoU, biased accuracy, and mIoU of SEC without and with the CRF; in percent "
        "but for the error.",
    )
    parser.add_argument("dir", nargs="?", default="runs", help="where to look (default: %(default)s)")
    args = parser.parse_args(argv)
    if not os.path.isdir(args.dir):
        raise FileNotFoundError(f"{args.dir}: no such folder")
    rows = [run_row(path, args.dir) for path in run_folders(args.dir)]
    if not rows:
        print(f"no run in {args.dir}")
        return 1
    print(runs_table(rows))
    return 0
