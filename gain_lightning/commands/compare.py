"""Compare finished runs, method against method: ``gain compare RUN...``."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import Run, find_runs, read_run, reason_to_pass_over
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.comparison.wandb_runs import fetch_run, is_wandb_run, log_comparison
from gain_lightning.support.messages import printable


def compare_main(argv: list[str]) -> int:
    """The command ``gain compare``.

    Args:
        argv: What follows ``compare``.

    Returns:
        Exit status: 0, or 2 if runs are unreadable or not comparable. A worse method is no error.
    """
    parser = argparse.ArgumentParser(prog="gain compare", description=__doc__.partition(":")[0] + ".")
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folder of a finished run or of a sweep, a glob in quotes, or a run of W&B: an offline run's folder or "
        ".wandb file, or entity/project/run",
    )
    parser.add_argument(
        "--out", default="runs/compare", metavar="DIR", help="where to write (default: %(default)s)"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="KEY", help="config key that may differ"
    )
    parser.add_argument("--by", metavar="KEY", help="group by this key of the config (default: by method)")
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out runs that cannot be read, and say which"
    )
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="gain",
        metavar="PROJECT",
        help="log the report to W&B too (project: %(const)s)",
    )
    args = parser.parse_args(argv)
    from gain_lightning.studies.comparison import tables  # after --help: they import matplotlib
    from gain_lightning.studies.report import figures, report  # after --help: they import matplotlib

    try:
        out = Path(args.out)
        if (out / "config.yaml").exists():
            raise RunError(f"--out {out}: is the folder of a run, expected another folder")
        runs, skipped = _read_runs(args.runs, out, args.skip_broken)
        comparison = compare(runs, args.allow, args.by)
        comparison = replace(
            comparison, notes=[*(f"Left out: {reason}." for reason in skipped), *comparison.notes]
        )
        out.mkdir(parents=True, exist_ok=True)
        tables.write_summary(comparison, out / "summary.json")
        tables.write_table(comparison, out / "table.csv")
        tables.write_latex(comparison, out / "table.tex")
        report.write_report(comparison, out / "report.html")
        figures.write_figures(comparison, out / "figures")
        place = f"W&B: {log_comparison(comparison, out, args.wandb)}\n" if args.wandb else ""
    except (RunError, OSError) as error:
        _say(f"gain compare: {error}", sys.stderr)
        return 2
    _say(f"{place}{tables.text_table(comparison)}\n\nReport: {out / 'report.html'}", sys.stdout)
    return 0


def _read_runs(patterns: Sequence[str], out: Path, skip_broken: bool) -> tuple[list[Run], list[str]]:
    """Every run but the comparison's own folder; all that cannot be read are named at once, or left out.

    What is no run for a good reason is passed over, and named in the second list.
    """
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
    if (errors and not skip_broken) or not runs:
        hint = "--skip-broken leaves them out" if runs else "none is left"
        if errors:
            raise RunError("\n  ".join([f"these runs cannot be compared ({hint}):", *errors]))
        raise RunError("\n  ".join(["no run to compare", *passed]))
    return runs, [printable(error) for error in errors + passed]


def _say(text: str, file: TextIO | None) -> None:
    """Print lines, with ``?`` for a letter that the terminal lacks: its code would push columns out of line."""
    text = "\n".join(printable(line) for line in text.split("\n"))
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), file=file)
