"""The tasks: what a label says, of whole classes or of amounts."""

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import reference
import torch
from fake_batch import masks_of, oracle_masks
from PIL import Image
from small_gain import make_shapes_gain

from gain_lightning.attention import Cells, erase, grad_cam, label_pairs, place_maps, scale_maps, soft_mask
from gain_lightning.cli import main
from gain_lightning.datasets import ShapesDataModule
from gain_lightning.datasets.shapes.count import draw_picture
from gain_lightning.methods.gain import GAIN
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import compare


def test_single_label_training_on_several_labels_stops_before_the_first_step(tmp_path):
    data = ShapesDataModule(num_train=40, num_val=2, batch_size=4)
    module = make_shapes_gain(task="single_label")
    trainer = pl.Trainer(
        accelerator="cpu", inference_mode=False, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"single_label, but \d+ images of training do not have exactly one label, the first"
    ):
        trainer.fit(module, datamodule=data)
    assert trainer.global_step == 0


@pytest.mark.parametrize(("task", "size"), [("single_label", 3), ("multi_label", 3), ("multi_label", 1)])
def test_log_odds_are_the_probabilities_logits_and_differ_where_these_round(task, size):
    module = GAIN([f"class {index}" for index in range(size)], 96, task=task)
    logits = torch.tensor([[1.0, -2.0, 0.5], [60.0, 0.0, 1.0], [50.0, 0.0, 1.0], [-150.0, 90.0, 0.0]])[
        :, :size
    ]
    score, log_odds = module.scores(logits), module.log_odds(logits)
    expected = torch.special.logit(
        logits.double().softmax(1) if task == "single_label" else logits.double().sigmoid()
    )
    is_inside = (score > 1e-30) & (score < 0.9)
    torch.testing.assert_close(log_odds[is_inside].double(), expected[is_inside], rtol=1e-5, atol=1e-5)
    assert score[1, 0] == score[2, 0] == 1
    assert log_odds[1, 0] - log_odds[2, 0] == 10


# Amounts --------------------------------------------------------------------------------------------------


def make_module(**settings):
    torch.manual_seed(0)
    return GAIN(["boat", "buoy"], 32, task="regression", **settings)


@pytest.fixture
def batch(generator):
    label = torch.tensor([[2.0, 0.0], [4.0, 1.5], [0.0, 0.0]])
    mask = torch.zeros(3, 32, 32, dtype=torch.uint8)
    mask[0, 4:12, 4:12], mask[1, 20:30, 2:9], mask[1, :6, :6] = 1, 1, 2
    return {
        "image": torch.randn(3, 3, 32, 32, generator=generator),
        "label": label,
        **masks_of(mask, label),
        "id": ["a", "b", "c"],
    }


def test_a_training_from_another_s_weights_says_the_same_amounts(tmp_path):
    """The last layer speaks in the unit of the data that it was trained on."""
    old = make_module()
    old.amount_unit.copy_(torch.tensor([3.0, 1.5]))
    path = tmp_path / "old.ckpt"
    settings = {"class_names": ["boat", "buoy"]}
    torch.save({"state_dict": old.state_dict(), "hyper_parameters": settings}, path)
    new = make_module(weights=str(path))
    image = torch.randn(2, 3, 32, 32)
    labels = np.array([[4.0, 0.0], [6.0, 0.5]], np.float32)
    images = SimpleNamespace(labels=labels, ids=["a", "b"])
    loop = SimpleNamespace(inference_mode=False)
    data = SimpleNamespace(train_set=images, augmentation=None)
    new._trainer = SimpleNamespace(
        datamodule=data, validate_loop=loop, max_epochs=3, strategy=None, precision="32-true"
    )
    for _ in range(2):  # also where a training begins twice
        new.setup("fit")
        assert new.amount_unit.tolist() == [5.0, 0.5]
        said = [module.eval().scores(module(image)) for module in (old, new)]
        torch.testing.assert_close(*said)


