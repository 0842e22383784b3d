"""Every config of ``experiments/`` runs a batch, and the methods of a folder differ in nothing but the method."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_voc import NAMES, make_voc
from fake_waterbirds import make_waterbirds
from small_run import EXPERIMENTS, SMALL, make_folder

from gain_lightning.cli import main
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.studies.sweeps.file import read_sweep_path


def _experiments() -> list[Path]:
    paths = EXPERIMENTS.rglob("*.yaml")
    others = ("sweeps", "annotate")
    return sorted(p for p in paths if p.parent.name not in others and not p.name.startswith("with_"))


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
    quick = ["--trainer.fast_dev_run=1", "--model.warmup=0", "--trainer.enable_progress_bar=false"]
    small = SMALL[:4]
    if any("group_dro" in word for word in words):
        small += ALL_GROUPS
    if any("voc12" in word for word in words):
        small = [f"--data.root={make_voc(tmp_path)}", "--data.batch_size=2", "--model.weights=none"]
        small += (
            ["--data.mask_budget=2"]
            if any("mask_budget" in word or "gain_ext" in word for word in words)
            else []
        )
    if any("experiments/folder" in word for word in words):
        is_waterbirds = any("waterbirds" in word for word in words)
        made = make_waterbirds(tmp_path / "birds") if is_waterbirds else None
        root = made or make_folder(tmp_path / "own", ["cat", "normal"] * 5)
        small = [f"--data.root={root}", "--data.batch_size=2", "--model.weights=none"]
    assert main([*words[3:], *small, *quick, f"--run_dir={tmp_path / 'run'}"]) == 0


# No group may be missing from a small run.
ALL_GROUPS = ["--data.bias=0.5", "--data.num_val=40"]
# What a rival begins from: the key of that run, and its config.
EARLIER_RUNS = {"JTT": ("identified_by", "jtt_first.yaml"), "DFR": ("from_run", "gradcam.yaml")}


def _of_rivals(path: Path, method: str | None, tmp_path: Path) -> list[str]:
    """The options of a small run of a rival, after the run that it begins from, if any."""
    if method not in EARLIER_RUNS:
        return ALL_GROUPS
    key, name = EARLIER_RUNS[method]
    earlier = tmp_path / "earlier"
    assert main(["fit", f"--config={path.with_name(name)}", *SMALL, *ALL_GROUPS, f"--run_dir={earlier}"]) == 0
    return [*ALL_GROUPS, f"--model.{key}={earlier}"]


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
        arguments += ["--model.warmup=0"]
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
        labels = ["cat", "dog", "cat;dog", "", "cat", "dog", "cat", "dog"]
        is_waterbirds = "waterbirds" in path.parts
        made = make_waterbirds(tmp_path / "birds") if is_waterbirds else None
        root = made or make_folder(tmp_path / "own", labels, masks=True)
        arguments += [
            f"--data.root={root}",
            "--data.batch_size=2",
            "--data.num_workers=0",
            "--model.weights=none",
        ]
    elif config["data"]["class_path"] == "ShapesDataModule":
        arguments += SMALL[:4]
    if path.parent.name in ("rivals", "two_shortcuts"):
        arguments += _of_rivals(path, config.get("method"), tmp_path)
    assert main(["fit", "--config", str(path), *arguments]) == 0


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.rglob("with_*.yaml")), ids=lambda path: str(path.relative_to(EXPERIMENTS))
)
def test_every_change_of_an_experiment_runs_one_batch_on_top_of_it(path, tmp_path):
    assert (
        main(
            [
                *("fit", "--config", str(path.with_name("gain_ext.yaml")), "--config", str(path)),
                *(f"--data.root={make_waterbirds(tmp_path / 'birds')}", f"--run_dir={tmp_path / 'run'}"),
                *("--data.batch_size=2", "--data.num_workers=0", "--data.image_size=32", "--model.warmup=0"),
                *("--model.backbone=tiny_cnn", "--model.weights=none", "--model.output_stride=null"),
                *(
                    "--trainer.fast_dev_run=1",
                    "--trainer.logger=false",
                    "--trainer.enable_progress_bar=false",
                ),
                "--trainer.enable_model_summary=false",
            ]
        )
        == 0
    )


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
def test_methods_of_a_folder_differ_in_guidance_and_the_budget_alone(folder):
    configs = {
        path.stem: yaml.safe_load(path.read_text()) for path in _experiments() if path.parent == folder
    }
    assert {"gradcam", "gain", "gain_ext"} <= set(configs)
    weights = {
        f"model.{key}" for key in ("balance", "am_weight", "view_weight", "ext_weight", "judge", "guard")
    }
    # These change the cost and the noise; the mean gradient is the same.
    cost = {"data.init_args.masked_batch_size", "model.am_every", "model.guided_share"}
    for name in ("gain", "gain_ext"):
        differing = _differing_keys(configs["gradcam"], configs[name])
        assert differing <= weights | {"data.init_args.mask_budget"} | cost
