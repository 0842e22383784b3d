"""The worker of ``test_group_signals.py``, in a module of its own: a spawned one imports it, without torch."""

import os
import time

from gain_lightning.support.workers import heed_parent_alone


def work(pids):
    """Say that it is there, and stay."""
    heed_parent_alone()
    pids.put(os.getpid())
    time.sleep(120)
