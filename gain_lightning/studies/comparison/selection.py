"""Choose the runs to compare from the paths that a person names."""

import os
from collections.abc import Sequence
from pathlib import Path

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import Run, find_runs, read_run, reason_to_pass_over
from gain_lightning.studies.comparison.wandb_runs import fetch_run, is_wandb_run


def select_runs(
    patterns: Sequence[str], out: Path, *, skip_broken: bool = False
) -> tuple[list[Run], list[str]]:
    """Read every run that paths and globs name, each once.

    The folder of the comparison itself is left out, and so are folders that are no finished run for a good reason.

    Args:
        patterns: Paths and globs, see :func:`~gain_lightning.runs.read.find_runs`, and runs of W&B.
        out: The folder of the comparison, which keeps the runs of W&B.
        skip_broken: Whether runs that cannot be read are left out.

    Returns:
        The runs, and a line for each that was left out, with the reason.

    Raises:
        RunError: If runs cannot be read (the message names all of them), if no run is left, or if ``out`` is a run's
            folder.
    """
    if (out / "config.yaml").exists():
        raise RunError(f"--out {out}: is the folder of a run, expected another folder")
    runs, errors, passed, seen = [], [], [], {os.path.realpath(out)}
    for name in find_runs(patterns):
        try:
            path = fetch_run(name, out / "wandb_runs") if is_wandb_run(name) else name
            if os.path.realpath(path) in seen:
                continue
            seen.add(os.path.realpath(path))
            if reason := reason_to_pass_over(path):
                passed.append(f"{path}: {reason}")
            else:
                runs.append(read_run(path))
        except RunError as error:
            errors.append(str(error).replace(str(out / "wandb_runs"), f"{name}, as"))
    if errors and not (skip_broken and runs):
        hint = "--skip_broken leaves them out" if runs else "none is left"
        raise RunError("\n  ".join([f"these runs cannot be compared ({hint}):", *errors]))
    if not runs:
        raise RunError("\n  ".join(["no run to compare", *passed]))
    return runs, errors + passed
