"""A worker for the tests of signals, in a module of its own, since a spawned worker imports it without torch."""

import os
import time

from gain_lightning.support.workers import heed_parent_alone


def work(pids):
    """Report this process's id, and stay."""
    heed_parent_alone()
    pids.put(os.getpid())
    time.sleep(120)
