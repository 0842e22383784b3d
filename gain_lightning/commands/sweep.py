"""``gain sweep``: many runs from one file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gain_lightning.studies.sweeps.file import read_sweep_path
from gain_lightning.studies.sweeps.parameter import SweepError
from gain_lightning.studies.sweeps.sweep import STUDY, Sweep
from gain_lightning.studies.sweeps.workers import run_workers
from gain_lightning.support.files import write_atomically
from gain_lightning.support.optuna_storage import is_database


def sweep_main(argv: Sequence[str]) -> int:
    """``gain sweep FILE`` and ``gain sweep worker SWEEP``.

    Returns:
        Exit status.

    Raises:
        SweepError: If the file, the folder or the database is unfit, or the metric never appears.
    """
    if argv and argv[0] == "worker":
        return _worker_main(argv[1:])
    parser = argparse.ArgumentParser(
        "gain sweep",
        description="Run a W&B sweep file, each trial in a run folder of its own. The same command resumes it; "
        "gain sweep worker SWEEP joins it, from another terminal or machine.",
    )
    parser.add_argument("file", type=Path, help="a W&B sweep, YAML")
    parser.add_argument("--out", type=Path, help="sweep folder (default: runs/<name of the file>)")
    parser.add_argument("--workers", type=int, default=1, help="trials at a time (default: 1)")
    parser.add_argument("--storage", help="database URL in place of a journal in the folder")
    parser.add_argument("--engine", choices=("local", "wandb"), default="local")
    args = parser.parse_args(argv)
    if args.workers < 1:
        raise SweepError(f"--workers is {args.workers}, expected at least 1")
    if args.engine == "wandb":
        from gain_lightning.studies.sweeps.on_wandb import run_on_wandb

        return run_on_wandb(args.file, args.workers)
    file = read_sweep_path(args.file)
    folder = args.out or Path("runs") / args.file.stem
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / "sweep.yaml"
    if not own.is_file():
        write_atomically(own, file.text)
    name = STUDY if args.storage is None else folder.name
    sweep = Sweep(args.storage or str(folder / "journal.log"), folder, name, file=file)
    return run_workers(sweep, args.workers)


def _worker_main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "gain sweep worker", description="Join a sweep that gain sweep has begun."
    )
    parser.add_argument("sweep", help="the sweep's folder, or the URL of its database")
    parser.add_argument("--name", help="of the sweep in a database: the name of its folder")
    parser.add_argument(
        "--out", type=Path, help="for the trials' run folders, with a database (default: runs/<name>)"
    )
    parser.add_argument("--workers", type=int, default=1, help="trials at a time (default: 1)")
    args = parser.parse_args(argv)
    if is_database(args.sweep):
        if not args.name:
            raise SweepError("--name is missing: a database holds many sweeps")
        sweep = Sweep(args.sweep, args.out or Path("runs") / args.name, args.name)
    else:
        folder = Path(args.sweep)
        if not (folder / "journal.log").is_file():
            raise SweepError(
                f"{folder}: holds no journal.log, expected the folder of a sweep, or a database URL"
            )
        sweep = Sweep(str(folder / "journal.log"), folder)
    return run_workers(sweep, args.workers)
