"""Who holds a lock, and what the end of a process frees."""

import subprocess
import sys

import pytest

from gain_lightning.support.locks import take_lock

HOLDER = """
import subprocess, sys
from gain_lightning.support.locks import take_lock
file = open(sys.argv[1], "a")
take_lock(file, is_inherited={inherited})
child = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[file.fileno()])
print(child.pid, flush=True)
input()
"""


@pytest.mark.parametrize("inherited", [False, True])
def test_a_lock_lives_as_long_as_who_holds_it(tmp_path, inherited):
    """The process alone, or its child too that was given the file."""
    path = tmp_path / "lock"
    words = [sys.executable, "-c", HOLDER.format(inherited=inherited), str(path)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline().strip().isdigit()
        with path.open("a") as file:
            with pytest.raises(BlockingIOError, match="lock"):
                take_lock(file, is_inherited=inherited)
            holder.kill()
            holder.wait()
            if inherited:
                with pytest.raises(BlockingIOError):
                    take_lock(file, is_inherited=inherited)
            else:
                take_lock(file, is_inherited=inherited)
    finally:
        holder.kill()
        # the child reads from the same pipe, and ends with it
        holder.stdin.close()
        holder.wait()


def test_closing_the_file_frees_the_lock(tmp_path):
    for _ in range(2):
        with (tmp_path / "lock").open("a") as file, (tmp_path / "lock").open("a") as other:
            take_lock(file, is_inherited=True)
            with pytest.raises(BlockingIOError):
                take_lock(other, is_inherited=True)


def test_a_system_without_locks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("gain_lightning.support.locks.fcntl", None)
    with (tmp_path / "lock").open("a") as file, pytest.raises(OSError, match="this system has no locks"):
        take_lock(file, is_inherited=False)
