"""`gain reproduce section4`: every stage in its turn, once."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fake_voc import make_voc

from gain_lightning.cli import main
from gain_lightning.constants import REQUEUE
from gain_lightning.runs.making import Making
from gain_lightning.segmentation.section4 import tables

TRAINER = {"max_epochs": 1, "accelerator": "cpu"}


@pytest.fixture
def configs(tmp_path):
    """Stand-ins of the small configs, of a tiny network."""
    folder = tmp_path / "experiments" / "voc12" / "lite0_subset"
    folder.mkdir(parents=True)
    images = {"root": "", "image_size": 32, "num_workers": 0}
    streams = {**images, "batch_size": 4, "masked_batch_size": 1}
    config = {
        "model": {"am_weight": 1.0, "ext_weight": 1.0},
        "data": {"class_path": "VOC12DataModule", "init_args": streams},
        "trainer": TRAINER,
    }
    (folder / "gain_ext.yaml").write_text(yaml.safe_dump(config))
    of_images = {"class_path": "VOC12DataModule", "init_args": images}
    cues = {"cues": "", "images": of_images, "batch_size": 4, "num_workers": 0}
    config = {
        "model": {"backbone": "tiny_cnn", "score_classes": ["cat", "dog"], "constrain_weight": 0},
        "data": {"class_path": "CueDataModule", "init_args": cues},
        "trainer": TRAINER,
    }
    (folder / "sec.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "experiments"


def reproduce(tmp_path, *more):
    paths = [f"--root={tmp_path}", f"--out={tmp_path / 'out'}", f"--experiments={tmp_path / 'experiments'}"]
    return main(["reproduce", "section4", "--subset", *paths, *more])


def begun(text):
    """The verbs of the commands that were run."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("gain ")]


@pytest.mark.slow
def test_stages_run_in_turn_and_once(tmp_path, configs, capfd):
    root = make_voc(tmp_path)
    out = tmp_path / "out"
    folder = out / "gain_ext_3-0"
    method = ["--methods", "gain_ext_3"]
    assert reproduce(tmp_path, *method) == 0
    assert begun(capfd.readouterr().out) == ["fit", "seeds", "seeds", "fit"]
    classifier, sec = (
        json.loads((folder / name / "summary.json").read_text()) for name in ("classifier", "sec")
    )
    assert classifier["num_masked"] == 3
    assert sec["method"] == "sec_gain_ext_3"
    config = yaml.safe_load((folder / "sec" / "config.yaml").read_text())
    assert config["model"]["weights"].endswith("gain_ext_3-0/classifier/checkpoints/last.ckpt")
    (row,) = csv.DictReader((out / "table.csv").open())
    assert float(row["mIoU CRF"]) == sec["metrics"]["test/miou_crf"]
    assert float(row["mean AP"]) == classifier["metrics"]["test/mean_ap"]
    cues = json.loads((folder / "seeds.json").read_text())
    assert cues["mean_over"] == ["cat", "dog"]
    assert float(row["cue recall"]) == cues["mean"]["recall"]
    assert all(len(line) <= 79 for line in (out / "table.txt").read_text().splitlines())

    (folder / "sec" / "summary.json").unlink()  # killed while it was scored
    ids = (root / "ImageSets" / "Segmentation" / "train_aug.txt").read_text().split()
    np.savez(tmp_path / "published.npz", **{name: np.zeros((41, 41), np.uint8) for name in ids})
    assert reproduce(tmp_path, *method, f"--cues={tmp_path / 'published.npz'}") == 0
    text = capfd.readouterr().out
    assert begun(text) == ["seeds", "fit", "fit"]  # of published cues, then what was left
    assert text.count("--ckpt_path=last") == 1
    rows = {row["method"]: row for row in csv.DictReader((out / "table.csv").open())}
    assert rows["sec"]["mean AP"] == ""
    assert 0 <= float(rows["sec"]["mIoU"]) < 1
    assert rows["gain_ext_3"] == row

    assert reproduce(tmp_path, *method, *method[1:], "--seeds", "0", "0") == 0  # nothing is left to do
    text = capfd.readouterr().out
    assert begun(text) == []
    assert "seeds" not in text.replace("cues", "")  # one run, and no deviation of it with itself


