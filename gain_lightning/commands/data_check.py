"""``gain data check``: count what a data set holds, and list every problem."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser
from gain_lightning.commands.data_common import add_annotations, asked_of
from gain_lightning.datasets.copies import copy_lines, find_copies, write_copies
from gain_lightning.datasets.overview import read_data, summary_text

DESCRIPTION = """\
Count classes, splits, masks and boxes, and list every problem; the exit status is 1 if there is one.
Pictures of two splits that are nearly the same, turned copies too, are listed besides.
DATA is a folder of your own pictures (images/, labels.csv, ...: data/README.md), PASCAL VOC 2012, a table of
WILDS, or a file or folder of another tool's annotations, such as COCO's JSON.
"""


def parser() -> VerbParser:
    """The options of ``gain data check``."""
    options = VerbParser("data check", DESCRIPTION)
    options.add_argument(
        "data", type=Path, metavar="DATA", help="folder of the data set, or file of annotations"
    )
    add_annotations(options)
    copies = options.add_mutually_exclusive_group()
    copies.add_argument(
        "--copies",
        type=Path,
        metavar="FILE",
        help="write all pairs of near-equal pictures of two splits, CSV",
    )
    copies.add_argument(
        "--no_copies", action="store_true", help="do not look for them, which opens every picture"
    )
    return options


def main(argv: list[str]) -> int:
    """Run ``gain data check``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status: 1 if there is a problem.

    Raises:
        FileNotFoundError, ValueError: If there is no data set, or a table lacks a column.
    """
    args = parser().parse_args(argv)
    contents = read_data(args.data, asked_of(args))
    print(summary_text(args.data, contents.listings))
    for note in contents.notes:
        print(f"note: {note}")
    for problem in contents.problems:
        print(problem)
    copies = [] if args.no_copies else find_copies(contents.listings)
    for line in copy_lines(copies):
        print(line)
    if args.copies:
        write_copies(args.copies, copies)
    told = (
        f", {len(copies)} near-equal {'picture' if len(copies) == 1 else 'pictures'} in two splits"
        if copies
        else ""
    )
    print(f"{len(contents.problems)} problem{'' if len(contents.problems) == 1 else 's'}{told}")
    return 1 if contents.problems else 0
