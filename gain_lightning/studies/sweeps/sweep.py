"""A W&B sweep file run on Optuna, without a server, on one machine or several.

The sweep folder holds ``sweep.yaml``, Optuna's journal (unless a database holds the study) and one run folder a trial.
All trials stand in the study from the start. A worker takes one that waits, or one whose worker died. Whether a trial
lives is told by a lock on its folder, which its process inherits.
"""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from gain_lightning.constants import INTERRUPTED, REQUEUE
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.folder import checkpoint_files
from gain_lightning.runs.summary import SUMMARY, read_summary
from gain_lightning.studies.sweeps.file import SweepFile, read_sweep_file
from gain_lightning.studies.sweeps.parameter import SweepError
from gain_lightning.support.files import write_atomically
from gain_lightning.support.locks import take_lock
from gain_lightning.support.optuna_storage import TRIAL_VARIABLE, is_database, open_storage, without_password

STUDY = "sweep"
# A trial that is stopped so often has failed.
MOST_KILLS = 3
# Seconds without a sign of life after which a trial on a machine with other folders is dead.
STALE = 120
# Exit statuses of a trial that was told to stop, perhaps together with the sweep.
_TOLD_TO_STOP = (-signal.SIGINT, -signal.SIGTERM, REQUEUE, INTERRUPTED)