@pytest.mark.parametrize(("told", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, REQUEUE)])
def test_a_stop_waits_until_the_stage_has_saved(tmp_path, configs, told, status):
    """A terminal's Ctrl-C, which goes to all processes that it knows; or a SIGTERM."""
    make_voc(tmp_path)
    path = configs / "voc12" / "lite0_subset" / "gain_ext.yaml"
    path.write_text(path.read_text().replace("max_epochs: 1", "max_epochs: 2000"))
    words = [
        *("reproduce", "section4", "--subset", "--methods", "gain_ext_3", f"--root={tmp_path}"),
        *(f"--out={tmp_path / 'out'}", f"--experiments={configs}"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "gain_lightning", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    run = tmp_path / "out" / "gain_ext_3-0" / "classifier"
    try:
        deadline = time.monotonic() + 200
        while not (run / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.killpg(process.pid, told)
        printed, error = process.communicate(timeout=200)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == status
    assert ("stopped; the same command goes on where it was" in error) == (told == signal.SIGINT)
    assert "Traceback" not in error
    assert f">> {run.parent / 'log.txt'}" in printed
    summary = json.loads((run / "summary.json").read_text())
    assert summary["state"] == "killed"
    assert summary["error"] == f"SystemExit: {REQUEUE}"  # it saved, as after a SIGTERM
    torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)  # whole


@pytest.fixture
def stages(monkeypatch):
    """Stages that write what says that they are done, and nothing else; which were run."""
    run = []

    def do(self, *words):
        run.append(words[0] if words[:2] != ("seeds", "score") else "score")
        if words[0] == "fit":
            folder = Path(words[words.index("--run_dir") + 1])
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (folder / "checkpoints" / "last.ckpt").write_text(f"trained {len(run)}")
            metrics = {
                "test/mean_ap": 0.1,
                "test/seed_miou_best": 0.2,
                "test/miou": 0.3,
                "test/miou_crf": 0.4,
            }
            (folder / "summary.json").write_text(json.dumps({"state": "finished", "metrics": metrics}))
        elif words[1] == "score":
            Path(words[-1]).write_text(json.dumps({"mean": {"precision": 0.5, "recall": 0.6}}))
        else:
            folder = Path(words[words.index("--out") + 1])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cues.npz").write_bytes((self.folder / "classifier/checkpoints/last.ckpt").read_bytes())
            (folder / "provenance.json").write_text(json.dumps({"state": "finished"}))

    monkeypatch.setattr(Making, "do", do)
    return run


def test_what_was_made_of_something_else_is_not_taken_as_done(tmp_path, configs, stages, capfd):
    """Another config, other images, another classifier, other cues: each is refused by name, and nothing runs."""
    root = make_voc(tmp_path)
    out, method = tmp_path / "out", ["--methods", "gain_ext_3"]
    np.savez(tmp_path / "c.npz", x=np.zeros((41, 41), np.uint8))
    assert reproduce(tmp_path, *method, f"--cues={tmp_path / 'c.npz'}") == 0
    assert stages == ["score", "fit", "fit", "seeds", "score", "fit"]
    assert reproduce(tmp_path, *method, f"--cues={tmp_path / 'c.npz'}") == 0
    stages.clear()

    def refused(what, *options):
        assert reproduce(tmp_path, *(options or method)) == 1
        assert f"what is here was made of other {what}: expected another --out" in capfd.readouterr().err

    config = configs / "voc12" / "lite0_subset" / "sec.yaml"
    text = config.read_text()
    config.write_text(f"# a remark\n{text}")
    assert reproduce(tmp_path, *method) == 0
    config.write_text(text.replace("batch_size: 4", "batch_size: 5"))
    refused("configs")
    config.write_text(text)
    names = root / "ImageSets" / "Segmentation" / "val.txt"
    listed = names.read_text()
    names.write_text(listed[: len(listed) // 2])
    refused("images")
    names.write_text(listed)
    np.savez(tmp_path / "c.npz", x=np.ones((41, 41), np.uint8))
    refused("cues", *method, f"--cues={tmp_path / 'c.npz'}")
    assert stages == []
    shutil.rmtree(out / "gain_ext_3-0" / "classifier")
    refused("classifier")
    assert stages == ["fit"]  # and no seeds of the one before stand beside it in the table
    shutil.rmtree(out / "gain_ext_3-0")
    assert reproduce(tmp_path, *method) == 0
    assert stages == ["fit", "fit", "seeds", "score", "fit"]


def test_the_table_keeps_what_other_commands_made(tmp_path, configs, stages):
    """By method and seed; but not what was made of other configs."""
    make_voc(tmp_path)
    out = tmp_path / "out"
    assert reproduce(tmp_path, "--methods", "gain_ext_3", "--seeds", "0", "1") == 0
    assert reproduce(tmp_path, "--methods", "gain_ext_2") == 0
    (out / "gain_ext_x-0").mkdir()
    (out / "gain_ext_1-0").mkdir()  # not begun

    def rows():
        return [(row["method"], row["runs"]) for row in csv.DictReader((out / "table.csv").open())]

    assert rows() == [("gain_ext_2", "1"), ("gain_ext_3", "2")]
    config = configs / "voc12" / "lite0_subset" / "gain_ext.yaml"
    config.write_text(config.read_text().replace("batch_size: ", "batch_size: 1"))
    assert reproduce(tmp_path, "--methods", "gain_ext_1") == 0
    assert rows() == [("gain_ext_1", "1")]


def test_the_subset_has_a_folder_of_its_own(tmp_path, configs, stages, monkeypatch):
    make_voc(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "section4", "--subset", f"--root={tmp_path}", "--methods", "gain_ext_3"]) == 0
    assert (tmp_path / "runs" / "section4_subset" / "table.csv").is_file()


def test_published_cues_may_be_a_folder(tmp_path, configs, stages):
    make_voc(tmp_path)
    (tmp_path / "theirs").mkdir()
    np.savez(tmp_path / "theirs" / "cues.npz", x=np.zeros((41, 41), np.uint8))
    assert reproduce(tmp_path, "--methods", "gain_ext_3", f"--cues={tmp_path / 'theirs'}") == 0
    assert stages[:2] == ["score", "fit"]


def test_a_stage_that_fails_is_named(tmp_path, configs, capfd):
    make_voc(tmp_path)
    (configs / "voc12" / "lite0_subset" / "gradcam.yaml").write_text("model: {backbone: resnet9000}")
    assert reproduce(tmp_path, "--methods", "gradcam") == 1
    error = capfd.readouterr().err
    assert "fit of" in error
    assert "log.txt" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cues", "none.npz"], "--cues none.npz: no such file"),
        (["--experiments", "nowhere"], "nowhere/voc12/lite0_subset: no such folder"),
        (["--root", "nowhere"], "no VOC 2012 here"),
    ],
)
def test_what_is_missing_is_named_before_anything_runs(tmp_path, configs, capfd, options, message):
    make_voc(tmp_path)
    assert reproduce(tmp_path, *options) == 1
    captured = capfd.readouterr()
    assert message in captured.err
    assert begun(captured.out) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "gain_ext"], "--methods is 'gain_ext', expected gradcam, gain or gain_ext_N"),
        (["--seeds", "0", "-1"], "--seeds is -1, expected at least 0"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        reproduce(tmp_path, *options)
    assert f"gain reproduce: error: {message}" in capsys.readouterr().err


def test_table_by_hand():
    """Two seeds have a mean and a sample deviation; the paper's number stands beside the full size alone."""
    columns = ("mean AP", "seed mIoU", "cue precision", "cue recall", "mIoU", "mIoU CRF")
    rows = {"gain": [dict.fromkeys(columns, value) for value in (0.5, 0.6)]}
    text, cells = tables(rows, False)
    row = next(line for line in text.splitlines() if line.startswith("gain"))
    assert row.split() == ["gain", *["55.0"] * 6, "55.3"]
    assert "  2 seeds" in text
    assert text.count("±7.1") == 6
    assert cells[1][:2] == ["gain", 2]
    assert cells[1][2:] == pytest.approx([0.55] * 6 + [0.553])
    assert "55.3" not in tables(rows, True)[0]
