"""DFR of small runs: what is trained, what is left, and what is refused."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from rival_runs import fit, refused

from gain_lightning.cli import main
from gain_lightning.datasets.shapes import ShapesDataModule
from gain_lightning.methods.dfr import STRENGTHS
from gain_lightning.methods.last_layer import retrain
from gain_lightning.methods.load import load_model

MASKS = ["--data.mask_budget=8", "--model.warmup=0.5"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of GAIN_ext."""
    folder = tmp_path_factory.mktemp("dfr") / "gain_ext"
    fit(folder, *MASKS, config="gain_ext")
    return folder


@pytest.fixture(scope="module")
def run(source):
    """Its last layer trained anew; the length that its config names does not count."""
    folder = source.parent / "dfr"
    summary = fit(folder, *MASKS, "--method=DFR", f"--model.from_run={source}", config="gain_ext")
    return folder, summary


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_the_weights_of_boats_alone_differ(source, run):
    """Groups are of boats and water, so no other class has anything to gain."""
    folder, summary = run
    assert summary["method"] == "gain_ext+dfr"
    assert "guided" not in summary
    before, after = weights(source), weights(folder)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {before[name].ndim for name in changed} == {1, 2}
    assert all(torch.equal(before[name][1:], after[name][1:]) for name in changed)
    assert {"val/mean_ap", "test/mean_ap", "train/strength"} <= summary["metrics"].keys()


def test_the_layer_is_trained_on_the_validation_s_features(source, run):
    folder, _ = run
    model, new = (load_model(path / "checkpoints" / "last.ckpt").eval() for path in (source, folder))
    data = ShapesDataModule(num_val=40, bias=0.5)
    data.setup("validate")
    images = torch.stack([data.val_set[row]["image"] for row in range(40)])
    with torch.no_grad():
        features = model.backbone.head[:-1](model.backbone.features(model.backbone.normalize(images)))
        logits = new(new.backbone.normalize(images))[:, 0]
    label = torch.as_tensor(data.val_set.labels[:, :1]).float()
    settings = {"task": "multi_label", "strengths": STRENGTHS, "draws": 10, "seed": 0}
    found = retrain(features, label, data.val_set.groups, **settings)
    torch.testing.assert_close(found.layer(features)[:, 0], logits, rtol=1e-3, atol=1e-3)


def test_a_run_is_tested_compared_and_predicts_like_any_other(source, run, tmp_path, capsys):
    folder, summary = run
    assert main(["test", f"--config={folder / 'config.yaml'}"]) == 0
    assert (
        json.loads((folder / "summary.json").read_text())["metrics"].items()
        >= {key: value for key, value in summary["metrics"].items() if key.startswith("test/")}.items()
    )
    assert main(["compare", str(source), str(folder), "--out", str(tmp_path / "report")]) == 0
    assert "GAIN_ext + DFR" in (tmp_path / "report" / "report.html").read_text()
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.full((50, 60, 3), 90, np.uint8)).save(tmp_path / "pictures" / "grey.png")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    words = [
        "--images",
        str(tmp_path / "pictures"),
        "--ckpt_path",
        str(checkpoint),
        "--out",
        str(tmp_path / "maps"),
    ]
    assert main(["predict", *words]) == 0
    with (tmp_path / "maps" / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5


def test_its_settings_name_the_run(source, run):
    folder, _ = run
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["from_run"] == str(source)
    assert checkpoint["method"] == "DFR"
    assert f"from_run: {source}" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "model.from_run names no run, expected the folder of a finished one"),
        (
            ["--data.scene=count", "--model.task=regression"],
            "method DFR decides between classes, and amounts are none",
        ),
        (["--data.scene=camera", "--model.task=single_label"], "model.task is single_label, but SOURCE"),
        (["--data.scene=camera"], "is of the classes boat, car, cow, bird, lamp, but the data has a, b"),
        (["--model.backbone=resnet18"], "is of another network"),
        (
            ["--data.bias=1.0"],
            "method DFR needs validation images of every group, but there are none of boat+no water",
        ),
        (["--data.num_val=14"], "method DFR needs 2 validation images of every group, but there is 1 of"),
        (["--model.draws=0"], "model.draws is 0, expected at least 1"),
        (["--model.strengths=[0.1,0]"], "model.strengths is [0.1, 0.0], expected positive numbers"),
    ],
)
def test_what_cannot_be_trained_anew_is_refused(source, tmp_path, options, message, capsys):
    of = [] if not options else [f"--model.from_run={source}"]
    error = refused(tmp_path / "run", "--method=DFR", *of, *options, capsys=capsys)
    assert message.replace("SOURCE", str(source)) in error
