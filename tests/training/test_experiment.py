"""The commands ``gain fit | validate | test``, in process but through ``main`` as a user calls them."""

import csv
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fake_folder
import numpy as np
import pytest
import torch
import yaml
from finished_run import again, contents
from PIL import Image
from resuming import STEPS, assert_equal, fit, tell, what_is_left
from small_run import CONFIG, SMALL, rows

from gain_lightning.cli import main
from gain_lightning.constants import REQUEUE
from gain_lightning.methods.gain_settings import SELF_WEIGHTS
from gain_lightning.training.resume import ExactResume


def test_every_loss_term_is_logged_from_its_epoch_on(run_dir):
    logged = rows(run_dir / "metrics.csv")
    terms = {
        epoch: {key for row in logged if row["epoch"] == epoch for key, value in row.items() if value}
        for epoch in "01"
    }
    assert {"train/loss", "train/loss_cl", "val/seed_miou", "val/mean_ap"} <= terms["0"]
    assert not {"train/loss_am", "train/loss_ext"} & terms["0"]
    assert {"train/loss_am", "train/loss_ext"} <= terms["1"]


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_one_key_makes_a_run_shorter(tmp_path, epochs):
    """Guidance begins at the same share of a training of any length, and the rate falls there too."""
    config = yaml.safe_load(Path(CONFIG[1]).read_text())["model"]
    folder = tmp_path / "run"
    words = [*CONFIG, *SMALL[:4], *SMALL[6:], "--data.batch_size=4", f"--trainer.max_epochs={epochs}"]
    assert main(["fit", *words, f"--run_dir={folder}", "--test_after_fit=false"]) == 0
    logged, total = rows(folder / "metrics.csv"), 16 * epochs
    guided = {int(row["step"]): float(row["train/guidance"]) for row in logged if row["train/guidance"]}
    rates = {int(row["step"]): float(row["lr-AdamW/pg1"]) for row in logged if row["lr-AdamW/pg1"]}
    assert guided == {step: float(step >= round(config["warmup"] * total)) for step in range(total)}
    assert len(rates) == total
    (milestone,) = config["lr_scheduler"]["init_args"]["milestones"]
    low = [step for step, rate in rates.items() if rate == pytest.approx(0.0002)]
    assert low == list(range(round(milestone * total), total))


