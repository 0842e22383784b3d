"""``gain data show``: draw a grid of a data set's pictures."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser, at_least
from gain_lightning.commands.data_common import add_annotations, asked_of
from gain_lightning.datasets.overview import draw_samples, read_data

DESCRIPTION = """\
Draw a grid of pictures with their labels, masks and boxes, and a legend of the colours.
DATA is a folder of your own pictures (images/, labels.csv, ...: data/README.md), PASCAL VOC 2012, a table of
WILDS, or a file or folder of another tool's annotations, such as COCO's JSON.
"""


def parser() -> VerbParser:
    """The options of ``gain data show``."""
    options = VerbParser("data show", DESCRIPTION)
    options.add_argument(
        "data", type=Path, metavar="DATA", help="folder of the data set, or file of annotations"
    )
    add_annotations(options)
    options.add_argument("--out", type=Path, required=True, help="a PNG file")
    options.add_argument("--split", help="draw from this split alone")
    options.add_argument(
        "--count", type=at_least(1), default=24, help="number of pictures (default: %(default)s)"
    )
    options.add_argument("--seed", type=int, default=0, help="chooses the pictures (default: %(default)s)")
    return options


def main(argv: list[str]) -> int:
    """Run ``gain data show``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError, ValueError: If there is no data set or no such split, or a table lacks a column.
    """
    args = parser().parse_args(argv)
    listings = read_data(args.data, asked_of(args)).listings
    if args.split is not None and args.split not in listings:
        raise ValueError(f"--split {args.split}: expected one of {', '.join(listings)}")
    chosen = [listings[args.split]] if args.split else list(listings.values())
    count, notes = draw_samples(chosen, args.out, args.count, args.seed)
    for note in notes:
        print(f"note: {note}")
    print(f"{count} pictures: {args.out}")
    return 0
