"""The benchmarks say what they are before they start, and compare like with like."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_scripts import SCRIPTS, load


def step_settings(**changes):
    settings = {"backbone": "tiny_cnn", "labels": 1.5, "batch": 2, "image_size": 32, "device": "cpu"}
    flags = dict.fromkeys(("compile", "checkpoint", "default_malloc", "loop_keeps_memory"), False)
    formats = {"precision": "float32", "memory_format": "auto"}
    return argparse.Namespace(**{**settings, **flags, **formats, **changes})


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.stem in ("bench", "startup")])
@pytest.mark.parametrize(("word", "status"), [("--help", 0), ("--no_such_option", 2)])
def test_a_benchmark_asked_for_help_measures_nothing(script, word, status):
    process = subprocess.run(
        [sys.executable, str(script), word], capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == status
    assert "usage: " in process.stdout + process.stderr


@pytest.mark.parametrize("variant", ["plain", "gain_ext_second_order", "per_class_loop"])
@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_every_variant_computes_in_the_precision_asked_for(variant, precision, dtype):
    bench = load("step").Bench(step_settings(precision=precision, default_malloc=True))
    seen = []
    conv = next(layer for layer in bench.module.modules() if isinstance(layer, torch.nn.Conv2d))
    # where its cells lie is found on the meta device, where nothing is computed
    conv.register_forward_hook(lambda layer, inputs, output: output.is_meta or seen.append(output.dtype))
    bench.step(variant)
    assert set(seen) == {dtype}


@pytest.mark.parametrize(("variant", "keeps"), [("plain", 1), ("per_class_loop", 0)])
def test_memory_is_measured_in_the_setting_that_times_are(variant, keeps, monkeypatch):
    step, calls = load("step"), []
    monkeypatch.setattr(step, "keep_freed_memory", lambda: calls.append(1))
    assert step._peak_of(variant, step_settings()) > 0
    assert len(calls) == keeps


def test_others_make_every_image_s_map_in_one_call_a_rank():
    """And the same maps as ours, which ``differences`` refuses to be otherwise."""
    pytest.importorskip("pytorch_grad_cam")
    maps = load("maps")
    backbone = maps.build_backbone("tiny_cnn", 3).eval()
    image = torch.randn(3, 3, 32, 32)
    label = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1]])
    assert set(maps.differences(backbone, image, label)) == {"difference_grad-cam", "difference_captum"}
    passes = []
    backbone.features.register_forward_hook(lambda layer, inputs, output: passes.append(len(output)))
    for method in (maps.with_grad_cam, maps.with_captum):
        passes.clear()
        method(backbone, image, label)
        assert passes == [3, 2, 1]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads processes from /proc")
def test_a_soak_that_fails_leaves_no_training_behind(monkeypatch):
    soak, pids = load("soak"), []

    def look(pid, run):
        pids.append(pid)
        raise FileNotFoundError("gone")

    monkeypatch.setattr(soak, "look", look)
    config = Path(__file__).parents[2] / "experiments" / "shapes" / "gain_ext.yaml"
    small = [
        "--data.num_train=8",
        "--data.batch_size=4",
        "--data.masked_batch_size=2",
        "--data.num_val=2",
        "--data.num_test=2",
        "--data.num_biased=2",
    ]
    with pytest.raises(FileNotFoundError, match="gone"):
        soak.watch(config, small, minutes=1, every=1)
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_summary_of_a_soak():
    """Half a MiB a minute, and a speed that falls from 4 to 3 steps a second, logged by two hundreds."""
    soak = load("soak")
    minutes = np.arange(0, 30, 1 / 12)
    taken = 60 * np.where(minutes < 15, 4 * minutes, 60 + 3 * (minutes - 15))
    samples = [
        {
            "minute": minute,
            "memory_mib": 900 + minute / 2,
            "files": 40,
            "shared_mib": 3.0,
            "step": step // 200 * 200,
        }
        for minute, step in zip(minutes.tolist(), taken.tolist(), strict=True)
    ]
    found = soak.summary(samples)
    assert found["memory_slope"] == pytest.approx(0.5)
    assert found["memory_mib"] == pytest.approx([902.5, 900 + minutes[-1] / 2])
    assert found["files"] == [40, 40]
    assert found["speed_ratio"] == pytest.approx(0.75, rel=0.03)  # by first and last step alone: 0.83


def test_shares_of_a_training_s_time_are_whole(monkeypatch):
    overhead = load("overhead")
    monkeypatch.setattr(overhead.experiment, "ExperimentCLI", overhead.experiment.ExperimentCLI)  # put back
    config = Path(__file__).parents[2] / "experiments" / "shapes" / "gain_ext.yaml"
    small = ["--data.num_train=64", "--data.num_val=8", "--data.mask_budget=4", "--trainer.max_epochs=2"]
    shares = overhead.measure([f"--config={config}", *small, "--model.warmup=0"])
    seconds = shares.pop("seconds")
    assert set(shares) == {"steps", "waiting for pictures", "validation", "rest"}
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share >= 0 for share in shares.values())
    assert shares["steps"] * seconds > 0.05


def test_recall_at_a_precision_lies_between_two_scores():
    cues = load("cues")
    found = {
        "0.2": {"precision": 0.5, "recall": 0.6},
        "0.4": {"precision": 0.7, "recall": 0.4},
        "0.6": {"precision": 0.9, "recall": 0.1},
        "0.8": {"precision": None, "recall": 0.0},
    }
    assert cues.recall_at(0.8, found) == pytest.approx(0.25)
    assert cues.recall_at(0.7, found) == pytest.approx(0.4)
    assert cues.recall_at(0.95, found) is None
    assert cues.recall_at(0.4, found) == 0.6  # every one is more precise


def test_predicted_classes_are_the_positive_ones_or_the_likeliest():
    class Model(torch.nn.Module):
        backbone = argparse.Namespace(normalize=lambda image: image)

        def forward(self, image):
            return torch.tensor([[1.0, -1.0, 2.0], [-3.0, -1.0, -2.0]])

    found = load("cues").predicted(Model(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 0.5)
    assert found.tolist() == [[1, 0, 1], [0, 1, 0]]