class Sweep:
    """A sweep under way, as any of its workers sees it.

    Args:
        storage: Where Optuna keeps the study: the path of a journal, or a database URL.
        folder: The sweep's folder, which has the trials' run folders.
        name: The study's name in a database.
        file: The sweep to begin; None joins one that has begun.

    Attributes:
        file: What the sweep file says.
        study: Optuna's study.
        share: Environment variables that give each trial its share of the cores.
        stop: It is set when no more trials shall begin and those that run shall stop.
        stop_signal: The signal that stops them.
        error: Why the sweep cannot go on; None while it can.

    Raises:
        SweepError: If the storage holds no such sweep, or another one than ``file``.
    """

    def __init__(
        self, storage: str, folder: Path, name: str = STUDY, *, file: SweepFile | None = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.storage_name = storage
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.storage = open_storage(storage)
        names = {study.study_name for study in self.storage.get_all_studies()}
        if file is None and name not in names:
            raise SweepError(
                f"{without_password(storage)}: holds no sweep {name!r}, expected one of {sorted(names)}"
            )
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            directions=["maximize" if file and file.maximize else "minimize"],
            load_if_exists=True,
        )
        if file is not None and "sweep" not in self.study.user_attrs:
            # The study is new, or the process that made it is not that far yet.
            self.study.set_user_attr("sweep", file.text)
        if "sweep" not in self.study.user_attrs:
            raise SweepError(
                f"{without_password(storage)}: sweep {name!r} has no parameters yet, expected the ones that"
                " gain sweep FILE writes when it starts"
            )
        self.file = read_sweep_file(self.study.user_attrs["sweep"], where=str(folder / "sweep.yaml"))
        if file is not None and file.text != self.file.text:
            raise SweepError(
                f"{folder} holds another sweep than this file: expected its {folder / 'sweep.yaml'}, or another --out"
            )
        self._enqueue_missing()
        self.token = _token(folder)
        self.study.sampler = optuna.samplers.TPESampler(constant_liar=True, seed=None)
        self.share: dict[str, str] = {}
        self.stop = threading.Event()
        self.stop_signal: int = signal.SIGINT
        self.error: str | None = None

    def _enqueue_missing(self) -> None:
        """Enqueue the planned trials that are not in the study: all, or those that a killed process left out."""
        planned = self.file.planned()
        self.num_trials = len(planned)
        enqueued = {_plan(trial) for trial in self.trials()}
        for plan, raw in enumerate(planned):
            if plan not in enqueued:
                self.study.enqueue_trial(raw, user_attrs={"plan": plan})

    def trials(self) -> list[FrozenTrial]:
        """All trials in the order planned; where two processes enqueued the same one, the first counts."""
        first: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            first.setdefault(_plan(trial), trial)
        return [first[plan] for plan in sorted(first) if plan < self.num_trials]

    def run_folder(self, number: int) -> Path:
        """The run folder of trial ``number``."""
        return self.folder / "trials" / f"{number:04d}"

    def best(self) -> float | None:
        """The best value so far; None without a metric or a finished trial."""
        finished = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        values = [trial.value for trial in finished if trial.value is not None]
        if not self.file.metric or not values:
            return None
        return max(values) if self.file.maximize else min(values)

    def work(self) -> None:
        """Run trials until none is left."""
        while not self.stop.is_set():
            claim = self._claim()
            if claim is not None:
                with claim:
                    self._run(claim)
            elif all(trial.state.is_finished() for trial in self.trials()) or self._is_good_enough():
                return
            else:
                # Other workers run what is left; one of them may die.
                self.stop.wait(0.3)

    def _is_good_enough(self) -> bool:
        """Whether the best value has reached the target."""
        best, target = self.best(), self.file.target
        if best is None or target is None:
            return False
        return best >= target if self.file.maximize else best <= target

    def _claim(self) -> "_Claim | None":
        """Take a trial that waits, or whose worker is gone; nobody else gets it while its lock is held."""
        done = self._is_good_enough()
        for trial in self.trials():
            if trial.state.is_finished() or (done and trial.state == TrialState.WAITING):
                continue
            if trial.state == TrialState.RUNNING and self._lives_elsewhere(trial):
                continue
            folder = self.run_folder(trial.number)
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("a")
            try:
                take_lock(lock, is_inherited=True)
            except BlockingIOError:
                lock.close()
                continue
            except OSError as error:
                lock.close()
                raise SweepError(
                    f"{folder}: its file system has no locks ({error.strerror}), and nothing else says whether a "
                    "trial lives: expected --out on another"
                ) from error
            fresh = self.storage.get_trial(trial._trial_id)
            if fresh.state == TrialState.WAITING:
                is_ours = self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            else:
                is_ours = fresh.state == TrialState.RUNNING and not self._lives_elsewhere(fresh)
            if not is_ours:
                # Another machine was faster.
                lock.close()
                continue
            claimed = Trial(self.study, trial._trial_id)
            if is_database(self.storage_name):
                claimed.set_user_attr("alive", time.time())
                claimed.set_user_attr("folder", self.token)
            return _Claim(claimed, folder, lock)
        return None

    def _lives_elsewhere(self, trial: FrozenTrial) -> bool:
        """Whether a trial runs on a machine with other folders, which has shown life lately."""
        if not is_database(self.storage_name) or trial.user_attrs.get("folder") == self.token:
            # Its folder is here, and the lock tells.
            return False
        seen = trial.user_attrs.get("alive") or (
            trial.datetime_start.timestamp() if trial.datetime_start else 0
        )
        return time.time() - seen < STALE

    def _run(self, claim: "_Claim") -> None:
        """Run a trial until it has ended, again after a kill, and tell the study how it ended."""
        trial, folder = claim.trial, claim.folder
        values = {parameter.key: parameter.suggest(trial) for parameter in self.file.parameters}
        kills = 0
        while True:
            summary = _outcome(folder)
            if summary.get("state") in ("finished", "pruned"):
                # It may have ended already, under a worker that died before it could tell.
                self._tell(trial, summary)
                return
            status = self._run_process(claim, values)
            if status in _TOLD_TO_STOP:
                # A signal to a whole group of processes may reach the trial before this process has heard of it.
                self.stop.wait(1.0)
            if self.stop.is_set() and status != 0:
                # It was stopped with the sweep, and is resumed with it.
                return
            is_stopped = status < 0 or status == REQUEUE
            if is_stopped and kills + 1 < MOST_KILLS:
                kills += 1
            elif status != 0:
                reason = (
                    f"{'told to stop' if status == REQUEUE else f'killed by signal {-status}'} {MOST_KILLS} times"
                    if is_stopped
                    else _last_line(folder / "log.txt")
                )
                trial.set_user_attr("error", reason)
                self.study.tell(trial, state=TrialState.FAIL)
                return
            elif _outcome(folder).get("state") not in ("finished", "pruned"):
                trial.set_user_attr("error", f"left no {SUMMARY} that says finished")
                self.study.tell(trial, state=TrialState.FAIL)
                if self.file.metric:
                    self.give_up(f"trial {trial.number} left no finished {folder / SUMMARY}")
                return

    def _run_process(self, claim: "_Claim", values: dict[str, Any]) -> int:
        """Run the trial's own process, which holds the lock as long as it lives; returns its exit status."""
        args_json_file = claim.folder / "args.json"
        words = self.file.words(values, str(args_json_file))
        if str(args_json_file) in words:
            write_atomically(args_json_file, json.dumps(values, default=str))
        if checkpoint_files(claim.folder / "checkpoints"):
            words.append("--ckpt_path=last")
        environment = {
            **os.environ,
            **self.share,
            "GAIN_TRIAL_DIR": str(claim.folder),
            TRIAL_VARIABLE: json.dumps(
                [self.storage_name, self.name, claim.trial._trial_id, self._pruning()]
            ),
        }
        with (claim.folder / "log.txt").open("a") as log:
            try:
                process = subprocess.Popen(
                    words,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=[claim.lock.fileno()],
                )
            except OSError as error:
                self.give_up(f"the command cannot be run: {error}")
                return 1
            with self._heartbeat(claim.trial):
                while True:
                    try:
                        return process.wait(timeout=1.0)
                    except subprocess.TimeoutExpired:
                        if self.stop.is_set():
                            process.send_signal(self.stop_signal)
                            return process.wait()

    def _pruning(self) -> dict[str, Any]:
        """What a trial has to know to be pruned; empty if the sweep prunes none."""
        rule = self.file.early_terminate
        return {**rule, "metric": self.file.metric, "maximize": self.file.maximize} if rule else {}

    @contextlib.contextmanager
    def _heartbeat(self, trial: Trial) -> Any:
        """Write signs of life to a database, for machines with other folders; if it takes none, the sweep gives up."""
        over = threading.Event()

        def beat() -> None:
            last = time.monotonic()
            while not over.wait(STALE / 4):
                try:
                    trial.set_user_attr("alive", time.time())
                    last = time.monotonic()
                except Exception as error:
                    # A database that is away for a moment comes back; give up before others take the trial for dead.
                    if time.monotonic() - last > STALE / 2:
                        self.give_up(
                            f"{without_password(self.storage_name)}: takes no signs of life ({type(error).__name__}), "
                            "so that other machines would run the same trials; the same command goes on"
                        )
                        return

        thread = threading.Thread(target=beat, daemon=True)
        if is_database(self.storage_name):
            thread.start()
        try:
            yield
        finally:
            over.set()

    def _tell(self, trial: Trial, summary: dict[str, Any]) -> None:
        """Tell the study the value of a trial that has ended, that it was pruned, or that it has no value."""
        if summary.get("state") == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
            return
        metrics = summary.get("metrics", {})
        value = metrics.get(self.file.metric) if self.file.metric else 0.0
        if isinstance(value, int | float) and math.isfinite(value):
            self.study.tell(trial, float(value))
            return
        is_there = self.file.metric in metrics
        trial.set_user_attr(
            "error", f"{self.file.metric} is not finite" if is_there else f"has no {self.file.metric}"
        )
        self.study.tell(trial, state=TrialState.FAIL)
        if not is_there:
            known = ", ".join(sorted(metrics)) or "none at all"
            self.give_up(f"metric.name is {self.file.metric!r}, but trial {trial.number:04d} has: {known}")

    def give_up(self, reason: str) -> None:
        """Stop the sweep; the first reason is the error that it ends with."""
        self.error = self.error or reason
        self.stop.set()


