"""The command ``gain fit | validate | test``, in process but through ``main`` as a user calls it."""

import contextlib
import csv
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_folder
import numpy as np
import pytest
import torch
import yaml
from fake_voc import NAMES, make_voc
from PIL import Image
from torch.utils.data import DataLoader

from gain_lightning.cli import main
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.wandb_runs import fetch_run
from gain_lightning.studies.sweeps.file import read_sweep_path
from gain_lightning.training.run_record import RunRecord
from gain_lightning.training.score_lines import print_scores

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SMALL = [
    "--data.num_train=64", "--data.num_val=24", "--data.num_test=24", "--data.num_biased=8",
    "--trainer.max_epochs=2", "--model.warmup_epochs=1", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.logger=false", "--trainer.log_every_n_steps=1",
]  # fmt: skip
CONFIG = ["--config", str(EXPERIMENTS / "shapes" / "gain_ext.yaml")]


@pytest.fixture(autouse=True)
def no_run_folder_of_another_test(monkeypatch):
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["gain"])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A finished small run of GAIN_ext."""
    folder = tmp_path_factory.mktemp("run") / "ext"
    assert main(["fit", *CONFIG, *SMALL, "--run_dir", str(folder)]) == 0
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


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


def test_every_loss_term_is_logged_from_its_epoch_on(run_dir):
    logged = rows(run_dir / "metrics.csv")
    terms = {
        epoch: {key for row in logged if row["epoch"] == epoch for key, value in row.items() if value}
        for epoch in "01"
    }
    assert {"train/loss", "train/loss_cl", "val/seed_miou", "val/mean_ap"} <= terms["0"]
    assert not {"train/loss_am", "train/loss_ext"} & terms["0"]
    assert {"train/loss_am", "train/loss_ext"} <= terms["1"]


def test_per_image_scores_give_the_summary_again(run_dir):
    table = rows(run_dir / "per_image.csv")
    metrics = json.loads((run_dir / "summary.json").read_text())["metrics"]
    energy = [float(row["energy"]) for row in table if row["set"] == "test" and row["energy"]]
    assert np.mean(energy) == pytest.approx(metrics["test/energy"], abs=1e-5)
    for name in ("boat_without_water", "water_without_boat"):
        boats = [row for row in table if row["set"] == name and row["class"] == "boat"]
        correct = [(float(row["score"]) > 0.5) == (row["present"] == "1") for row in boats]
        assert len(boats) == 8
        assert np.mean(correct) == pytest.approx(metrics[f"test/{name}"])


def test_kept_maps_belong_to_the_first_test_images(run_dir):
    with np.load(run_dir / "maps.npz") as maps:
        assert maps["ids"].tolist() == [f"test_{index:05d}" for index in range(24)]
        assert maps["image"].shape == (24, 96, 96, 3)
        for image_idx, class_idx in zip(maps["pair_image"], maps["pair_class"], strict=True):
            assert class_idx + 1 in maps["mask"][image_idx]


def test_test_verb_gives_the_scores_of_the_run_again(run_dir, capsys):
    before = json.loads((run_dir / "summary.json").read_text())
    assert main(["test", "--config", str(run_dir / "config.yaml"), "--ckpt_path", "last"]) == 0
    after = json.loads((run_dir / "summary.json").read_text())
    assert after == before
    printed = {
        line.split()[1]: line.split()[2]
        for line in capsys.readouterr().out.splitlines()
        if " % " in line + " "
    }
    assert printed["mean_ap"] == f"{100 * after['metrics']['test/mean_ap']:.1f}"
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["trainer"]["max_epochs"] == 2


def test_fit_tells_the_cost_of_a_step_and_short_epochs_log_their_loss(tmp_path, capsys):
    small = [word for word in SMALL if "log_every" not in word]
    assert main(["fit", *CONFIG, *small, f"--run_dir={tmp_path / 'run'}"]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"A step: 32 weak \+ 8 masked \+ \d+\.\d erased images, \d\.\d\d x a plain step", printed
    )
    assert "Memory at least 0." in printed
    losses = [row["train/loss"] for row in rows(tmp_path / "run" / "metrics.csv") if row["train/loss"]]
    assert len(losses) == 2  # two steps an epoch, logged every ten or at the epoch's end


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


def test_scores_that_need_masks_say_none_without_them(capsys):
    print_scores([{"test/energy": float("nan"), "test/mean_ap": 0.5, "center/energy": 0.2}])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["test", "energy", "none"],
        ["test", "mean_ap", "50.0", "%"],
        ["center", "energy", "20.0", "%"],
    ]


def test_a_threshold_that_was_chosen_on_the_scored_images_is_said_to_be(capsys):
    print_scores([{"test/seed_miou": 0.4, "test/seed_miou_best": 0.5, "center/seed_miou_best": 0.6}])
    lines = capsys.readouterr().out.splitlines()
    assert ["chosen on these images" in line for line in lines] == [False, True, True]
    assert max(map(len, lines)) <= 80


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


def test_maps_are_counted_in_every_run(run_dir):
    assert [row["train/zero_maps"] for row in rows(run_dir / "metrics.csv") if row["train/zero_maps"]]


def test_a_rate_without_end_leaves_no_checkpoint_of_it(tmp_path, capsys):
    """One step an epoch, after which every weight is nan."""
    rate = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=.inf", "--data.num_train=32"]
    assert main(["fit", *CONFIG, *SMALL, *rate, f"--run_dir={tmp_path / 'run'}"]) == 1
    assert "not finite" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("checkpoints/*.ckpt"))


def test_a_run_is_never_overwritten(run_dir, capsys):
    assert main(["fit", *CONFIG, *SMALL, "--run_dir", str(run_dir)]) == 1
    assert "already holds a run" in capsys.readouterr().err


def test_a_finished_run_without_checkpoints_is_not_overwritten_either(run_dir, tmp_path, capsys):
    folder = tmp_path / "lean"
    shutil.copytree(run_dir, folder, ignore=shutil.ignore_patterns("checkpoints"))
    assert main(["fit", *CONFIG, *SMALL, "--run_dir", str(folder)]) == 1
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["test", "validate"])
def test_scoring_needs_a_checkpoint_and_takes_the_last(run_dir, tmp_path, capsys, verb):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert main([verb, "--config", str(run_dir / "config.yaml")]) == 0
    printed = float(capsys.readouterr().out.split("mean_ap")[1].split()[0])
    metrics = json.loads((run_dir / "summary.json").read_text())["metrics"]
    assert printed == pytest.approx(
        100 * metrics[f"{verb[:3] if verb == 'validate' else verb}/mean_ap"], abs=0.06
    )
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed <= {"maps.npz"}  # an archive with its time of writing
    assert main([verb, *CONFIG, *SMALL, "--run_dir", str(tmp_path / "empty")]) == 1
    assert "last.ckpt does not exist" in capsys.readouterr().err


def test_training_does_not_resume_from_another_run(run_dir, tmp_path, capsys):
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    arguments = ["fit", *CONFIG, *SMALL, f"--run_dir={tmp_path / 'other'}", f"--ckpt_path={checkpoint}"]
    assert main(arguments) == 1
    assert "belongs to another run" in capsys.readouterr().err


def test_config_of_a_resumed_run_starts_a_new_one(run_dir, tmp_path):
    folder = tmp_path / "first"
    shutil.copytree(run_dir, folder)
    resume = ["fit", *CONFIG, *SMALL, f"--run_dir={folder}", "--ckpt_path=last", "--trainer.max_epochs=3"]
    assert main(resume) == 0
    assert yaml.safe_load((folder / "config.yaml").read_text())["ckpt_path"] is None


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


def test_a_run_starts_from_the_weights_of_another(run_dir, tmp_path):
    weights = run_dir / "checkpoints" / "last.ckpt"
    frozen = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0", "--model.freeze_batch_norm=true"]
    arguments = [*SMALL, *frozen, f"--model.weights={weights}", f"--run_dir={tmp_path / 'next'}"]
    assert main(["fit", *CONFIG, *arguments]) == 0
    first = torch.load(weights, weights_only=True)["state_dict"]
    second = torch.load(tmp_path / "next" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(first[key], second[key]) for key in first if "backbone" in key)


def test_single_label_refuses_images_with_several(tmp_path, capsys):
    assert main(["fit", *CONFIG, *SMALL, "--model.task=single_label", f"--run_dir={tmp_path / 'run'}"]) == 1
    assert "do not have exactly one label" in capsys.readouterr().err


def test_a_run_folder_is_free_as_soon_as_the_verb_ends(run_dir, tmp_path):
    """Not only when what it made is collected: another process may begin at once."""
    arguments = ["--config", str(run_dir / "config.yaml"), f"--run_dir={tmp_path / 'scores'}"]
    take = "import pathlib, sys; from gain_lightning.runs.folder import lock; lock(pathlib.Path(sys.argv[1]))"
    gc.disable()
    try:
        assert main(["test", *arguments, f"--ckpt_path={run_dir / 'checkpoints' / 'last.ckpt'}"]) == 0
        command = [sys.executable, "-c", take, str(tmp_path / "scores")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    finally:
        gc.enable()
    assert result.returncode == 0, result.stderr


def test_a_thousand_classes_without_masks(tmp_path, capsys):
    """Without a mask no map is judged, not even that of class 254, whose index in a mask would be that of void."""
    root, run = tmp_path / "pictures", tmp_path / "run"
    for number in range(12):
        fake_folder.picture(root / "images" / f"{number}.png", number)
    classes = [f"class {index}" for index in range(1000)]
    shown = [classes[index] for index in (254, 0, 253, 255, 998, 999)]
    splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    lines = [
        f"{number}.png,{shown[number % 6]};{shown[(number + 1) % 6]},{split}"
        for number, split in enumerate(splits)
    ]
    (root / "labels.csv").write_text("\n".join(["filename,classes,split", *lines]) + "\n")
    (root / "classes.txt").write_text("\n".join(classes) + "\n")
    data = ["--data=FolderDataModule", f"--data.root={root}", "--data.image_size=32", "--data.batch_size=3"]
    trainer = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.logger=false"]
    model = ["--model.backbone=tiny_cnn", "--model.am_weight=0.1", "--data.num_workers=0"]
    assert main(["fit", *data, *model, *trainer, f"--run_dir={run}"]) == 0
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert {metrics[f"{split}/{name}"] for split in ("val", "test") for name in ("energy", "pointing")} == {
        None
    }
    assert 0 < metrics["test/mean_ap"] <= 1
    of_class = rows(run / "per_class.csv")
    tested = {shown[0], *shown[3:]}
    assert {row["class"] for row in of_class if int(row["num_images"])} == tested
    assert {row["num_judged"] for row in of_class} == {"0"}
    table = rows(run / "per_image.csv")
    assert len(table) == 3 * 1000
    assert {row["energy"] for row in table} == {""}
    capsys.readouterr()
    assert main(["seeds", str(run), "--out", str(tmp_path / "seeds"), "--device=cpu"]) == 1
    assert "1000 classes, but cues and masks of class indices hold at most 254" in capsys.readouterr().err
    assert not (tmp_path / "seeds").exists()


def test_two_processes_score_as_one(run_dir, tmp_path):
    """27 test images, which two processes cannot share out evenly, with classes unevenly spread."""
    arguments = [
        "test",
        "--config",
        str(run_dir / "config.yaml"),
        f"--run_dir={tmp_path / 'scores'}",
        f"--ckpt_path={run_dir / 'checkpoints' / 'last.ckpt'}",
        "--data.num_test=27",
    ]
    assert main(arguments) == 0
    alone = json.loads((tmp_path / "scores" / "summary.json").read_text())["metrics"]
    images = [(row["set"], row["id"], row["class"]) for row in rows(tmp_path / "scores" / "per_image.csv")]
    ddp = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    command = [sys.executable, "-m", "gain_lightning", *arguments, *ddp]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    both = json.loads((tmp_path / "scores" / "summary.json").read_text())["metrics"]
    scores = [key for key in alone if key.startswith(("test/", "center/"))]
    assert {key: both[key] for key in scores} == pytest.approx({key: alone[key] for key in scores}, abs=1e-5)
    assert result.stdout.count("mean_ap") == 1
    assert len(images) == (27 + 8 + 8) * 5
    table = rows(tmp_path / "scores" / "per_image.csv")
    assert [(row["set"], row["id"], row["class"]) for row in table] == images
    assert not list((tmp_path / "scores").glob("*.part"))


def test_wandb_without_a_network_goes_on_offline_inside_the_run_folder(tmp_path):
    arguments = [*CONFIG, *[word for word in SMALL if "logger" not in word], f"--run_dir={tmp_path / 'run'}"]
    wandb = {"WANDB_API_KEY": "x" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    # another test may have left a service of W&B's in this process
    environment = {k: v for k, v in os.environ.items() if k not in ("WANDB_MODE", "WANDB_SERVICE")}
    command = [sys.executable, "-m", "gain_lightning", "fit", *arguments]
    result = subprocess.run(
        command, env={**environment, **wandb}, capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "does not answer; logging offline" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")

    records = [json.loads(line) for line in inspect_wandb(file)]
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["run_group"], run["job_type"], run["tags"]) == ("shapes", "gain_ext", ["gain_ext"])
    configs = [record["config"]["update"] for record in records if record["type"] == "config"]
    assert [sorted(config) for config in configs if "model" in config and "_wandb" not in config] == [
        sorted({*yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()), "ckpt_path"})
    ]  # nested, and once
    steps = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert [item["trainer/global_step"] for item in steps if "panels.count" in item] == [2, 4]
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"x" * 40 not in path.read_bytes()  # the key

    assert records[-1]["exit"]["exit_code"] == 0
    own = json.loads((tmp_path / "run" / "summary.json").read_text())
    imported = read_run(fetch_run(str(file), tmp_path / "imported"))
    scores = {
        key: value for key, value in own["metrics"].items() if key.startswith("test/") and value is not None
    }
    assert {key: v for key, v in imported.metrics.items() if key.startswith("test/")} == pytest.approx(scores)
    (table,) = file.parent.glob("files/media/table/test/per_class*.json")
    content = json.loads(table.read_text())
    assert [[str(cell) for cell in row[:2]] for row in content["data"]] == [
        [row["class"], row["num_images"]] for row in rows(tmp_path / "run" / "per_class.csv")
    ]


def test_a_run_that_fails_has_failed_in_wandb_too(tmp_path):
    arguments = [*CONFIG, *[word for word in SMALL if "logger" not in word], f"--run_dir={tmp_path / 'run'}"]
    environment = {k: v for k, v in os.environ.items() if k not in ("WANDB_API_KEY", "WANDB_SERVICE")}
    command = [sys.executable, "-m", "gain_lightning", "fit", *arguments, "--model.optimizer.lr=1e30"]
    result = subprocess.run(
        command, env={**environment, "WANDB_MODE": "offline"}, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1
    assert "The last good checkpoint is kept" in result.stderr
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert json.loads(inspect_wandb(file)[-1])["exit"]["exit_code"] == 1


def inspect_wandb(file):
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_same_seed_gives_the_same_weights_and_another_seed_others(run_dir, tmp_path):
    def weights(folder):
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    for seed in (0, 1):
        assert (
            main(["fit", *CONFIG, *SMALL, f"--run_dir={tmp_path / str(seed)}", f"--seed_everything={seed}"])
            == 0
        )
    first, same, other = weights(run_dir), weights(tmp_path / "0"), weights(tmp_path / "1")
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["backbone.head.2.weight"], other["backbone.head.2.weight"])


def test_resume_equals_uninterrupted_training(run_dir, tmp_path):
    folder = tmp_path / "resumed"
    assert main(["fit", *CONFIG, *SMALL, f"--run_dir={folder}", "--trainer.max_epochs=1"]) == 0
    spent = json.loads((folder / "summary.json").read_text())["wall_time_s"]
    resumed = ["fit", "--config", str(folder / "config.yaml"), "--ckpt_path=last", "--trainer.max_epochs=2"]
    assert main(resumed) == 0
    assert json.loads((folder / "summary.json").read_text())["wall_time_s"] > spent > 0
    first, second = (
        torch.load(f / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for f in (run_dir, folder)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)

    def curve(f):
        return [(row["step"], row["train/loss"]) for row in rows(f / "metrics.csv") if row["train/loss"]]

    assert curve(folder) == curve(run_dir)


def test_baseline_and_gain_ext_take_the_same_steps_in_the_warm_up(run_dir, tmp_path):
    baseline = [*SMALL, "--model.am_weight=0", "--model.ext_weight=0", "--data.mask_budget=0"]
    assert main(["fit", *CONFIG, *baseline, f"--run_dir={tmp_path / 'base'}"]) == 0
    curves = [
        [
            row["train/loss"]
            for row in rows(folder / "metrics.csv")
            if row["epoch"] == "0" and row["train/loss"]
        ]
        for folder in (run_dir, tmp_path / "base")
    ]
    assert len(curves[0]) == 2
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.sigmaa=0.3"], "unknown key 'model.sigmaa'; did you mean 'model.sigma'?"),
        (["--data.num_trian=3"], "did you mean 'num_train'?"),
        (["--trainer.max_epoch=3"], "did you mean 'trainer.max_epochs'?"),
        (["--mask_budget=4"], "unknown key 'mask_budget'; did you mean 'data.mask_budget'?"),
        (["--model.sigma=abc"], "model.sigma is 'abc', expected float"),
        (["--config=no.yaml"], "no.yaml"),
    ],
)
def test_unknown_option_exits_with_the_nearest_name(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *CONFIG, *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("am_weight", "am_wieght", "did you mean 'model.am_weight'?"),
        ("mask_budget", "mask_buget", "did you mean 'mask_budget'?"),
        ("ShapesDataModule", "ShapeDataModule", "did you mean 'ShapesDataModule'?"),
        ("\nmodel:", "\nmodle:", "unknown key 'modle"),
    ],
)
def test_unknown_key_in_a_file_exits_with_the_nearest_name(old, new, message, tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text((EXPERIMENTS / "shapes" / "gain_ext.yaml").read_text().replace(old, new))
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(path)])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.backbone=vgg61"], "unknown backbone 'vgg61'; did you mean 'vgg19'?"),
        (["--model.weights=nowhere.pt"], "weights 'nowhere.pt': no such file"),
        (["--model.output_stride=5"], "output_stride is 5"),
        (["--model.score_classes=[boot]"], "model.score_classes names 'boot'"),
        (["--model.scaling=mean"], "model.scaling is 'mean', expected one of max, minmax, none"),
        (["--model.am_weight=-1"], "model.am_weight is -1"),
        (["--model.ext_weight=.nan"], "model.ext_weight is nan"),
        (
            ["--data.mask_budget=0"],
            "no training image carries a mask: expected masks and data.mask_budget > 0",
        ),
        (
            ["--data.mask_budget=65"],
            "mask_budget asks for 65 images, but there are 64 training images that have pixels",
        ),
        (["--data.mask_budget=1.5"], "mask_budget is 1.5"),
        (["--data.num_train=0"], "num_train is 0"),
        (["--ckpt_path=no.ckpt"], "--ckpt_path no.ckpt: no.ckpt does not exist"),
        (["--ckpt_path=last"], "last.ckpt does not exist"),
        (["--trainer.inference_mode=true"], "Trainer(inference_mode=False)"),
    ],
)
def test_bad_setting_is_a_clear_error_before_training(arguments, message, tmp_path, capsys):
    assert main(["fit", *CONFIG, *SMALL, f"--run_dir={tmp_path / 'run'}", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_missing_data_folder_is_named(tmp_path, capsys):
    arguments = [
        "--data=VOC12DataModule",
        f"--data.root={tmp_path / 'nowhere'}",
        f"--run_dir={tmp_path / 'run'}",
    ]
    assert main(["fit", *arguments, "--model.ext_weight=0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("gain fit: error: data.root")
    assert "nowhere" in error
    assert len(error.splitlines()) == 1


def test_data_without_a_class_says_so(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--data.num_train=5"])
    assert "data.class_path" in capsys.readouterr().err


def test_non_finite_loss_stops_with_ids_and_keeps_the_last_checkpoint(run_dir, tmp_path, capsys):
    """The second epoch starts from a rate that blows the weights up."""
    folder = tmp_path / "run"
    first = [*SMALL, "--model.am_weight=0", "--model.ext_weight=0", f"--run_dir={folder}"]
    assert main(["fit", *CONFIG, *first, "--trainer.max_epochs=1"]) == 0
    good = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    good["optimizer_states"][0]["param_groups"][0]["lr"] = 1e30
    torch.save(good, folder / "checkpoints" / "last.ckpt")
    capsys.readouterr()
    again = ["fit", "--config", str(folder / "config.yaml"), "--ckpt_path=last", "--trainer.max_epochs=3"]
    assert main(again) == 1
    error = capsys.readouterr().err
    assert "train_000" in error
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert json.loads((folder / "summary.json").read_text())["state"] == "failed"
    assert "FloatingPointError" in (folder / "error.txt").read_text()


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


def make_folder(root: Path, labels: list[str], masks: bool = False) -> Path:
    """A folder of small pictures with these labels; with masks, cats (class 1) are the upper left quarter."""
    (root / "images").mkdir(parents=True)
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    (root / "labels.csv").write_text("filename,classes\n" + rows)
    for number, label in enumerate(labels):
        Image.fromarray(np.full((40, 60, 3), 20 * number, np.uint8)).save(root / "images" / f"{number}.png")
        if masks and label.startswith("cat"):
            (root / "masks").mkdir(exist_ok=True)
            mask = np.zeros((40, 60), np.uint8)
            mask[:20, :30] = 1
            Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return root


def _experiments() -> list[Path]:
    return sorted(path for path in EXPERIMENTS.rglob("*.yaml") if path.parent.name != "sweeps")


def _slow_with_vgg16(paths: list[Path]) -> list:
    return [
        pytest.param(
            path,
            id=str(path.relative_to(EXPERIMENTS)),
            marks=[pytest.mark.slow] if "backbone: vgg16" in path.read_text() else [],
        )
        for path in paths
    ]


@pytest.mark.parametrize("path", sorted((EXPERIMENTS / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_reads_and_its_first_trial_runs_one_batch(path, tmp_path, monkeypatch):
    sweep = read_sweep_path(path)
    raw = sweep.planned()[0] or {p.key: p.low for p in sweep.parameters if not p.values}
    words = sweep.words(
        {p.key: p.value(raw[p.key]) if p.key in raw else p.values[0] for p in sweep.parameters}
    )
    assert words[1:4] == ["-m", "gain_lightning", "fit"]
    monkeypatch.chdir(EXPERIMENTS.parent)
    quick = ["--trainer.fast_dev_run=1", "--model.warmup_epochs=0", "--trainer.enable_progress_bar=false"]
    small = SMALL[:4]
    if any("voc12" in word for word in words):
        small = [f"--data.root={make_voc(tmp_path)}", "--data.batch_size=2", "--model.weights=none"]
        small += (
            ["--data.mask_budget=2"]
            if any("mask_budget" in word or "gain_ext" in word for word in words)
            else []
        )
    if path.stem == "defects":
        root = make_folder(tmp_path / "defects", ["cat", "dog", "", "cat", "dog"] * 2)
        small = [f"--data.root={root}", "--data.batch_size=2", "--model.weights=none"]
    assert main([*words[3:], *small, *quick, f"--run_dir={tmp_path / 'run'}"]) == 0


@pytest.mark.parametrize("path", _slow_with_vgg16(_experiments()))
def test_every_experiment_parses_and_runs_one_batch(path, tmp_path):
    config = yaml.safe_load(path.read_text())
    arguments = ["--trainer.fast_dev_run=1", "--trainer.logger=false", f"--run_dir={tmp_path / 'run'}"]
    arguments += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    if config["data"]["class_path"] == "CueDataModule":
        if config["data"]["init_args"]["images"]["class_path"] == "FolderDataModule":
            root = make_folder(tmp_path / "own", ["cat", "dog", "cat", "dog", "cat", "dog"], masks=True)
            classes = {str(number): 1 + number % 2 for number in range(6)}
        else:
            root = make_voc(tmp_path)
            ids = (root / "ImageSets" / "Segmentation" / "train_aug.txt").read_text().split()
            classes = {name: CLASSES.index(NAMES[row % 3]) + 1 for row, name in enumerate(ids)}
        half = np.tri(41, dtype=np.uint8)
        np.savez(tmp_path / "cues.npz", **{name: half * np.uint8(index) for name, index in classes.items()})
        arguments += [
            f"--data.cues={tmp_path / 'cues.npz'}",
            f"--data.images.root={root}",
            "--data.batch_size=2",
            "--data.num_workers=0",
            "--model.weights=none",
        ]
    else:
        arguments += ["--model.warmup_epochs=0"]
    if config["data"]["class_path"] == "VOC12DataModule":
        root = make_voc(tmp_path)
        arguments += [
            f"--data.root={root}",
            "--data.batch_size=2",
            "--data.num_workers=0",
            "--model.weights=none",
        ]
        if config["data"]["init_args"].get("mask_budget"):
            arguments += ["--data.mask_budget=2"]
        if config["data"]["init_args"].get("test_folders"):
            names = ("boat_without_water", "water_without_boat")
            folders = {name: str(make_folder(tmp_path / name, ["boat", ""])) for name in names}
            arguments += [f"--data.test_folders={json.dumps(folders)}"]
    elif config["data"]["class_path"] == "FolderDataModule":
        root = make_folder(
            tmp_path / "own", ["cat", "dog", "cat;dog", "", "cat", "dog", "cat", "dog"], masks=True
        )
        arguments += [
            f"--data.root={root}",
            "--data.batch_size=2",
            "--data.num_workers=0",
            "--model.weights=none",
        ]
    elif config["data"]["class_path"] == "ShapesDataModule":
        arguments += SMALL[:4]
    assert main(["fit", "--config", str(path), *arguments]) == 0


def _differing_keys(first: dict, second: dict, prefix: str = "") -> set[str]:
    keys = set()
    for key in first.keys() | second.keys():
        one, other = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            keys |= _differing_keys(one, other, f"{prefix}{key}.")
        elif one != other:
            keys.add(prefix + key)
    return keys


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in _experiments()}), ids=lambda path: path.name
)
def test_methods_of_a_folder_differ_in_the_two_weights_and_the_budget_alone(folder):
    configs = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}
    assert {"gradcam", "gain", "gain_ext"} <= set(configs)
    weights = {"model.am_weight", "model.ext_weight"}
    cost = {"data.init_args.masked_batch_size", "model.am_every"}  # and noise; the mean gradient is the same
    for name in ("gain", "gain_ext"):
        differing = _differing_keys(configs["gradcam"], configs[name])
        assert differing <= weights | {"data.init_args.mask_budget"} | cost


def test_single_label_folder_trains_and_is_scored(tmp_path, capsys):
    """As a user with two folders of pictures does: no table, one label each."""
    for number in range(12):
        name = ("dark", "light")[number % 2]
        path = tmp_path / "own" / "images" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 60, 3), 40 + 150 * (number % 2), np.uint8)).save(path)
    config = {
        "model": {"backbone": "tiny_cnn", "task": "single_label", "map_score": "margin", "am_weight": 0.1},
        "data": {
            "class_path": "FolderDataModule",
            "init_args": {"root": str(tmp_path / "own"), "image_size": 32, "batch_size": 4, "num_workers": 0},
        },
        "trainer": {
            "max_epochs": 12,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "accelerator": "cpu",
        },
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "own.yaml"), f"--run_dir={tmp_path / 'run'}"]) == 0
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert metrics["test/accuracy"] == 1
    assert metrics["test/seed_miou"] is None  # there are no masks to judge maps by


def test_one_class_alone_is_trained_and_tested(tmp_path):
    """Such as defect or none; torchmetrics makes a plain number of one class's scores."""
    (tmp_path / "images").mkdir()
    lines = ["filename,classes,split"]
    for index in range(12):
        Image.fromarray(np.full((16, 16, 3), 20 * index, np.uint8)).save(tmp_path / "images" / f"{index}.png")
        split = ("train", "val", "test")[max(0, index - 9)]
        lines.append(f"{index}.png,{'defect' if index % 2 else ''},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    run_dir = tmp_path / "run"
    arguments = [
        *(
            "fit",
            "--data=FolderDataModule",
            f"--data.root={tmp_path}",
            "--data.image_size=32",
            f"--run_dir={run_dir}",
        ),
        *(
            "--data.batch_size=4",
            "--data.num_workers=0",
            "--trainer.max_epochs=1",
            "--trainer.accelerator=cpu",
        ),
    ]
    assert main(arguments) == 0
    rows = list(csv.DictReader((run_dir / "per_class.csv").open()))
    assert [(row["class"], row["num_images"]) for row in rows] == [("defect", "1")]


def test_two_runs_begun_in_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    monkeypatch.setattr("gain_lightning.training.experiment.time.strftime", lambda form: "20260101-000000")
    config = str(Path(__file__).parents[2] / "experiments/shapes/gradcam.yaml")
    for _ in range(2):
        assert main(["fit", "--config", config, *SMALL, "--trainer.logger=false"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "gradcam-20260101-000000",
        "gradcam-20260101-000000-2",
    ]


def test_a_run_folder_does_not_name_the_home_of_its_user(run_dir, tmp_path, monkeypatch):
    """Neither config, summary nor checkpoint; and another's config of the same folders is run as it is."""
    home = tmp_path / "home" / "alice"
    make_voc(home)
    shutil.copy(run_dir / "checkpoints" / "last.ckpt", home / "start.ckpt")
    monkeypatch.setenv("HOME", str(home))
    options = ["--data=VOC12DataModule", f"--data.root={home}", f"--model.weights={home / 'start.ckpt'}"]
    options += [
        "--model.backbone=tiny_cnn",
        "--data.image_size=32",
        "--data.batch_size=2",
        "--data.num_workers=0",
    ]
    options += ["--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    run = home / "runs" / "voc"
    assert main(["fit", *options, f"--run_dir={run}"]) == 0
    names = [path.name for path in run.rglob("*") if path.is_file() and b"alice" in path.read_bytes()]
    assert names == []
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["data"]["init_args"]["root"], config["run_dir"]) == ("~", "~/runs/voc")
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    assert main(["seeds", str(run), f"--out={home / 'seeds'}"]) == 0
    assert main(["fit", f"--config={run / 'config.yaml'}", "--run_dir=~/again"]) == 0
    again = (
        torch.load(home / path / "checkpoints" / "last.ckpt")["state_dict"] for path in ("runs/voc", "again")
    )
    assert all(torch.equal(*tensors) for tensors in zip(*(state.values() for state in again), strict=True))


def test_folders_of_biased_pictures_and_classes_of_others_get_paths_that_exist(tmp_path, monkeypatch):
    home = tmp_path / "home"
    make_voc(home)
    make_folder(home / "biased", ["cat", "dog"])
    monkeypatch.setenv("HOME", str(home))
    options = ["--data=VOC12DataModule", f"--data.root={home}", '--data.test_folders={"biased": "~/biased"}']
    options += [
        "--model.backbone=tiny_cnn",
        "--data.image_size=32",
        "--data.batch_size=2",
        "--data.num_workers=0",
    ]
    options += ["--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    assert main(["fit", *options, f"--run_dir={home / 'run'}"]) == 0
    assert main(["test", f"--config={home / 'run' / 'config.yaml'}"]) == 0
    metrics = json.loads((home / "run" / "summary.json").read_text())["metrics"]
    assert any(name.startswith("test/biased") for name in metrics), metrics


def test_printed_scores_name_their_set_and_what_maps_are_judged_on(capsys):
    print_scores([{"test/mean_ap": 0.5}], {"pairs": 3, "images": 2}, test_set="val")
    assert capsys.readouterr().out.splitlines() == [
        "   val mean_ap                  50.0 %",
        "maps are judged on 3 (image, class) pairs of 2 images with masks",
    ]


def test_a_config_that_is_not_there_exits_with_the_nearest_name(tmp_path, capsys):
    (tmp_path / "gain_ext.yaml").write_text("")
    with pytest.raises(SystemExit) as exit_:
        main(["fit", f"--config={tmp_path / 'gainext.yaml'}"])
    assert exit_.value.code == 2
    assert (
        f"--config {tmp_path / 'gainext.yaml'}: no such file; did you mean 'gain_ext.yaml'?"
        in capsys.readouterr().err
    )
