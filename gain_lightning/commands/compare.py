"""``gain compare``: a report on finished runs, method against method."""

import argparse
import sys
from pathlib import Path

from gain_lightning.commands.common import VerbParser
from gain_lightning.support.messages import printable

DESCRIPTION = """\
Compare finished runs, method against method. Writes into --out
  report.html, figures/    a page with curves and maps side by side
  table.csv, table.tex     the scores of every method
  summary.json             the same with every difference and its interval
A worse method is no error.
"""


def parser() -> VerbParser:
    """The options of ``gain compare``."""
    options = VerbParser("compare", DESCRIPTION)
    options.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folder of a finished run or of a sweep, a glob in quotes, or a run of W&B: an offline run's folder or "
        ".wandb file, or entity/project/run",
    )
    options.add_argument(
        "--out",
        type=Path,
        default=Path("runs/compare"),
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )
    options.add_argument(
        "--allow", action="append", default=[], metavar="KEY", help="config key that may differ"
    )
    options.add_argument("--by", metavar="KEY", help="group by this key of the config (default: by method)")
    options.add_argument(
        "--skip_broken", action="store_true", help="leave out runs that cannot be read, and say which"
    )
    # The spelling of older versions.
    options.add_argument("--skip-broken", dest="skip_broken", action="store_true", help=argparse.SUPPRESS)
    options.add_argument(
        "--wandb",
        nargs="?",
        const="gain",
        metavar="PROJECT",
        help="log the report to W&B too (project: %(const)s)",
    )
    return options


def main(argv: list[str]) -> int:
    """Run ``gain compare``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status 0.

    Raises:
        RunError: If runs are unreadable or not comparable.
    """
    args = parser().parse_args(argv)

    # They import matplotlib, so they come after all that the parser refuses.
    from gain_lightning.studies.comparison.compare import compare
    from gain_lightning.studies.comparison.selection import select_runs
    from gain_lightning.studies.comparison.tables import text_table
    from gain_lightning.studies.comparison.wandb_runs import log_comparison
    from gain_lightning.studies.report.write import write_comparison

    runs, left_out = select_runs(args.runs, args.out, skip_broken=args.skip_broken)
    comparison = compare(runs, args.allow, args.by, left_out)
    write_comparison(comparison, args.out)
    if args.wandb:
        _print(f"W&B: {log_comparison(comparison, args.out, args.wandb)}")
    _print(f"{text_table(comparison)}\n\nReport: {args.out / 'report.html'}")
    return 0


def _print(text: str) -> None:
    """Print lines, with ``?`` for a letter that the terminal lacks: its code would push columns out of line."""
    text = "\n".join(printable(line) for line in text.split("\n"))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
