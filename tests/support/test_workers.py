"""SIGTERM to a whole group of processes (`timeout`, `scancel`): workers leave it to their parent, which saves."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from obeying_worker import work

from gain_lightning.constants import REQUEUE
from gain_lightning.datasets import ShapesDataModule
from gain_lightning.segmentation.crf.pool import CrfPool
from gain_lightning.support.workers import refuse_without_sockets, signals_held

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
linux_only = pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="who sent a signal is not told")


def tell(pid, name="TERM"):
    """A signal from a process that is not its parent."""
    subprocess.run(["kill", "-s", name, str(pid)], check=True)


@pytest.mark.slow
@linux_only
def test_a_training_whose_group_is_told_saves_and_goes_on(tmp_path):
    """In a step, a validation and the test, of a classifier and of SEC, with two workers a loader."""
    process = subprocess.run(
        [sys.executable, str(HELPERS / "told_as_a_group.py"), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith('["')]
    saved = {"step 1": 2, "validation": 4, "test": 8}
    assert lines == [
        [f"{kind}, {moment}", REQUEUE, False, steps, 0, False, 8]
        for kind in ("gain", "sec")
        for moment, steps in saved.items()
    ], process.stderr[-2000:]


def start(context):
    pids = context.Queue()
    with signals_held():
        worker = context.Process(target=work, args=(pids,))
        worker.start()
    return worker, pids


@linux_only
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_obeys_its_parent_alone(method):
    worker, pids = start(multiprocessing.get_context(method))
    tell(worker.pid)  # at its birth
    tell(worker.pid, "INT")
    assert pids.get(timeout=120) == worker.pid
    tell(worker.pid)
    worker.join(1.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def die_with_a_worker(pids):
    start_pids = start(multiprocessing.get_context("fork"))[1]
    pids.put(start_pids.get(timeout=120))
    pids.close()
    pids.join_thread()
    os.kill(os.getpid(), signal.SIGKILL)


@linux_only
def test_a_worker_ends_when_its_parent_is_killed():
    context = multiprocessing.get_context("fork")
    pids = context.Queue()
    parent = context.Process(target=die_with_a_worker, args=(pids,))
    parent.start()
    worker = pids.get(timeout=120)
    parent.join(60)
    end = time.time() + 10
    while Path(f"/proc/{worker}").is_dir() and "zombie" not in Path(f"/proc/{worker}/status").read_text():
        assert time.time() < end
        time.sleep(0.1)


@linux_only
def test_the_processes_of_a_crf_go_on(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("pydensecrf")
    log_probs = torch.tensor([0.6, 0.4]).log().view(2, 1, 1).expand(2, 4, 4)
    with CrfPool(1) as pool:
        picture = torch.zeros(4, 4, 3, dtype=torch.uint8)
        first = pool.submit(log_probs, picture)
        (worker,) = pool._executor._processes
        tell(worker)  # while it starts
        assert first.result(timeout=120).shape == (4, 4)
        tell(worker)
        time.sleep(0.5)
        assert pool.submit(log_probs, picture).result(timeout=120).shape == (4, 4)


def test_this_process_hears_afterwards_what_came_meanwhile():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with signals_held():
            # to this thread: another one, such as that of a test runner, would hear what the process is told
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            during = list(heard)
        assert (during, heard) == ([], [1]) or not hasattr(signal, "sigtimedwait")
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no such sockets")
def test_workers_that_could_not_hand_over_are_refused_by_name(tmp_path, monkeypatch):
    """The training would wait for ever: multiprocessing's socket has a path of 107 bytes at most, 32 of its own."""
    folder = tmp_path
    while len(str(folder)) < 90:
        folder = folder / "a long name"
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    refuse_without_sockets.cache_clear()
    data = ShapesDataModule(num_train=4, num_val=2, num_test=2, num_workers=1)
    data.setup("validate")
    with pytest.raises(
        OSError, match=r"expected TMPDIR to be a short path on a local disk, or data\.num_workers 0"
    ):
        next(iter(data.val_dataloader()))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert next(iter(data.val_dataloader()))["image"].shape[0] == 2