@dataclass
class _Claim:
    """A trial that this process alone runs, as long as the lock is open."""

    trial: Trial
    folder: Path
    lock: IO[str]

    def __enter__(self) -> "_Claim":
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.close()


def _plan(trial: FrozenTrial) -> int:
    """The number of a trial among the planned ones."""
    plan: int = trial.user_attrs.get("plan", trial.number)
    return plan


def _token(folder: Path) -> str:
    """The mark of the trials' folder, by which a machine knows that it shares the folder with another."""
    path = folder / "folder_id"
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(uuid.uuid4().hex)
    for _ in range(500):
        # Another process may just be writing it.
        if token := path.read_text(encoding="utf-8"):
            return token
        time.sleep(0.01)
    raise SweepError(f"{path}: empty, as whoever began it was stopped there: expected it deleted")


def _outcome(folder: Path) -> dict[str, Any]:
    """What a trial's summary says; a broken one says nothing, and the trial is run."""
    try:
        return read_summary(folder)
    except RunError:
        return {}


def _last_line(path: Path) -> str:
    """The last line of a log that says something."""
    # A progress bar goes back to the start of its line, or to a line above: what it writes there is a line as well.
    lines = re.split(r"[\r\n]|\x1b\[[0-9;]*[A-Za-z]", path.read_text(encoding="utf-8", errors="replace"))
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")[:300]
