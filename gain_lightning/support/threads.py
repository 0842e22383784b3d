"""Count the free cores, and let no waiting thread keep a core busy for long.

OpenMP's threads spin while they wait for each other. If another process needs the core of one of them, all the others
wait for that one, and a step takes twice the time of one thread alone (docs/cost.md).
"""

import os
from pathlib import Path

import psutil

# In a container this file holds the microseconds that it may compute in a period, and those of the period.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def let_waiting_threads_sleep() -> None:
    """Let GNU's OpenMP, which torch's packages bring, spin for microseconds and then sleep, unless the user chose.

    This must come before torch is imported. Threads that never spin (``OMP_WAIT_POLICY=PASSIVE``) would cost a fifth
    on free cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def num_cores() -> int:
    """Return how many of the machine's cores this process may use, by its affinity and by a container's quota."""
    cores = len(_own_cores())
    # Without a container there is no such file; without a quota it says "max".
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return cores


def free_cores(seconds: float = 0.3) -> int:
    """Return how many cores nobody else uses just now, at least 1.

    Args:
        seconds: The time of the measurement, in which this process sleeps.
    """
    busy = psutil.cpu_percent(seconds, percpu=True)
    free = sum(1 - busy[core] / 100 for core in _own_cores() if core < len(busy))
    return max(1, min(num_cores(), round(free)))


def share_of_cores(num_processes: int) -> dict[str, str]:
    """Return the environment for each of several processes side by side, so that each has cores of its own.

    A single process chooses for itself, and settings of the user stay.

    Example:
        >>> share_of_cores(1)
        {}
    """
    if num_processes == 1 or is_set_by_user():
        return {}
    return {"OMP_NUM_THREADS": str(max(1, num_cores() // num_processes))}


def is_set_by_user() -> bool:
    """Return whether ``OMP_NUM_THREADS`` holds a number; OpenMP passes over anything else."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return first.isdecimal() and int(first) > 0


def _own_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
