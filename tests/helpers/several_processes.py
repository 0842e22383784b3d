"""Run two processes of a script as ranks 0 and 1 of a gloo group."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": os.pathsep.join(sys.path),
}


def run_two(script: Path, out: Path) -> list:
    """Run ``SCRIPT RANK 2 PORT OUT`` for both ranks, and return what each saved as ``OUT/RANK.pt``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), "2", port, str(out)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=400)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)[-3000:]
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


def join(rank: int, world_size: int, port: str) -> None:
    """Put a process's rank and its group into its environment."""
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE=str(world_size), RANK=str(rank),
        LOCAL_RANK=str(rank), NODE_RANK="0",
    )  # fmt: skip
    torch.set_num_threads(1)
