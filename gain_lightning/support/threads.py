"""Cores and threads: how many cores are free, and no thread that waits keeps one busy for long.

OpenMP's threads spin while they wait for each other. Where another process needs the core that one of them waits for,
all wait for that one, and a step takes twice the time of one thread alone (docs/cost.md).
"""

import os
from pathlib import Path

import psutil

# of a container: microseconds that it may compute in a period, and the period's
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def let_waiting_threads_sleep() -> None:
    """Let GNU's OpenMP, which torch's packages bring, spin for microseconds and then sleep, unless the user chose.

    It counts for a torch that is imported afterwards. Threads that never spin (``OMP_WAIT_POLICY=PASSIVE``) would cost
    a fifth on free cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def num_cores() -> int:
    """Cores that this process may use: of the machine, of what the user allows it, and of a container's quota."""
    cores = len(_own_cores())
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no container, "max", or no period
        return cores


def free_cores(seconds: float = 0.3) -> int:
    """Cores that nobody else uses just now, at least 1.

    Args:
        seconds: How long to look, while this process sleeps.
    """
    busy = psutil.cpu_percent(seconds, percpu=True)
    free = sum(1 - busy[core] / 100 for core in _own_cores() if core < len(busy))
    return max(1, min(num_cores(), round(free)))


def share_of_cores(num_processes: int) -> dict[str, str]:
    """Environment of each of several processes that compute side by side, so that all have a core of their own.

    One process chooses for itself; what the user has set stays.

    Example:
        >>> share_of_cores(1)
        {}
    """
    if num_processes == 1 or is_set_by_user():
        return {}
    return {"OMP_NUM_THREADS": str(max(1, num_cores() // num_processes))}


def is_set_by_user() -> bool:
    """Whether ``OMP_NUM_THREADS`` says a number; OpenMP passes over anything else."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return first.isdecimal() and int(first) > 0


def _own_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
