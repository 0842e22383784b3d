"""Runs of an earlier version open: their scores are the same, and what was interrupted goes on.

Everything goes through commands, files and the names of the package itself, for modules move.
"""

import csv
import hashlib
import json
import lzma
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gain_lightning import GAIN
from gain_lightning.cli import main

KEPT = Path(__file__).parent / "old_runs"
TRIALS = ["sweep/trials/0000", "sweep/trials/0001"]


@pytest.fixture(autouse=True)
def old_runs(tmp_path, monkeypatch):
    """A copy of the old folders, unpacked, is where commands are given, as it was when they were made."""
    shutil.copytree(KEPT, tmp_path, dirs_exist_ok=True)
    for packed in tmp_path.glob("*/checkpoints/*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["gain"])


def rows(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def summary(run):
    return json.loads(Path(run, "summary.json").read_text())


def curves(path):
    """Of every step what was logged then, without order."""
    return {
        (int(row["step"]), key): float(value)
        for row in rows(path)
        for key, value in row.items()
        if value and key not in ("step", "epoch")
    }


def probabilities(table):
    return {(row["picture"], row["class"]): float(row["probability"]) for row in rows(table)}


# Maps are placed where they were computed since; figures of 8f9788b.
PLACED = {
    "test/energy": 0.40238309,
    "test/pointing": 0.5,
    "test/seed_miou": 0.33114070,
    "test/seed_miou_best": 0.38741192,
    "test/seed_threshold_best": 0.05,
    "test/zero_maps": 0.5,
    "center/energy": 0.21331097,
    "center/pointing": 0.5,
    "center/seed_miou": 0.23498105,
    "center/seed_miou_best": 0.43496528,
    "center/seed_threshold_best": 0.6,
}


def test_test_of_an_old_run_gives_its_class_scores_again():
    before, images = summary("gain_ext"), rows("gain_ext/per_image.csv")
    assert main(["test", "--config", "gain_ext/config.yaml", "--ckpt_path", "last"]) == 0
    after = summary("gain_ext")
    expected = {**before["metrics"], **PLACED}
    assert {key: after["metrics"][key] for key in expected} == pytest.approx(expected, abs=1e-5)
    # scores of groups are newer than the run
    assert all("group" in key or key.endswith("_average") for key in after["metrics"].keys() - expected)
    for key in ("state", "method", "seed", "num_masked", "git_commit", "versions", "wall_time_s"):
        assert after[key] == before[key]
    again = rows("gain_ext/per_image.csv")
    for key in ("set", "id", "class", "present"):
        assert [row[key] for row in again] == [row[key] for row in images]
    scores = [[float(row["score"]) for row in table] for table in (again, images)]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


def test_test_of_an_old_segmentation_gives_its_scores():
    before, images = summary("sec"), rows("sec/per_image.csv")
    assert main(["test", "--config", "sec/config.yaml", "--ckpt_path", "last"]) == 0
    after = summary("sec")
    assert (after["state"], after["method"]) == ("finished", "sec_gain_ext_16")
    # Maps are placed where they were computed since; figures of 8f9788b.
    # Processors round differently, and a few pixels of 36,864 lie between two classes.
    scores = {"test/miou": 0.164956}
    scores |= {"test/miou_crf": 0.073184} if find_spec("pydensecrf") else {}
    assert {key: after["metrics"][key] for key in scores} == pytest.approx(scores, abs=5e-4)
    kept = {key: value for key, value in before["metrics"].items() if not key.startswith("test/")}
    assert {key: after["metrics"][key] for key in kept} == kept
    again = rows("sec/per_image.csv")
    for key in ("id", "class", "true"):
        assert [row[key] for row in again] == [row[key] for row in images]


@pytest.mark.slow
def test_interrupted_old_training_goes_on_to_its_end():
    """Until guidance begins it is the old training that nobody stopped; guidance sees other places."""
    assert summary("interrupted")["state"] == "killed"
    assert main(["fit", "--config", "interrupted/config.yaml", "--ckpt_path", "last"]) == 0
    after = summary("interrupted")
    assert (after["state"], after["method"], after["seed"]) == ("finished", "gain_ext", 1)
    got, expected = curves("interrupted/metrics.csv"), curves("whole.csv")
    assert got.keys() >= expected.keys()
    # scores of groups are newer than the run
    assert all("group" in key or key.endswith("_average") for _, key in got.keys() - expected.keys())
    unguided = {
        key: value for key, value in expected.items() if key[0] < 40 and not key[1].startswith("val/")
    }
    assert sum(key == "train/loss" for _, key in unguided) == 40
    assert {key: got[key] for key in unguided} == pytest.approx(unguided, abs=1e-6)
    assert got[39, "val/mean_ap"] == pytest.approx(expected[39, "val/mean_ap"], abs=1e-6)
    # Guidance began: maps are placed where they were computed since; figures of 8f9788b.
    # Differences of rounding grow with every step.
    assert got[40, "train/loss"] == pytest.approx(4.243927, abs=1e-5)
    assert got[40, "train/loss_cl"] == pytest.approx(expected[40, "train/loss_cl"], abs=1e-5)
    assert got[79, "train/loss"] == pytest.approx(4.279817, abs=1e-3)
    assert got[79, "val/mean_ap"] == pytest.approx(0.361187, abs=1e-2)


def test_old_runs_and_an_old_sweep_compare():
    assert main(["compare", "gain_ext", "sweep", "--out", "report"]) == 0
    (group,) = json.loads(Path("report", "summary.json").read_text())["groups"]
    assert group["runs"] == ["gain_ext", *TRIALS]
    of_runs = [summary(run)["metrics"] for run in group["runs"]]
    for key in of_runs[0]:
        score, values = group["metrics"][key], [metrics[key] for metrics in of_runs]
        assert (score["mean"], score["std"], score["n"]) == pytest.approx(
            (np.mean(values), np.std(values, ddof=1), 3), abs=1e-9
        )
    assert Path("report", "report.html").is_file()


def test_an_old_segmentation_compares():
    assert main(["compare", "sec", "--out", "report"]) == 0
    (group,) = json.loads(Path("report", "summary.json").read_text())["groups"]
    assert group["metrics"]["test/miou"]["mean"] == summary("sec")["metrics"]["test/miou"]


def test_a_folder_with_pictures_beside_old_runs_is_not_of_their_cues():
    Path("images").rename("pictures")
    assert main(["compare", "gain_ext", "--out", "report"]) == 0


def test_old_runs_are_listed_with_their_states(capsys):
    assert main(["runs", "."]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[1:3] for line in printed if line[0] in ("gain_ext", "sec", "interrupted")] == [
        ["finished", "gain_ext"],
        ["killed", "gain_ext"],
        ["finished", "sec_gain_ext_16"],
    ]
    assert [line[1] for line in printed if line[0].endswith(("0000", "0001"))] == ["finished", "finished"]


def test_predictions_of_an_old_run_are_the_same():
    last = "gain_ext/checkpoints/last.ckpt"
    assert main(["predict", "--images", "images", "--ckpt_path", last, "--out", "out"]) == 0
    got, before = probabilities("out/predictions.csv"), probabilities("predicted/gain_ext/predictions.csv")
    assert got.keys() == before.keys()
    # Pictures are read as in training and tests since: those of another size than the run's differ a little.
    for key, value in before.items():
        assert got[key] == pytest.approx(value, abs=1e-6 if key[0] == "shapes.png" else 5e-4), key
    # Figures of 8f9788b.
    enlarged = {("runs.png", "car"): 0.320582, ("square.png", "lamp"): 0.465562}
    assert {key: got[key] for key in enlarged} == pytest.approx(enlarged, abs=1e-5)
    mapped = [
        [row["mapped"] for row in rows(f"{out}/predictions.csv")] for out in ("out", "predicted/gain_ext")
    ]
    assert mapped[0] == mapped[1]
    attention = np.load("out/shapes_lamp.npy")
    assert (attention.shape, attention.max()) == ((96, 96), 1)
    assert np.load("out/runs_car.npy").shape == (40, 56)


def test_an_old_segmentation_network_segments_pictures():
    last = "sec/checkpoints/last.ckpt"
    assert main(["predict", "--images", "images", "--ckpt_path", last, "--out", "out", "--no_crf"]) == 0
    # Pixels of the background. Maps are placed where they were computed since; figures of 8f9788b.
    # Processors round differently, and scores of two classes lie close together.
    for name, pixels in {"runs": 1515, "shapes": 5110, "square": 1112}.items():
        got, before = (np.array(Image.open(f"{out}/{name}.png")) for out in ("out", "predicted/sec"))
        assert got.shape == before.shape
        assert np.unique(got).tolist() == np.unique(before).tolist() == [0, 4]
        assert (got == 0).sum() == pytest.approx(pixels, abs=100), name


def test_seeds_of_an_old_run_are_made_and_old_seeds_know_its_checkpoint():
    made_of = hashlib.sha256(Path("gain_ext/checkpoints/last.ckpt").read_bytes()).hexdigest()
    assert json.loads(Path("cues/provenance.json").read_text())["checkpoint_sha256"] == made_of
    assert main(["seeds", "gain_ext", "--split", "val", "--out", "seeds", "--device", "cpu"]) == 0
    made = json.loads(Path("seeds/provenance.json").read_text())
    assert (made["state"], made["method"], made["checkpoint_sha256"]) == ("finished", "gain_ext_16", made_of)
    with np.load("seeds/cues.npz") as cues:
        assert sorted(cues.files) == [f"val_{index:05d}" for index in range(16)]
        assert {cue.shape for cue in cues.values()} == {(41, 41)}


def test_maps_of_an_old_run_are_checked():
    assert main(["check-maps", "gain_ext"]) == 0
    checks = json.loads(Path("gain_ext/map_checks.json").read_text())
    assert (checks["num_images"], checks["num_pairs"], checks["num_zero"]) == (4, 4, 2)


def test_a_finished_old_sweep_starts_nothing(capsys):
    before = {path: path.read_bytes() for path in Path("sweep").rglob("*") if path.is_file()}
    assert main(["sweep", "sweep.yaml", "--out", "sweep"]) == 0
    assert "0 of 2 trials to run" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before if path.suffix != ".log"} == {
        path: content for path, content in before.items() if path.suffix != ".log"
    }
    assert sorted(str(path) for path in Path("sweep/trials").iterdir()) == TRIALS
    assert [(row["trial"], row["state"]) for row in rows("sweep/trials.csv")] == [
        ("0000", "done"),
        ("0001", "done"),
    ]


def test_python_loads_an_old_checkpoint():
    model = GAIN.load_from_checkpoint("gain_ext/checkpoints/last.ckpt", map_location="cpu").eval()
    assert model.hparams.class_names == ["boat", "car", "cow", "bird", "lamp"]
    with np.load("gain_ext/maps.npz") as maps:
        images = torch.from_numpy(maps["image"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        scores = model(model.backbone.normalize(images)).sigmoid()
    expected = [float(row["score"]) for row in rows("gain_ext/per_image.csv") if row["set"] == "test"]
    np.testing.assert_allclose(scores.flatten(), expected, rtol=0, atol=1e-5)


def test_an_old_run_and_one_of_todays_config_differ_in_no_schedule():
    """Five of six epochs are a share of the training now."""
    new = Path("today")
    shutil.copytree("gain_ext", new)
    config = Path(new, "config.yaml").read_text()
    assert "  warmup_epochs: 5\n  ramp_epochs: 0.0\n" in config
    Path(new, "config.yaml").write_text(
        config.replace("  warmup_epochs: 5\n  ramp_epochs: 0.0\n", "  warmup: 0.833333\n  ramp: 0.0\n")
    )
    assert main(["compare", "gain_ext", "today", "--out", "report"]) == 0
    assert "warmup" not in Path("report", "report.html").read_text()
