"""Make run folders of runs that W&B holds, and log a comparison to W&B."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from gain_lightning.runs.curves import write_curves
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.settings import write_settings
from gain_lightning.runs.summary import write_summary
from gain_lightning.studies.comparison.groups import Comparison
from gain_lightning.support.wandb_session import log_in, prepare_wandb

_ON_SERVER = re.compile(r"[\w.-]+/[\w.-]+/[\w.-]+")
_STATES = {"finished": "finished", "running": "running", "killed": "killed", "crashed": "killed"}


def is_wandb_run(name: str) -> bool:
    """Return whether a name is a W&B run: a ``.wandb`` file, an offline run's folder, or ``entity/project/run``.

    A path whose first folder exists here is never taken for a run on the server.

    Example:
        >>> is_wandb_run("team/boats/3k2f9x"), is_wandb_run("runs/gain")
        (True, False)
    """
    path = Path(name)
    if path.exists():
        return path.suffix == ".wandb" or any(path.glob("run-*.wandb"))
    return bool(_ON_SERVER.fullmatch(name)) and not Path(path.parts[0]).exists()


def fetch_run(name: str, folder: Path) -> str:
    """Write a run of W&B as a run folder.

    W&B holds no scores of single images, so a comparison has no intervals over images for such a run.

    Args:
        name: The name of the run, see :func:`is_wandb_run`.
        folder: The folder in which the run folder is made.

    Returns:
        The run folder, ``folder/<id of the run>``, with ``config.yaml``, ``metrics.csv`` and ``summary.json``. For a
        run on the server, entity and project stand before the id.

    Raises:
        RunError: If the run cannot be read; the message says why.
    """
    path = Path(name)
    run_id, run = _read_offline(path) if path.exists() else _read_from_server(name)
    facts = run["config"].pop("run", {})
    if not isinstance(facts, dict) or "method" not in facts:
        raise RunError(f"{name}: not a run of gain_lightning, its W&B config has no run.method")
    metrics = {
        key: value
        for key, value in run["summary"].items()
        if key.startswith(("train/", "val/", "select/", "test/", "center/"))
        and isinstance(value, int | float)
    }
    out = folder / run_id
    config = {key: value for key, value in run["config"].items() if not key.startswith("_")}
    write_settings(out, yaml.safe_dump(config))
    rows = _curve_rows(run["history"])
    write_curves(out, list(dict.fromkeys(key for row in rows for key in row)), rows)
    summary = {**facts, "state": run["state"], "metrics": metrics, "wandb": name}
    write_summary(out, summary)
    return str(out)


def log_comparison(comparison: Comparison, folder: Path, project: str) -> str:
    """Log a written comparison as a W&B run: report, table of means, figures.

    Without a key or a network the run is offline.

    Args:
        comparison: The comparison.
        folder: The folder of its files; those of W&B are put beside them.
        project: The name of the project on W&B.

    Returns:
        The address or the folder of the run.
    """
    prepare_wandb(folder)
    import wandb

    runs = [run.path for group in comparison.groups for run in group.runs]
    means = [
        [group.name, key, stat.mean, stat.std, stat.n]
        for group in comparison.groups
        for key, stat in group.metrics.items()
    ]
    table = wandb.Table(columns=["group", "metric", "mean", "std", "n"], data=means)
    pictures = {path.stem: wandb.Image(str(path)) for path in sorted((folder / "figures").glob("*.png"))}
    with wandb.init(
        project=project, job_type="compare", name=folder.name, dir=folder, config={"runs": runs}
    ) as run:
        run.log({"report": wandb.Html(str(folder / "report.html")), "table": table, **pictures})
        return run.url or f"offline, in {Path(run.dir).parent}"


def _curve_rows(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scalars of the history as rows of ``metrics.csv``; W&B's step is the trainer's."""
    rows = []
    for item in history:
        scalars = {
            key: value
            for key, value in item.items()
            if key.startswith(("train/", "val/", "select/", "lr-")) and isinstance(value, int | float)
        }
        if scalars:
            rows.append({"epoch": item.get("epoch"), "step": item.get("trainer/global_step"), **scalars})
    return rows


def _read_offline(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the id and the content of an offline run with ``wandb leet inspect`` of the installed W&B."""
    file = path if path.suffix == ".wandb" else next(path.glob("run-*.wandb"))
    summary = json.loads(_inspect(file, "--summary"))
    records = (json.loads(line) for line in _inspect(file).splitlines())
    history = [record["history"].get("item", {}) for record in records if record["type"] == "history"]
    state = _STATES.get(summary.get("state"), "failed")
    content = {"config": summary.get("config") or {}, "summary": summary.get("summary") or {}}
    return file.stem.removeprefix("run-"), {**content, "history": history, "state": state}


def _inspect(file: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if result.returncode or not result.stdout.strip():
        reason = next(iter(reversed(result.stderr.strip().splitlines())), "nothing was printed")
        raise RunError(f"{file}: the installed wandb cannot read it ({reason}); 0.31 or newer can")
    return result.stdout


def _read_from_server(name: str) -> tuple[str, dict[str, Any]]:
    """Read the id and the content of a run on the server."""
    import wandb

    try:
        reason = log_in()
    except ValueError as error:
        reason = str(error)
    if reason:
        raise RunError(f"{name}: no such folder, and not to be had from W&B: {reason}")
    try:
        run = wandb.Api(timeout=30).run(name)
        content = {
            "config": dict(run.config),
            "summary": dict(run.summary),
            "history": list(run.scan_history()),
        }
    # wandb raises many kinds of errors, some with a long text.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(f"{name}: W&B does not give it ({reason})") from error
    return name.replace("/", "_"), {**content, "state": _STATES.get(run.state, "failed")}
