"""torch computes with as many threads as cores are free, and with those that the user sets."""

import psutil
import pytest
import torch

from gain_lightning.methods.threads import choose_threads
from gain_lightning.support import threads


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Four cores, of which this process may use three; threads are as they were afterwards."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_own_cores", lambda: [0, 1, 3])
    yield
    torch.set_num_threads(before)


def set_busy(monkeypatch, *percent):
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds, percpu: list(percent))


def test_as_many_threads_as_cores_are_free(monkeypatch):
    set_busy(monkeypatch, 100, 0, 0, 0)
    assert choose_threads() == "2 threads: 2 of 3 cores are free"
    assert torch.get_num_threads() == 2


def test_what_the_user_sets_stays(monkeypatch):
    set_busy(monkeypatch, 0, 0, 0, 0)
    assert choose_threads(2) == "2 threads: as asked"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    assert choose_threads() == "1 thread, by OMP_NUM_THREADS"
    assert choose_threads(2) == "2 threads: as asked"
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="--threads is 0, expected at least 1"):
        choose_threads(0)


def test_a_deterministic_training_has_the_same_threads_on_a_busy_machine(monkeypatch):
    set_busy(monkeypatch, 100, 100, 100, 100)
    assert choose_threads(is_deterministic=True).startswith("3 threads: one a core")