def test_terms_of_a_step_by_hand(batch):
    """Amounts in the unit of their class for L_cl and L_am; maps of the classes whose amount is above 0."""
    module = make_module(am_weight=0.5, ext_weight=2.0, freeze_batch_norm=True).train()
    module.amount_unit.copy_(torch.tensor([3.0, 1.5]))
    terms = module.losses(batch, batch, 1.0)

    backbone = module.backbone
    features = backbone.features(batch["image"])
    logits = backbone.head(features)
    target = batch["label"] / torch.tensor([3.0, 1.5])
    pairs = label_pairs(torch.tensor([[1, 0], [1, 1], [0, 0]]))
    maps = scale_maps(grad_cam(features, logits, pairs))
    large = place_maps(maps, (32, 32), Cells(0, 0, 8, 8))
    erased = backbone(erase(batch["image"][pairs.image], soft_mask(large)))
    left = [max(erased[p, c].item(), 0) for p, c in enumerate(pairs.label.tolist())]
    loss_ext = reference.supervision_loss(
        list(large[:, 0].detach().numpy()), oracle_masks(batch), batch["label"].numpy(), "mean", "l2"
    )
    expected = {
        "loss_cl": (logits - target).square().sum().item() / 3,
        "loss_am": (left[0] + (left[1] + left[2]) / 2) / 3,
        "loss_ext": loss_ext,
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name
    total = expected["loss_cl"] + 0.5 * expected["loss_am"] + 2 * expected["loss_ext"]
    assert terms["loss"].item() == pytest.approx(total, rel=1e-4)


def test_scores_are_in_the_labels_unit(batch):
    module = make_module().eval()
    module.amount_unit.copy_(torch.tensor([3.0, 1.5]))
    logits = module(batch["image"])
    assert torch.equal(module.scores(logits), logits * torch.tensor([[3.0, 1.5]]))


# Whole runs of amounts ------------------------------------------------------------------------------------


def train(tmp_path, name, *arguments):
    run_dir = tmp_path / name
    small = ["--data.num_train=64", "--data.num_val=16", "--data.num_test=40", "--data.batch_size=16"]
    status = main(
        [
            *(
                "fit",
                "--config=experiments/count/gain_ext.yaml",
                "--trainer.logger=false",
                f"--run_dir={run_dir}",
            ),
            *(
                "--trainer.max_epochs=2",
                "--model.warmup=0.5",
                "--trainer.accelerator=cpu",
                *small,
                *arguments,
            ),
        ]
    )
    return status, run_dir


def test_a_run_reports_the_error_in_the_labels_unit(tmp_path, capsys):
    """The unit is the mean amount of the training; MAE against per_image.csv; and the comparison resamples it."""
    runs = [
        train(tmp_path, "ext")[1],
        train(tmp_path, "base", "--model.am_weight=0", "--model.ext_weight=0")[1],
    ]
    data = ShapesDataModule(scene="count", num_train=64, num_val=1, num_test=40)
    data.setup("fit")
    state = torch.load(runs[0] / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    assert state["amount_unit"].item() == pytest.approx(data.train_set.labels.mean())
    rows = list(csv.DictReader((runs[0] / "per_image.csv").open()))
    assert [float(row["amount"]) for row in rows] == [
        draw_picture(index, "test").label[0] for index in range(40)
    ]
    error = np.mean([abs(float(row["score"]) - float(row["amount"])) for row in rows])
    metrics = json.loads((runs[0] / "summary.json").read_text())["metrics"]
    assert metrics["test/mae"] == pytest.approx(error, rel=1e-5)
    assert "test/mean_ap" not in metrics

    comparison = compare([read_run(str(run)) for run in runs])
    row = next(row for row in comparison.differences if row.metric == "test/mae")
    assert row.over == "images"
    assert row.ci95[0] <= row.delta <= row.ci95[1]
    capsys.readouterr()
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "report")]) == 0
    text = capsys.readouterr().out
    assert "MAE in the labels' unit" in text
    assert "MAE\N{NO-BREAK SPACE}↓" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
def test_amounts_are_refused_by_other_tasks(tmp_path, capsys, task):
    status, _ = train(tmp_path, "run", f"--model.task={task}")
    assert status == 1
    error = capsys.readouterr().err
    assert re.search(
        r"training: image train_0000\d has \d for boat, expected 0 or 1, or model.task regression", error
    )


def write_folder(root, amounts):
    (root / "images").mkdir(parents=True)
    lines = ["filename,classes,split"]
    for index, amount in enumerate(amounts):
        Image.fromarray(np.full((16, 16, 3), 20 * index, np.uint8)).save(root / "images" / f"{index}.png")
        lines.append(f"{index}.png,{amount},{'val' if index % 3 == 0 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines))


def test_amounts_of_your_own_pictures(tmp_path, capsys):
    write_folder(tmp_path / "data", ["boat=3", "boat=1.5;buoy=2", "", "boat", "buoy=4", "boat=2"])
    assert main(["data", "check", str(tmp_path / "data")]) == 0
    text = capsys.readouterr().out
    assert "amounts from 0 to 4" in text
    assert "train with --model.task regression" in text
    arguments = [
        *("fit", "--data=FolderDataModule", f"--data.root={tmp_path / 'data'}", "--data.image_size=32"),
        *(
            "--data.batch_size=2",
            "--data.num_workers=0",
            "--trainer.max_epochs=1",
            "--trainer.accelerator=cpu",
        ),
        *("--model.task=regression", f"--run_dir={tmp_path / 'run'}"),
    ]
    assert main(arguments) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "per_image.csv").open()))
    found = {(row["id"], row["class"]): float(row["amount"]) for row in rows}
    assert found == {("0.png", "boat"): 3, ("0.png", "buoy"): 0, ("3.png", "boat"): 1, ("3.png", "buoy"): 0}


def test_pictures_are_not_cut_where_amounts_count(tmp_path, capsys):
    write_folder(tmp_path / "data", ["boat=3", "boat=2", "boat=1", "boat=2"])
    arguments = [
        *("fit", "--data=FolderDataModule", f"--data.root={tmp_path / 'data'}", "--model.task=regression"),
        *("--data.batch_size=1", "--data.augmentation.scale=[0.8,1.25]", f"--run_dir={tmp_path / 'run'}"),
    ]
    assert main(arguments) == 1
    assert "data.augmentation.scale is [0.8, 1.25], which cuts parts away" in capsys.readouterr().err


def test_an_amount_below_nothing_is_named_with_its_line(tmp_path, capsys):
    write_folder(tmp_path, ["boat=-1", "boat=2", "boat=nan", "boat=1"])
    assert main(["data", "check", str(tmp_path)]) == 1
    text = "".join(capsys.readouterr())
    assert "labels.csv:2" in text
    assert "0.png has -1 of boat, expected an amount from 0 on" in text
    assert "2.png has nan of boat" in text
