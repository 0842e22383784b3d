"""What a terminal shows of a sweep, and its ``trials.csv``."""

import functools
import statistics
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gain_lightning.runs.curves import last_epoch
from gain_lightning.runs.settings import read_settings
from gain_lightning.studies.sweeps.file import SweepFile
from gain_lightning.support.files import csv_text, write_atomically

# Best trials in the table.
NUM_SHOWN = 5
_STATES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def values_of(file: SweepFile, trial: FrozenTrial) -> dict[str, Any]:
    """The values that a trial was given, by key, without those that the search has not chosen yet."""
    return {
        parameter.key: parameter.values[0]
        if len(parameter.values) == 1
        else parameter.value(trial.params[parameter.key])
        for parameter in file.parameters
        if len(parameter.values) == 1 or parameter.key in trial.params
    }


def sweep_table(
    file: SweepFile, trials: Sequence[FrozenTrial], seconds: float, num_workers: int, folder: Path
) -> str:
    """The state of a sweep as text, at most 79 letters wide.

    It shows how many trials are done, the time left, how far each running trial is, and the best ones.

    Args:
        file: What the sweep file says.
        trials: All trials.
        seconds: The time since the command began.
        num_workers: How many trials run at a time.
        folder: The sweep's folder.
    """
    counts = {name: sum(trial.state == state for trial in trials) for state, name in _STATES.items()}
    shown = [f"{count} {name}" for name, count in counts.items() if count]
    durations = [
        trial.duration.total_seconds() for trial in trials if trial.state.is_finished() and trial.duration
    ]
    left = counts["waiting"] + counts["running"]
    lines = [f"{len(trials)} trials: {', '.join(shown)}; {_time(seconds)} gone"]
    if durations and left:
        # Running trials are taken to be half through.
        rest = statistics.mean(durations) * (counts["waiting"] + counts["running"] / 2) / num_workers
        lines[0] += f", about {_time(rest)} left"
    varied = [parameter.key for parameter in file.parameters if len(parameter.values) != 1]

    def text(trial: FrozenTrial) -> str:
        values = values_of(file, trial)
        return "  ".join(f"{key.rpartition('.')[2]}={_short(values.get(key))}" for key in varied)

    for trial in trials:
        if trial.state == TrialState.RUNNING:
            done = run_progress(folder / "trials" / f"{trial.number:04d}")
            lines.append(f"  {trial.number:04d}  {done:<14}  {text(trial)}")
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if file.metric and finished:
        valued = [(trial.value, trial) for trial in finished if trial.value is not None]
        valued.sort(key=itemgetter(0), reverse=file.maximize)
        lines.append(f"best {file.metric}:")
        for value, trial in valued[:NUM_SHOWN]:
            lines.append(f"  {trial.number:04d}  {value:<10.5g}  {text(trial)}")
    for trial in trials:
        if trial.state == TrialState.FAIL:
            lines.append(f"  {trial.number:04d}  failed: {trial.user_attrs.get('error', '')}")
    return "\n".join(line if len(line) < 80 else line[:76] + "..." for line in lines)


def run_progress(run_dir: Path) -> str:
    """How far a training is, in epochs; ``starts`` as long as its folder does not tell.

    Args:
        run_dir: The folder of a run that goes on.
    """
    try:
        total, done = _max_epochs(run_dir), last_epoch(run_dir)
    except (OSError, ValueError, KeyError, TypeError):
        # A file is not there yet, or only in part.
        return "starts"
    if done == total:
        return "is tested"
    return f"epoch {done + 1}" + (f" of {total}" if total > 0 else "")


@functools.cache
def _max_epochs(run_dir: Path) -> int:
    return int(read_settings(run_dir)["trainer"]["max_epochs"])


def write_trials(path: Path, file: SweepFile, trials: Sequence[FrozenTrial]) -> None:
    """Write the number, state, value and parameters of every trial as a CSV."""
    keys = [parameter.key for parameter in file.parameters]
    header = ["trial", "state", file.metric or "value", *keys, "error"]
    rows = []
    for trial in trials:
        values = values_of(file, trial)
        value = trial.value if trial.state == TrialState.COMPLETE and file.metric else ""
        row = [f"{trial.number:04d}", _STATES[trial.state], value, *(values.get(key, "") for key in keys)]
        rows.append([*row, trial.user_attrs.get("error", "")])
    write_atomically(path, csv_text(header, rows))


def _short(value: Any) -> str:
    """A parameter's value in a few letters; 1.0 stays apart from 1."""
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return Path(value).stem
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if value.is_integer() and abs(value) < 1000 else f"{value:.4g}"


def _time(seconds: float) -> str:
    """A duration in words."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
