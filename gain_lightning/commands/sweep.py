"""``gain sweep``: many runs from one file."""

from pathlib import Path

from gain_lightning.commands.common import VerbParser, at_least

DESCRIPTION = """\
Run a W&B sweep file, each trial in a run folder of its own. The same command resumes it;
gain sweep worker SWEEP joins it, from another terminal or machine.
"""


def parser() -> VerbParser:
    """The options of ``gain sweep``."""
    options = VerbParser("sweep", DESCRIPTION)
    options.add_argument("file", type=Path, metavar="FILE", help="a W&B sweep, YAML")
    options.add_argument("--out", type=Path, help="sweep folder (default: runs/<name of the file>)")
    options.add_argument(
        "--workers", type=at_least(1), default=1, help="trials at a time (default: %(default)s)"
    )
    options.add_argument("--storage", help="database URL in place of a journal in the folder")
    options.add_argument(
        "--engine", choices=("local", "wandb"), default="local", help="who plans (default: %(default)s)"
    )
    return options


def main(argv: list[str]) -> int:
    """Run ``gain sweep``.

    Args:
        argv: The words after the verb.

    Returns:
        Exit status: 1 if a trial failed, 75 after SIGTERM, 130 after Ctrl-C.

    Raises:
        SweepError: If the file, the folder or the database is unfit, or the metric never appears.
    """
    args = parser().parse_args(argv)
    if args.engine == "wandb":
        from gain_lightning.studies.sweeps.on_wandb import run_on_wandb

        return run_on_wandb(args.file, args.workers)

    # They import Optuna, so they come after all that the parser refuses.
    from gain_lightning.studies.sweeps.begin import begin_sweep
    from gain_lightning.studies.sweeps.workers import run_workers

    return run_workers(begin_sweep(args.file, args.out, args.storage), args.workers)
