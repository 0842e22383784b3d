import platform
import subprocess
import sys

import pytest

# Page faults of the third of three equal arrays, each freed before the next.
FAULTS = """
import resource
import numpy as np
from gain_lightning.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(100_000_000, np.uint8)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def faults(keep):
    code = FAULTS.format(keep=keep)
    return int(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_freed_memory_is_kept_for_the_next_array():
    assert faults(keep=True) < 100 < faults(keep=False)
