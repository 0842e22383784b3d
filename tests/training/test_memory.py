import os
import platform
import re
import subprocess
import sys

import pytest
from small_run import CONFIG, SMALL
from torch.utils.data import DataLoader

from gain_lightning.cli import main

# Page faults of the third of three equal arrays, each freed before the next.
FAULTS = """
import resource
import numpy as np
from gain_lightning.training.memory import keep_freed_memory
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


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_freed_memory_is_kept_for_the_next_array():
    assert faults(keep=True) < 100 < faults(keep=False)


# MiB of the process while 200 MiB are in use, when they are free but for a piece at the end, after a batch in the
# middle of an epoch, and after its last.
RESIDENT = """
from pathlib import Path
from types import SimpleNamespace
import torch
from gain_lightning.training.memory import ReturnFreedMemory, keep_freed_memory

def resident():
    print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20)

keep_freed_memory()
large = [torch.ones(10, 2**18) for _ in range(20)]
pinned = torch.ones(2**18)
resident()
del large
resident()
for is_last in (False, True):
    ReturnFreedMemory().on_train_batch_end(SimpleNamespace(is_last_batch=is_last), None, None, None, 0)
    resident()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has malloc_trim")
def test_freed_memory_is_returned_after_an_epoch():
    run = subprocess.run([sys.executable, "-c", RESIDENT], check=True, capture_output=True, text=True)
    in_use, free, kept, returned = map(int, run.stdout.split())
    assert abs(free - in_use) < 10
    assert kept == free
    assert 190 < free - returned < 210


# Convolves batches of 300 sizes twice; oneDNN says of every kernel whether it had it.
KERNELS = """
import torch
from gain_lightning.training.memory import keep_few_kernels
if {few}:
    keep_few_kernels(torch.nn.Sequential(*[torch.nn.Conv2d(1, 1, 1) for _ in range(40)]))
with torch.no_grad():
    for size in [*range(2, 302)] * 2:
        torch.conv2d(torch.zeros(size, 16, 8, 8), torch.zeros(16, 16, 3, 3))
"""
# Two steps of a network, after `gain fit` has made it.
STEPS = """
import torch
from gain_lightning.training.memory import keep_few_kernels
from gain_lightning.backbones import build_backbone
from gain_lightning.segmentation.largefov import build_largefov
net = {net}
keep_few_kernels(net)
for _ in range(2):
    print("step", flush=True)
    net(torch.zeros(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)).square().sum().backward()
"""


def says(code, bound=None):
    """What oneDNN says while the code runs."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "profile_create"}
    environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY", None)
    if bound:
        environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = bound
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    return run.stdout


def compiled(text):
    return len(re.findall(r"create:cache_miss,cpu,convolution", text))


@pytest.mark.slow
def test_kernels_of_old_numbers_of_images_are_dropped():
    kept = KERNELS.format(few=False)
    assert compiled(says(kept)) == compiled(says(KERNELS.format(few=True), bound="1000")) == 300
    assert compiled(says(KERNELS.format(few=True))) == 600


@pytest.mark.parametrize(
    "net",
    [
        "build_backbone('tiny_cnn', 3)",
        "build_backbone('vgg16', 3)",
        "build_largefov('lite0', 3, output_stride=16)",
    ],
)
def test_kernels_of_one_number_of_images_are_kept(net):
    before, first, second = says(STEPS.format(net=net)).split("step\n")
    assert compiled(before) == 0 < compiled(first)
    assert compiled(second) == 0


def test_freed_memory_goes_back_before_validation_starts_its_workers(tmp_path, monkeypatch):
    calls, begin = [], DataLoader.__iter__

    def begin_and_say(loader):
        if len(loader.dataset) == 24:  # images of validation
            calls.append("workers")
        return begin(loader)

    monkeypatch.setattr(
        "gain_lightning.training.memory._of_glibc", lambda name: lambda *_: calls.append(name)
    )
    monkeypatch.setattr(DataLoader, "__iter__", begin_and_say)
    assert main(["fit", *CONFIG, *SMALL, "--test_after_fit=false", f"--run_dir={tmp_path / 'run'}"]) == 0
    assert calls == ["malloc_trim", "workers"] * 2
