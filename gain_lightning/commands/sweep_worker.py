"""``gain sweep worker``: join a sweep that ``gain sweep`` has begun."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser, at_least
from gain_lightning.support.optuna_storage import is_database

DESCRIPTION = "Join a sweep that gain sweep has begun, from another terminal or machine."


def parser() -> VerbParser:
    """The options of ``gain sweep worker``."""
    options = VerbParser("sweep worker", DESCRIPTION)
    options.add_argument("sweep", metavar="SWEEP", help="the sweep's folder, or the URL of its database")
    options.add_argument("--name", help="name of the sweep in a database: that of its folder")
    options.add_argument(
        "--out", type=Path, help="for the trials' run folders, with a database (default: runs/<name>)"
    )
    options.add_argument(
        "--workers", type=at_least(1), default=1, help="trials at a time (default: %(default)s)"
    )
    return options


def main(argv: list[str]) -> int:
    """Run ``gain sweep worker``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status: 1 if a trial failed, 75 after SIGTERM, 130 after Ctrl-C.

    Raises:
        SweepError: If the folder or the database holds no such sweep, or the metric never appears.
    """
    options = parser()
    args = options.parse_args(argv)
    if is_database(args.sweep) and not args.name:
        options.error("--name is missing: a database holds many sweeps")

    # They import Optuna, so they come after all that the parser refuses.
    from gain_lightning.studies.sweeps.begin import join_sweep
    from gain_lightning.studies.sweeps.workers import run_workers

    return run_workers(join_sweep(args.sweep, args.name, args.out), args.workers)
