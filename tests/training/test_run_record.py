"""The summary of a run says how it ended, also where it was stopped, and the run goes on."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from resuming import fit
from small_run import CONFIG, SMALL, rows

from gain_lightning.cli import main
from gain_lightning.training.run_record import RunRecord


def test_masks_that_choose_are_recorded_and_a_test_again_scores_the_same(tmp_path, capsys):
    small = [option for option in SMALL if "max_epochs" not in option]
    choose = ["--data.select_on=masked", "--data.mask_budget=6", "--trainer.max_epochs=1"]
    assert main(["fit", *CONFIG, *small, *choose, f"--run_dir={tmp_path / 'run'}"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["num_masked"], summary["num_select"]) == (6, 3)
    lines = (tmp_path / "run" / "masked_ids.txt").read_text().splitlines()
    assert (len(lines), sum(line.endswith("\t\tselect") for line in lines)) == (6, 3)
    metrics = summary["metrics"]
    assert metrics["test/seed_threshold_selected"] == metrics["select/seed_threshold_best"]
    assert "(threshold chosen on held-out masks)" in capsys.readouterr().out
    assert main(["test", "--config", str(tmp_path / "run" / "config.yaml"), "--ckpt_path=last"]) == 0
    again = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert again["test/seed_miou_selected"] == pytest.approx(metrics["test/seed_miou_selected"], abs=1e-6)
    assert "select/seed_miou_best" in (tmp_path / "run" / "metrics.csv").read_text()
    assert main(["runs", str(tmp_path / "run")]) == 0
    assert "held mIoU" in capsys.readouterr().out


def test_run_folder_holds_all_that_a_comparison_reads(run_dir):
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["state"], summary["method"], summary["seed"], summary["num_masked"]) == (
        "finished",
        "gain_ext",
        0,
        2,
    )
    keys = {
        "mean_ap",
        "seed_miou",
        "seed_miou_best",
        "energy",
        "pointing",
        "boat_without_water",
        "water_without_boat",
    }
    assert {f"test/{key}" for key in keys | {"biased_accuracy"}} <= set(summary["metrics"])
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["model"]["ext_weight"] == 50.0
    assert len((run_dir / "masked_ids.txt").read_text().split()) == 2
    assert (run_dir / "checkpoints" / "last.ckpt").is_file()
    assert sorted(path.name for path in (run_dir / "panels").iterdir()) == ["epoch_000.png", "epoch_001.png"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_stopped_in_its_test_is_not_finished_and_resumes(run_dir, tmp_path, monkeypatch, kind):
    folder, seen = tmp_path / "run", []

    def stop(record, *args, **kwargs):
        seen.append(json.loads((folder / "summary.json").read_text())["state"])  # what a kill -9 leaves
        raise kind

    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "on_test_batch_end", stop)
        with contextlib.suppress(BaseException):
            main(["fit", *CONFIG, *SMALL, "--run_dir", str(folder)])
    assert seen == ["running"]
    assert json.loads((folder / "summary.json").read_text())["state"] == "killed"

    assert main(["fit", *CONFIG, *SMALL, "--run_dir", str(folder), "--ckpt_path", "last"]) == 0
    summary, whole = (json.loads((path / "summary.json").read_text()) for path in (folder, run_dir))
    assert summary["state"] == "finished"
    scores = {key: value for key, value in whole["metrics"].items() if key.startswith("test/")}
    assert {key: summary["metrics"][key] for key in scores} == scores


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_printed_command_resumes_a_run_that_was_stopped(tmp_path, monkeypatch, caplog, epoch):
    """Also before its first checkpoint."""
    folder = tmp_path / "run"

    def stop(record, trainer, *args):
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "on_train_batch_start", stop, raising=False)
        with contextlib.suppress(BaseException):
            main(["fit", *CONFIG, *SMALL, "--trainer.max_epochs=2", "--run_dir", str(folder)])
    (resume,) = [message for message in caplog.messages if message.startswith("Resume: gain ")]
    assert ("--ckpt_path" in resume) == (epoch == 1)
    assert main(resume.split()[2:]) == 0
    assert json.loads((folder / "summary.json").read_text())["state"] == "finished"


def test_testing_a_killed_run_does_not_finish_it(run_dir, tmp_path):
    folder = tmp_path / "killed"
    shutil.copytree(run_dir, folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "state": "killed", "metrics": {}}))
    assert main(["test", "--config", str(folder / "config.yaml"), f"--run_dir={folder}"]) == 0
    after = json.loads((folder / "summary.json").read_text())
    assert after["state"] == "killed"
    assert after["metrics"]["test/mean_ap"] == pytest.approx(summary["metrics"]["test/mean_ap"])
    assert after["wall_time_s"] == summary["wall_time_s"]


def test_interrupt_marks_the_run_and_resume_finishes_it(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "gain_lightning", "fit", *CONFIG, *SMALL, f"--run_dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--trainer.max_epochs=2000"],
        env=environment,
        stderr=subprocess.PIPE,
        # a shell's background job, and all that it starts, ignores interrupts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while not (folder / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    assert process.returncode != 0
    assert json.loads((folder / "summary.json").read_text())["state"] == "killed"
    epoch = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    resume = [
        "fit",
        "--config",
        str(folder / "config.yaml"),
        "--ckpt_path=last",
        f"--trainer.max_epochs={epoch + 2}",
    ]
    assert main(resume) == 0
    assert json.loads((folder / "summary.json").read_text())["state"] == "finished"
    steps = [int(row["step"]) for row in rows(folder / "metrics.csv") if row["train/loss"]]
    assert steps == list(range(2 * (epoch + 2)))


def test_summary_is_json_without_nan(tmp_path):
    class Trainer:
        is_global_zero, fast_dev_run = True, False
        callback_metrics = {"test/a": torch.tensor(float("nan")), "test/b": torch.tensor(0.5)}

    record = RunRecord(tmp_path)
    record._note_scores(Trainer())
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=lambda name: 1 / 0)
    assert summary["metrics"] == {"test/a": None, "test/b": 0.5}


def test_a_run_without_seed_names_none(tmp_path):
    assert fit(tmp_path / "run", "--seed_everything=false", "--trainer.max_epochs=1") == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["seed"] is None


def test_a_run_says_whether_it_was_guided(tmp_path, capsys):
    """For as long as the warm-up lasts it was not, and a resume keeps what was."""

    def guided(name, *options):
        # Of 6 steps no whole one is behind the warm-up, of 12 one is.
        assert fit(tmp_path / name, "--model.warmup=0.95", *options) == 0
        return json.loads((tmp_path / name / "summary.json").read_text()).get("guided")

    with pytest.warns(
        UserWarning, match="no step of this training was guided, so that it is no run of gain_ext"
    ):
        assert guided("a", "--trainer.max_epochs=1") is False
    assert main(["runs", str(tmp_path)]) == 0
    assert "gain_ext 5 (unguided)" in capsys.readouterr().out
    assert guided("a", "--trainer.max_epochs=2", "--ckpt_path=last") is True
    path = tmp_path / "a" / "summary.json"
    assert guided("a", "--trainer.max_epochs=2", "--ckpt_path=last") is True  # nothing left to train
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "guided"})
    )
    assert guided("a", "--trainer.max_epochs=2", "--ckpt_path=last") is None  # of a run from before
    assert main(["runs", str(tmp_path)]) == 0
    assert "unguided" not in capsys.readouterr().out
    plain = ["--model.am_weight=0", "--model.ext_weight=0", "--data.mask_budget=0", "--trainer.max_epochs=1"]
    assert guided("plain", *plain) is None
    masks_alone = ["--model.am_weight=0", "--model.warmup=0", "--trainer.max_epochs=1"]
    assert guided("masks", *masks_alone) is True
