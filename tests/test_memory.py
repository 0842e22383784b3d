import os
import platform
import re
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


# Convolves batches of 300 sizes twice; oneDNN says of every kernel whether it had it.
KERNELS = """
from gain_lightning.memory import keep_few_kernels
if {few}:
    keep_few_kernels()
import torch
with torch.no_grad():
    for size in [*range(2, 302)] * 2:
        torch.conv2d(torch.zeros(size, 16, 8, 8), torch.zeros(16, 16, 3, 3))
"""


def compiled(few, bound=None):
    environment = {**os.environ, "ONEDNN_VERBOSE": "profile_create"}
    environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY", None)
    if bound:
        environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = bound
    code = KERNELS.format(few=few)
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    return len(re.findall(r"create:cache_miss,cpu,convolution", run.stdout))


def test_kernels_of_old_numbers_of_images_are_dropped():
    assert compiled(few=False) == compiled(few=True, bound="1000") == 300
    assert compiled(few=True) == 600
