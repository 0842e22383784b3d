"""What is saved of a config: a config that runs again, without the home of its user, and what W&B gets of it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from fake_voc import make_voc
from small_run import CONFIG, SMALL, make_folder, rows

from gain_lightning.cli import main
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.wandb_runs import fetch_run


def test_config_of_a_resumed_run_starts_a_new_one(run_dir, tmp_path):
    folder = tmp_path / "first"
    shutil.copytree(run_dir, folder)
    resume = ["fit", *CONFIG, *SMALL, f"--run_dir={folder}", "--ckpt_path=last", "--trainer.max_epochs=3"]
    assert main(resume) == 0
    assert yaml.safe_load((folder / "config.yaml").read_text())["ckpt_path"] is None


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
