"""Two gloo processes against one: whose images they see, what gradient they take, and that they end together."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from two_processes import SIZES, gradient, make_batch, make_model

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes saved."""
    out = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, str(HERE / "two_processes.py")]
    processes = [
        subprocess.Popen(
            [*command, str(rank), "2", port, str(out)],
            env=environment,
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


@pytest.mark.parametrize("case", ["even", "uneven", "none on one rank", "one in all"])
def test_mean_gradient_of_two_processes_is_that_of_the_whole_batch(two, case):
    expected = gradient(make_model(), make_batch(case))
    for rank in two:
        difference = (rank["gradients"][case] - expected).abs().max() / expected.abs().max()
        assert difference < 1e-10


def test_rank_without_a_masked_image_takes_part(two):
    batch = make_batch("even")
    batch["masked"] = {key: value[0::2] for key, value in batch["masked"].items()}  # rank 0's share
    expected = gradient(make_model(), batch)
    difference = (two[0]["gradients"]["no stream on one rank"] - expected).abs().max() / expected.abs().max()
    assert difference < 1e-10


def test_supervision_matters_in_these_batches():
    """Else the tests above would compare too little."""
    gradients = [gradient(make_model(), make_batch(case)) for case in ("even", "uneven", "none on one rank")]
    for first, second in itertools.combinations(gradients, 2):
        assert (first - second).abs().max() > 0.01 * first.abs().max()


def test_ranks_see_disjoint_shards_in_equal_steps_and_the_whole_set_together(two):
    steps = [rank["seen"] for rank in two]
    assert len(steps[0]) == len(steps[1]) == 2 * 4  # 13 images a rank and epoch, four a step
    names = {f"train_{index:05d}" for index in range(SIZES["num_train"])}
    for epoch in range(2):
        seen = [
            [image_id for step in rank[4 * epoch : 4 * epoch + 4] for image_id in step["weak"]]
            for rank in steps
        ]
        assert set(seen[0]).isdisjoint(seen[1])
        assert set(seen[0]) | set(seen[1]) == names
    assert two[0]["masked_ids"] == two[1]["masked_ids"]
    masked = [[image_id for step in rank for image_id in step["masked"]] for rank in steps]
    assert len(masked[0]) == len(masked[1]) == 16
    first_pass = [ids[:4] for ids in masked]  # seven images, padded to four a rank
    assert set(first_pass[0]) | set(first_pass[1]) == set(two[0]["masked_ids"])
    assert len(set(first_pass[0]) & set(first_pass[1])) == 1


@pytest.mark.parametrize("dies", ["0 killed", "1 killed", "1 raises"])
def test_a_rank_that_dies_ends_the_other_within_a_minute(tmp_path, dies):
    words = [
        *(
            "fit",
            "--config",
            str(HERE.parent / "experiments/shapes/gain_ext.yaml"),
            f"--run_dir={tmp_path / 'run'}",
        ),
        *("--data.num_train=24", "--data.num_val=8", "--data.num_test=8", "--data.num_biased=4"),
        *(
            "--data.batch_size=2",
            "--data.masked_batch_size=1",
            "--data.mask_budget=5",
            "--trainer.logger=false",
        ),
        *("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"),
    ]
    died_at = tmp_path / "died_at"
    process = subprocess.Popen(
        [sys.executable, str(HERE / "dying_rank.py"), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DIES": dies, "DIED_AT": str(died_at)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=300)[0]  # its end: both have closed it
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert time.time() - float(died_at.read_text()) < 60
    assert process.returncode != 0
    reason = (
        "rank 1: the disk of this node is gone" if dies == "1 raises" else "closed by peer|reset by peer|-9"
    )
    assert re.search(reason, output), output[-2000:]
