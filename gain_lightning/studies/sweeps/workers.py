"""The workers of a sweep on one machine: processes that share its trials."""

import signal
import sys
import threading
import time
from types import FrameType

from optuna.trial import TrialState

from gain_lightning.constants import REQUEUE
from gain_lightning.studies.sweeps.parameter import SweepError
from gain_lightning.studies.sweeps.sweep import Sweep
from gain_lightning.studies.sweeps.table import sweep_table, write_trials
from gain_lightning.support.threads import share_of_cores


def run_workers(sweep: Sweep, num_workers: int) -> int:
    """Run workers and show the table until the sweep has ended; Ctrl-C and SIGTERM stop them, to be resumed.

    Returns:
        Exit status: 1 if a trial failed, 130 after Ctrl-C, 75 after SIGTERM.

    Raises:
        SweepError: If the sweep cannot go on.
    """
    sweep.share = share_of_cores(num_workers)
    sweep.file.words({})  # says before a trial begins which environment variable is missing
    threads = [threading.Thread(target=_work, args=(sweep,), daemon=True) for _ in range(num_workers)]
    started = time.monotonic()
    shown = {trial.number for trial in sweep.trials() if trial.state.is_finished()}
    num_lines = 0
    if not sys.stdout.isatty():
        left = sweep.num_trials - len(shown)
        logs = sweep.folder / "trials" / "*" / "log.txt"
        print(
            f"{left} of {sweep.num_trials} trials to run, {num_workers} at a time; their output: {logs}",
            flush=True,
        )
    for thread in threads:
        thread.start()
    told: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        # no exception: one that comes out of Thread.join makes Python take the thread for ended
        told.append(signum)
        sweep.stop_signal = signum
        sweep.stop.set()

    earlier = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        while any(thread.is_alive() for thread in threads):
            if sys.stdout.isatty():
                text = sweep_table(
                    sweep.file, sweep.trials(), time.monotonic() - started, num_workers, sweep.folder
                )
                print(f"\x1b[{num_lines}F\x1b[J" * (num_lines > 0) + text, flush=True)
                num_lines = text.count("\n") + 1
            else:
                _print_finished(sweep, shown)
            for thread in threads:
                thread.join(timeout=1.0 / num_workers)
    finally:  # whatever failed: no trial goes on without us
        sweep.stop.set()
        for thread in threads:
            thread.join()
        for signum, handler in earlier.items():
            signal.signal(signum, handler)
    if told:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130 if told[0] == signal.SIGINT else REQUEUE
    _print_finished(sweep, shown)
    trials = sweep.trials()
    write_trials(sweep.folder / "trials.csv", sweep.file, trials)
    if sweep.error:
        raise SweepError(sweep.error)
    print(sweep_table(sweep.file, trials, time.monotonic() - started, num_workers, sweep.folder))
    hint = f"; report: gain compare {sweep.folder} --out {sweep.folder / 'report'}"
    are_runs = any(sweep.folder.glob("trials/*/config.yaml"))
    print(f"trials: {sweep.folder / 'trials.csv'}{hint if are_runs else ''}")
    return int(any(trial.state == TrialState.FAIL for trial in trials))


def _work(sweep: Sweep) -> None:
    try:
        sweep.work()
    except SweepError as error:
        sweep._give_up(str(error))
    except Exception as error:
        sweep._give_up(f"{type(error).__name__}: {error}")


def _print_finished(sweep: Sweep, shown: set[int]) -> None:
    if sys.stdout.isatty():
        return
    trials = sweep.trials()
    for trial in trials:
        if trial.state.is_finished() and trial.number not in shown:
            shown.add(trial.number)
            what = trial.user_attrs.get("error", "") if trial.state == TrialState.FAIL else trial.value
            value = f"{what:.6g}" if isinstance(what, float) and sweep.file.metric else what or ""
            print(
                f"trial {trial.number:04d} {trial.state.name.lower():<9} {value}  ({len(shown)} of {len(trials)})",
                flush=True,
            )
