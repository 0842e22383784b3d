"""Gloo processes against one: whose images they see, their gradient and scores, and that they end together."""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from scoring_processes import SIZES as SCORED
from scoring_processes import TASKS
from several_processes import ENVIRONMENT, run_two
from two_processes import SIZES, gradient, make_batch, make_model

from gain_lightning.datasets.streams import share_out
from gain_lightning.support.sharing import in_turn

ROOT = Path(__file__).parents[1]
HELPERS = ROOT / "tests" / "helpers"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes saved."""
    return run_two(HELPERS / "two_processes.py", tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("case", ["even", "uneven", "none on one rank", "one in all"])
def test_mean_gradient_of_two_processes_is_that_of_the_whole_batch(two, case):
    expected = gradient(make_model(), make_batch(case))
    for rank in two:
        difference = (rank["gradients"][case] - expected).abs().max() / expected.abs().max()
        assert difference < 1e-10


def test_rank_without_a_masked_batch_takes_part(two):
    """As if of its images nothing were known."""
    expected = gradient(make_model(), make_batch("none on one rank"))
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


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Where one, two and three processes have left what they score."""
    out = tmp_path_factory.mktemp("scored")
    command = [sys.executable, str(HELPERS / "scoring_processes.py"), str(out)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    return out


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("task", TASKS)
def test_every_score_counts_every_image_once_by_however_many_processes(scored, task, processes):
    """25 images of the test, 7 of the validation and 5 of the further tests, of which 2 and 3 divide none."""
    alone, together = (json.loads((scored / f"{task}_{n}.json").read_text()) for n in (1, processes))
    expected = {
        "fit": {"val/seed_miou", "val/energy", "val/pointing", "val/zero_maps"},
        "validate": {"val/mae" if task == "regression" else "val/mean_ap"},
        "test": {"test/mae"}
        if task == "regression"
        else {"test/mean_ap", "test/accuracy", "test/biased_accuracy"},
    }
    expected["test"] |= {"test/seed_miou_best", "test/energy", "center/energy", "center/pointing"}
    for verb, scores in alone.items():
        assert expected[verb] <= scores.keys()
        assert together[verb] == pytest.approx(scores, abs=1e-6), verb


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("task", TASKS)
def test_files_of_several_processes_are_those_of_one(scored, task, processes):
    """Every image once, in the order of the sets and of the images in them; and no part is left."""
    alone, together = (scored / f"{task}_{n}" for n in (1, processes))
    tables = ["per_class.csv", *(["per_group.csv"] if task == "multi_label" else []), "per_image.csv"]
    for name in tables:
        expected, found = rows(alone / name), rows(together / name)
        assert len(expected) == len(found)
        for row, other in zip(expected, found, strict=True):
            assert row.keys() == other.keys()
            for key, value in row.items():
                is_number = key not in ("set", "id", "class", "group") and value
                assert (
                    (float(other[key]) == pytest.approx(float(value), abs=1e-5))
                    if is_number
                    else other[key] == value
                )
    ids = list(dict.fromkeys((row["set"], row["id"]) for row in rows(together / "per_image.csv")))
    assert ids[: SCORED["num_test"]] == [("test", f"test_{index:05d}") for index in range(SCORED["num_test"])]
    assert len(ids) == 25 + (10 if task == "multi_label" else 0)
    num_images = [float(row["num_images"]) for row in rows(together / "per_class.csv")]
    assert sum(num_images) == (
        sum(row["present"] == "1" for row in rows(together / "per_image.csv") if row["set"] == "test")
        if task == "multi_label"
        else SCORED["num_test"] * len(num_images)
    )
    assert sorted(path.name for path in together.iterdir()) == ["maps.npz", *tables]


@pytest.mark.parametrize("num_images", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_shares_hold_every_image_once_and_go_back_into_order(num_images, processes):
    images = range(num_images)
    ranks = [SimpleNamespace(world_size=processes, global_rank=rank) for rank in range(processes)]
    if num_images < processes:
        for rank in ranks:
            with pytest.raises(ValueError, match=f"val has {num_images} images for {processes} processes"):
                share_out("val", images, rank)
        return
    shares = [list(share_out("val", images, rank)) for rank in ranks]
    assert list(in_turn(shares)) == list(range(num_images))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("dies", ["0 killed", "1 killed", "1 raises"])
def test_a_rank_that_dies_ends_the_other_within_a_minute(tmp_path, dies):
    words = [
        *(
            "fit",
            "--config",
            str(ROOT / "experiments/shapes/gain_ext.yaml"),
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
        [sys.executable, str(HELPERS / "dying_rank.py"), *words],
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
