"""The workers of a sweep on one machine: threads that share its trials, each of which is a process."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from optuna.trial import TrialState

from gain_lightning.constants import REQUEUE
from gain_lightning.studies.sweeps.parameter import SweepError
from gain_lightning.studies.sweeps.sweep import Sweep
from gain_lightning.studies.sweeps.table import sweep_table, write_trials
from gain_lightning.support.threads import share_of_cores


def run_workers(sweep: Sweep, num_workers: int) -> int:
    """Run workers and show the table until the sweep has ended; Ctrl-C and SIGTERM stop them, to be resumed.

    Args:
        sweep: The sweep.
        num_workers: How many trials run at a time.

    Returns:
        Exit status: 1 if a trial failed, 130 after Ctrl-C, 75 after SIGTERM.

    Raises:
        SweepError: If the sweep cannot go on.
    """
    sweep.share = share_of_cores(num_workers)
    # A missing environment variable is refused here, before a trial begins.
    sweep.file.words({})
    started = time.monotonic()
    shown = {trial.number for trial in sweep.trials() if trial.state.is_finished()}
    if not sys.stdout.isatty():
        left = sweep.num_trials - len(shown)
        logs = sweep.folder / "trials" / "*" / "log.txt"
        print(
            f"{left} of {sweep.num_trials} trials to run, {num_workers} at a time; their output: {logs}",
            flush=True,
        )
    threads = [threading.Thread(target=_work, args=(sweep,), daemon=True) for _ in range(num_workers)]
    for thread in threads:
        thread.start()
    with _stopped_by_signals(sweep) as received:
        try:
            _show_progress(sweep, threads, started, shown)
        finally:
            # No trial goes on without this process, whatever failed.
            sweep.stop.set()
            for thread in threads:
                thread.join()
    if received:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130 if received[0] == signal.SIGINT else REQUEUE
    _print_finished(sweep, shown)
    return _conclude(sweep, num_workers, started)


@contextlib.contextmanager
def _stopped_by_signals(sweep: Sweep) -> Iterator[list[int]]:
    """Stop the sweep on Ctrl-C and SIGTERM; yields the signals that came."""
    received: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        # It raises nothing: after an exception out of Thread.join, Python takes the thread for ended.
        received.append(signum)
        sweep.stop_signal = signum
        sweep.stop.set()

    earlier = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)


def _show_progress(
    sweep: Sweep, threads: Sequence[threading.Thread], started: float, shown: set[int]
) -> None:
    """Keep the table up to date on a terminal, or print a line a finished trial, until all threads have ended."""
    num_lines = 0
    while any(thread.is_alive() for thread in threads):
        if sys.stdout.isatty():
            seconds = time.monotonic() - started
            text = sweep_table(sweep.file, sweep.trials(), seconds, len(threads), sweep.folder)
            print(f"\x1b[{num_lines}F\x1b[J" * (num_lines > 0) + text, flush=True)
            num_lines = text.count("\n") + 1
        else:
            _print_finished(sweep, shown)
        for thread in threads:
            thread.join(timeout=1.0 / len(threads))


def _conclude(sweep: Sweep, num_workers: int, started: float) -> int:
    """Write ``trials.csv`` and print the last table; the exit status is 1 if a trial failed."""
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
    """Run trials in a thread; what fails outside a trial ends the sweep."""
    try:
        sweep.work()
    except SweepError as error:
        sweep.give_up(str(error))
    except Exception as error:
        sweep.give_up(f"{type(error).__name__}: {error}")


def _print_finished(sweep: Sweep, shown: set[int]) -> None:
    """Print a line for every trial that has ended and is not in ``shown``, unless a terminal has the table."""
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
