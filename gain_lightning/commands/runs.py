"""``gain runs``: list the runs below a folder."""

import os

from gain_lightning.commands.common import VerbParser
from gain_lightning.studies.listing import LISTED, run_folders, run_row, runs_table

DESCRIPTION = """\
List runs: state, method, number of masks, seed, and the test scores that a run has; shares are in percent:

{scores}
"""


def parser() -> VerbParser:
    """The options of ``gain runs``."""
    scores = "\n".join(f"  {score.listed:<11}{score.meaning}" for score in LISTED)
    options = VerbParser("runs", DESCRIPTION.format(scores=scores))
    options.add_argument(
        "dir", nargs="?", default="runs", metavar="DIR", help="where to look (default: %(default)s)"
    )
    return options


def main(argv: list[str]) -> int:
    """Run ``gain runs``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status: 0, or 1 if there is no run.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    args = parser().parse_args(argv)
    if not os.path.isdir(args.dir):
        raise FileNotFoundError(f"{args.dir}: no such folder")
    rows = [run_row(path, args.dir) for path in run_folders(args.dir)]
    if not rows:
        print(f"no run in {args.dir}")
        return 1
    print(runs_table(rows))
    return 0