def test_an_epoch_of_several_passes_goes_on_after_a_stop_as_without_one(tmp_path, monkeypatch):
    """The stop is in the second epoch, within the third pass over the 24 images."""
    words = ["--data.min_steps_per_epoch=10", "--trainer.max_epochs=2", "--test_after_fit=true"]
    assert fit(tmp_path / "whole", *words) == 0
    with monkeypatch.context() as context:
        tell(context, at_step=13)
        with pytest.raises(SystemExit):
            fit(tmp_path / "stopped", *words)
    saved = torch.load(tmp_path / "stopped" / "checkpoints" / "last.ckpt", weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (1, 14)
    assert fit(tmp_path / "stopped", *words, "--ckpt_path=last") == 0
    left = what_is_left(tmp_path / "whole")
    assert left[0]["global_step"] == 20
    assert_equal(what_is_left(tmp_path / "stopped"), left)


def test_one_cycle_goes_on_after_a_stop_as_without_one(tmp_path, monkeypatch):
    words = ["--model.lr_scheduler=OneCycle", "--trainer.accumulate_grad_batches=2"]
    assert fit(tmp_path / "whole", *words) == 0
    with monkeypatch.context() as context:
        tell(context, at_step=5)
        with pytest.raises(SystemExit):
            fit(tmp_path / "stopped", *words)
    assert fit(tmp_path / "stopped", *words, "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "stopped"), what_is_left(tmp_path / "whole"))


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


def test_maps_are_counted_in_every_run(run_dir):
    assert [row["train/zero_maps"] for row in rows(run_dir / "metrics.csv") if row["train/zero_maps"]]


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


def test_resume_equals_uninterrupted_training(tmp_path):
    """Without a warm-up, which would be a share of the shorter training."""
    whole, folder = tmp_path / "whole", tmp_path / "resumed"
    words = ["fit", *CONFIG, *SMALL, "--model.warmup=0"]
    assert main([*words, f"--run_dir={whole}"]) == 0
    assert main([*words, f"--run_dir={folder}", "--trainer.max_epochs=1"]) == 0
    spent = json.loads((folder / "summary.json").read_text())["wall_time_s"]
    resumed = ["fit", "--config", str(folder / "config.yaml"), "--ckpt_path=last", "--trainer.max_epochs=2"]
    assert main(resumed) == 0
    assert json.loads((folder / "summary.json").read_text())["wall_time_s"] > spent > 0
    first, second = (
        torch.load(f / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for f in (whole, folder)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)

    def curve(f):
        return [(row["step"], row["train/loss"]) for row in rows(f / "metrics.csv") if row["train/loss"]]

    assert curve(folder) == curve(whole)


@pytest.mark.parametrize("weight", SELF_WEIGHTS)
def test_a_run_with_any_term_of_guidance_is_guided(tmp_path, weight):
    weights = [f"--model.{key}={int(key == weight)}" for key in (*SELF_WEIGHTS, "ext_weight")]
    words = [
        "fit",
        *CONFIG,
        *SMALL,
        *weights,
        "--data.mask_budget=0",
        "--trainer.max_epochs=1",
        "--model.warmup=0",
    ]
    assert main([*words, f"--run_dir={tmp_path}", "--test_after_fit=false"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["method"], summary["guided"]) == ("gain", True)


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


def test_a_finished_run_that_is_resumed_is_as_it_was(run):
    before = what_is_left(run)
    assert again(run, "--ckpt_path=last") == 0
    assert_equal(what_is_left(run), before)


@pytest.mark.parametrize("alone", [False, True], ids=["after the training", "alone"])
def test_a_test_ends_when_it_is_told(run, tmp_path, alone, monkeypatch):
    def told(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        signal.raise_signal(signal.SIGTERM)

    expected, before = what_is_left(run), contents(run)
    monkeypatch.setattr(ExactResume, "on_test_batch_start", told, raising=False)
    with pytest.raises(SystemExit) as stopped:
        again(run, "--ckpt_path=last", verb="test") if alone else fit(tmp_path / "told")
    assert stopped.value.code == (128 + signal.SIGTERM if alone else REQUEUE)
    if alone:
        assert contents(run) == before
        return
    assert json.loads((tmp_path / "told" / "summary.json").read_text())["state"] == "killed"
    monkeypatch.delattr(ExactResume, "on_test_batch_start")
    assert fit(tmp_path / "told", "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "told"), expected)


@pytest.mark.parametrize("stop", [{"at_step": 3 * STEPS - 1}, {"in_validation_of": 2}])
def test_a_training_told_at_its_very_end_leaves_the_test_for_the_next_time(run, tmp_path, monkeypatch, stop):
    expected = what_is_left(run)
    tell(monkeypatch, **stop)
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path / "told")
    assert stopped.value.code == REQUEUE
    assert not (tmp_path / "told" / "per_image.csv").exists()
    tell(monkeypatch)
    assert fit(tmp_path / "told", "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "told"), expected)


def test_a_test_that_was_stopped_in_its_own_folder_can_be_finished(run, tmp_path, monkeypatch):
    def told(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        signal.raise_signal(signal.SIGTERM)

    last = run / "checkpoints" / "last.ckpt"
    words = [
        "test",
        f"--config={run / 'config.yaml'}",
        f"--run_dir={tmp_path / 'scores'}",
        f"--ckpt_path={last}",
    ]
    monkeypatch.setattr(ExactResume, "on_test_batch_start", told, raising=False)
    with pytest.raises(SystemExit):
        main(words)
    monkeypatch.delattr(ExactResume, "on_test_batch_start")
    assert main(words) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert (summary["state"], "error" in summary) == ("finished", False)


def test_terms_that_not_every_step_has_are_logged_as_without_a_stop(tmp_path, monkeypatch):
    """L_am of every third step, and a stop between two of them."""
    options = ["--model.am_every=3"]
    assert fit(tmp_path / "whole", *options) == 0
    tell(monkeypatch, at_step=STEPS + 3)
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", *options)
    tell(monkeypatch)
    assert fit(tmp_path / "run", *options, "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "run"), what_is_left(tmp_path / "whole"))
    with (tmp_path / "whole" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert sum(bool(row["train/loss_am"]) for row in rows) == 2 * (STEPS - 2)
