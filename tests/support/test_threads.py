"""Cores that are free, what the user sets, and threads that sleep while they wait. torch: methods/test_threads.py."""

import os
import subprocess
import sys

import psutil
import pytest

from gain_lightning.support import threads
from gain_lightning.support.threads import free_cores, num_cores, share_of_cores


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Four cores, of which this process may use three."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_own_cores", lambda: [0, 1, 3])


def set_busy(monkeypatch, *percent):
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds, percpu: list(percent))


@pytest.mark.parametrize(
    ("percent", "free"),
    [
        ((0, 0, 0, 0), 3),
        ((0, 0, 100, 0), 3),
        ((100, 5, 0, 3), 2),
        ((100, 100, 0, 100), 1),
        ((60, 60, 0, 60), 1),
    ],
)
def test_cores_that_others_use_are_not_free(monkeypatch, percent, free):
    set_busy(monkeypatch, *percent)
    assert free_cores() == free


@pytest.mark.parametrize(("quota", "cores"), [("200000 100000", 2), ("max 100000", 3), ("50000 100000", 1)])
def test_a_container_s_quota_counts(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    assert num_cores() == cores


def test_processes_side_by_side_share_the_cores(monkeypatch):
    assert [share_of_cores(count) for count in (1, 2, 3, 9)] == [
        {},
        *({"OMP_NUM_THREADS": "1"} for _ in range(3)),
    ]
    monkeypatch.setattr(threads, "_own_cores", lambda: list(range(8)))
    assert share_of_cores(2) == {"OMP_NUM_THREADS": "4"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert share_of_cores(2) == {}


def test_waiting_threads_of_a_command_sleep():
    """It is set before torch is imported, unless the user has set it."""
    code = """
import os, sys
from gain_lightning.commands.common import prepare_torch
prepare_torch()
print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
"""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    bare = {name: value for name, value in os.environ.items() if name not in names}
    for given, spins in ({}, "1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7"):
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, env=bare | given, capture_output=True, text=True)
        assert result.stdout.split() == [spins, "False"], result.stderr


@pytest.mark.parametrize("value", ["abc", "0", "", "-1"])
def test_a_number_of_threads_that_openmp_passes_over_is_no_choice(monkeypatch, value):
    monkeypatch.setattr(threads, "num_cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.share_of_cores(2) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert threads.share_of_cores(2) == {}
