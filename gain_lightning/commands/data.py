"""``gain data check`` and ``gain data show``: look at a data set before training on it."""

import argparse
from pathlib import Path

from gain_lightning.datasets.overview import draw_samples, read_data, summary_text

DESCRIPTION = """\
  check DIR              count classes, splits, masks and boxes; list every problem; exit status 1 if there is one
  show DIR --out FILE    draw a grid of pictures with their labels, masks and boxes
DIR is a folder of your own pictures (images/, labels.csv, ...: data/README.md) or PASCAL VOC 2012.
"""


def data_main(argv: list[str]) -> int:
    """Run ``gain data``.

    Args:
        argv: The words after ``data``.

    Returns:
        Exit status: 1 if ``check`` found a problem.

    Raises:
        FileNotFoundError, ValueError: If there is no data set, or a table lacks a column.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("gain data", description=DESCRIPTION, formatter_class=formatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="check|show")
    check = verbs.add_parser("check", help="count and list every problem")
    show = verbs.add_parser("show", help="draw a grid of pictures")
    for verb in (check, show):
        verb.add_argument("dir", type=Path)
    show.add_argument("--out", type=Path, required=True, help="a PNG file")
    show.add_argument("--split", help="of one split alone")
    show.add_argument("--count", type=int, default=24, help="pictures (default 24)")
    show.add_argument("--seed", type=int, default=0, help="which pictures")
    args = parser.parse_args(argv)
    contents = read_data(args.dir)
    listings, problems = contents.listings, contents.problems
    if args.verb == "check":
        print(summary_text(args.dir, listings))
        for note in contents.notes:
            print(f"note: {note}")
        for problem in problems:
            print(problem)
        print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}")
        return 1 if problems else 0
    if args.split is not None and args.split not in listings:
        raise ValueError(f"--split {args.split}: expected one of {', '.join(listings)}")
    if args.count < 1:
        raise ValueError(f"--count is {args.count}, expected at least 1")
    chosen = [listings[args.split]] if args.split else list(listings.values())
    count = draw_samples(chosen, args.out, args.count, args.seed)
    print(f"{count} pictures: {args.out}")
    return 0
