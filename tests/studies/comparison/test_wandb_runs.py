"""Offline runs are written by the installed wandb; its server is made up."""

import json
import os
import types
from pathlib import Path

import pytest
import yaml

from gain_lightning.cli import main
from gain_lightning.runs.curves import read_curves
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison import wandb_runs
from gain_lightning.studies.comparison.wandb_runs import fetch_run, is_wandb_run

CONFIG = {
    "model": {"backbone": "tiny_cnn", "am_weight": 1.0},
    "data": {"class_path": "ShapesDataModule", "init_args": {"image_size": 96}},
    "run": {"method": "gain", "seed": 3, "num_masked": 0, "git_commit": "abc", "device": "cpu"},
}
HISTORY = [
    {"epoch": 0, "trainer/global_step": 9, "train/loss": 1.5},
    {"epoch": 0, "trainer/global_step": 9, "val/mean_ap": 0.25},
    {"epoch": 1, "trainer/global_step": 19, "train/loss": 0.75, "panels": "not a number"},
]
SCORES = {"test/mean_ap": 0.5, "test/energy": 0.625}


@pytest.fixture
def offline_run(tmp_path, monkeypatch):
    """Log a run offline; returns the folder that wandb made."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    def write(name: str, config: dict = CONFIG) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        with wandb.init(dir=folder, project="gain", config=config, id=name) as run:
            for row in [*HISTORY, SCORES]:
                run.log(row)
        (found,) = (folder / "wandb").glob("offline-run-*")
        return found

    yield write
    wandb.teardown()


class FakeApi:
    """What ``wandb.Api`` gives of a run."""

    def __init__(self, timeout: int) -> None:
        pass

    def run(self, name: str) -> types.SimpleNamespace:
        *_, run_id = name.split("/")
        if run_id == "none":
            raise ValueError(f"Could not find run <Run {name}>\nand much more")
        return types.SimpleNamespace(
            id=run_id,
            state="finished",
            config=dict(CONFIG),
            summary=SCORES,
            scan_history=lambda: iter(HISTORY),
        )


@pytest.fixture
def api(monkeypatch):
    import wandb

    monkeypatch.setattr(wandb, "Api", FakeApi)
    monkeypatch.setattr(wandb_runs, "log_in", lambda: None)


def assert_is_the_run(path: str) -> None:
    run = read_run(path)
    assert (run.method, run.seed) == ("gain", 3)
    assert {key: value for key, value in run.metrics.items() if key.startswith("test/")} == SCORES
    assert run.config == {
        **{"model.backbone": "tiny_cnn", "model.am_weight": 1.0},
        **{"data.class_path": "ShapesDataModule", "data.image_size": 96},
    }
    curves = read_curves(path)
    assert curves["train/loss"].tolist() == [[0, 9, 1.5], [1, 19, 0.75]]
    assert curves["val/mean_ap"].tolist() == [[0, 9, 0.25]]


def test_offline_run_becomes_a_run_folder(offline_run, tmp_path):
    folder = offline_run("r1")
    (file,) = folder.glob("*.wandb")

    assert is_wandb_run(str(folder))
    assert is_wandb_run(str(file))
    for name in (folder, file):
        path = fetch_run(str(name), tmp_path / "out")
        assert path == str(tmp_path / "out" / "r1")
        assert_is_the_run(path)
        assert json.loads(Path(path, "summary.json").read_text())["wandb"] == str(name)


def test_run_on_the_server_becomes_a_run_folder(api, tmp_path):
    assert is_wandb_run("us/gain/r2")
    assert_is_the_run(fetch_run("us/gain/r2", tmp_path))


def test_a_path_here_is_no_run_of_the_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert not is_wandb_run("runs/shapes/gain")
    assert not is_wandb_run(str(tmp_path / "a" / "b"))


def test_unknown_run_of_the_server_is_named_in_one_line(api, tmp_path):
    with pytest.raises(RunError) as error:
        fetch_run("us/gain/none", tmp_path)
    assert str(error.value) == "us/gain/none: W&B does not give it (Could not find run <Run us/gain/none>)"


def test_without_a_key_the_server_is_not_asked(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert main(["compare", "us/gain/abc", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "us/gain/abc: no such folder, and not to be had from W&B: it has no key" in error


def test_a_foreign_run_is_refused_by_name(offline_run, tmp_path):
    folder = offline_run("r1", config={"lr": 0.1})
    with pytest.raises(RunError, match=r"not a run of gain_lightning, its W&B config has no run\.method"):
        fetch_run(str(folder), tmp_path / "out")


def test_a_broken_file_is_refused_by_name(tmp_path):
    file = tmp_path / "run-x.wandb"
    file.write_bytes(b"not a run")
    with pytest.raises(RunError, match=r"run-x\.wandb: the installed wandb cannot read it"):
        fetch_run(str(file), tmp_path / "out")


def test_offline_run_compares_with_a_run_folder(offline_run, make_run, tmp_path, capsys):
    folder = make_run("ours", "gradcam", seed=3, config={"model.am_weight": 0.0})
    config = yaml.safe_load(Path(folder, "config.yaml").read_text())
    config["model"]["am_weight"] = 1
    imported = offline_run("theirs", config={**config, "run": CONFIG["run"]})

    status = main(["compare", folder, str(imported), "--out", str(tmp_path / "out")])

    assert status == 0, capsys.readouterr().err
    groups = json.loads((tmp_path / "out" / "summary.json").read_text())["groups"]
    assert [group["name"] for group in groups] == ["gradcam", "gain"]
    assert groups[1]["metrics"]["test/mean_ap"]["mean"] == 0.5


def test_a_run_that_is_named_twice_counts_once(offline_run, tmp_path):
    folder = offline_run("r1")
    (file,) = folder.glob("*.wandb")

    assert main(["compare", str(folder), str(file), "--out", str(tmp_path / "out")]) == 0

    (group,) = json.loads((tmp_path / "out" / "summary.json").read_text())["groups"]
    assert len(group["runs"]) == 1


def test_runs_of_two_projects_with_one_id_stay_apart(api, tmp_path):
    paths = [fetch_run(f"us/{project}/r2", tmp_path) for project in ("boats", "cars")]
    assert len(set(paths)) == 2


def test_comparison_is_logged_offline_beside_its_files(make_study, tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    out = tmp_path / "out"
    try:
        assert main(["compare", *make_study(), "--out", str(out), "--wandb", "boats"]) == 0
    finally:
        os.environ.pop("WANDB_MODE")
        os.environ.pop("WANDB_DATA_DIR")

    (media,) = out.glob("wandb/offline-run-*/files/media")
    assert len(list((media / "html").glob("report*.html"))) == 1
    (table,) = (media / "table").glob("table*.json")
    rows = json.loads(table.read_text())["data"]
    means = {(group, metric): mean for group, metric, mean, _, _ in rows}
    summary = json.loads((out / "summary.json").read_text())
    for group in summary["groups"]:
        assert means[group["name"], "test/mean_ap"] == group["metrics"]["test/mean_ap"]["mean"]
    assert {path.name.partition("_0_")[0] for path in (media / "images").iterdir()} == {
        path.stem for path in (out / "figures").glob("*.png")
    }
