import csv
import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import reference
import torch
from fake_voc import make_voc
from PIL import Image
from torch.nn.functional import interpolate

from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.runs.pixels import read_pixels
from gain_lightning.segmentation.crf.dense import Kernels, dense_crf
from gain_lightning.segmentation.cue_files import read_cues
from gain_lightning.segmentation.losses import constrain_loss, expansion_loss, log_probabilities, seeding_loss
from gain_lightning.segmentation.sec import SEC, pixel_counts
from gain_lightning.studies.comparison.bootstrap import resampled_miou

# The module -----------------------------------------------------------------------------------------------


@pytest.fixture
def module():
    torch.manual_seed(0)
    return SEC(["a", "b"], 32, backbone="tiny_cnn", crf_shrink=3.0).eval()


@pytest.fixture
def batch(generator):
    raw = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    cues = torch.full((2, 7, 7), VOID)
    cues[0, :3], cues[0, 4:], cues[1, 2:5, 2:5] = 1, 0, 2
    return {"image": raw, "label": torch.tensor([[1.0, 0.0], [1.0, 1.0]]), "cues": cues, "id": ["x", "y"]}


def drawn(scores, height, width):
    """Scores of pictures of 32 pixels, where the tiny CNN centres cell i on pixel 8 i, at another size, by loops."""
    start_y, start_x = (
        side / 32 / 2 - 0.5 for side in (height, width)
    )  # where the first pixel's centre then is
    cells = start_y, start_x, 8 * height / 32, 8 * width / 32
    placed = [[reference.place(channel, height, width, *cells) for channel in one] for one in scores.numpy()]
    return torch.from_numpy(np.array(placed)).float()


@pytest.mark.parametrize("classes", ["all", "present"])
def test_terms_of_a_step_by_hand(module, batch, classes):
    """Scores on the cues' grid, the picture shrunk to it for the CRF."""
    module.hparams.crf_classes = classes
    module.hparams.seed_weight, module.hparams.expand_weight, module.hparams.constrain_weight = 1.0, 0.5, 2.0
    got = module.losses(module.on_after_batch_transfer(batch, 0))
    scores = module.backbone(module.backbone.normalize(batch["image"])).detach()
    log_probs = log_probabilities(drawn(scores, 7, 7))
    small = (
        interpolate(batch["image"].float(), (7, 7), mode="bilinear", antialias=True).round().to(torch.uint8)
    )
    present = None if classes == "all" else torch.tensor([[True, True, False], [True, True, True]])
    smooth = dense_crf(log_probs, small.permute(0, 2, 3, 1), Kernels(shrink=3.0), present=present)
    expected = {
        "loss_seed": seeding_loss(log_probs, batch["cues"]),
        "loss_expand": expansion_loss(log_probs, batch["label"]),
        "loss_constrain": constrain_loss(log_probs, smooth),
    }
    for name, term in expected.items():
        torch.testing.assert_close(got[name], term)
    total = expected["loss_seed"] + 0.5 * expected["loss_expand"] + 2 * expected["loss_constrain"]
    torch.testing.assert_close(got["loss"], total)


def test_without_the_constraint_there_is_no_crf(module, batch, monkeypatch):
    module.hparams.constrain_weight = 0.0
    monkeypatch.setattr("gain_lightning.segmentation.sec.dense_crf", None)
    assert sorted(module.losses(module.on_after_batch_transfer(batch, 0))) == [
        "loss",
        "loss_expand",
        "loss_seed",
    ]


def test_freeze_batch_norm_keeps_the_statistics_through_training_mode(batch):
    module = SEC(["a", "b"], 32, backbone="tiny_cnn", freeze_batch_norm=True)
    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert layers
    assert module.eval().train() is module
    assert [layer for layer in module.modules() if not layer.training] == layers
    before = [buffer.clone() for buffer in module.backbone.buffers()]
    module.losses(module.on_after_batch_transfer(batch, 0))["loss"].backward()
    assert all(torch.equal(*pair) for pair in zip(before, module.backbone.buffers(), strict=True))
    module.hparams.freeze_batch_norm = False
    assert all(layer.training for layer in module.train().modules())


@pytest.mark.parametrize(
    ("backbone", "weights", "num_new"),
    [("vgg16", "default", 2), ("vgg16", "none", 6), ("tiny_cnn", "none", 6)],
)
def test_new_layers_learn_faster(backbone, weights, num_new):
    """Of a pretrained VGG16, whose head is too, the last one alone, as in SEC; else the head's three."""
    module = SEC(
        ["a", "b"], 64, backbone=backbone, new_layer_lr_scale=10, optimizer=partial(torch.optim.SGD, lr=0.1)
    )
    module.hparams.weights = weights
    old, new = module.configure_optimizers().param_groups
    assert (old["lr"], new["lr"]) == (0.1, 1.0)
    head = list(module.backbone.head.parameters())
    assert {id(parameter) for parameter in new["params"]} == {id(parameter) for parameter in head[-num_new:]}
    assert len(old["params"]) + num_new == len(list(module.parameters()))


def test_miou_by_hand(module):
    """A class that no mask shows is left out of the mean, found or not; void never counts."""
    truth = torch.tensor([[0, 0, 1, VOID, 0, 0]])
    segmentation = torch.tensor([[0, 1, 1, 2, 0, 2]])
    module.image_counts = {"a": {"": pixel_counts(segmentation, truth, 3)}}
    miou, iou = module._miou("")
    assert iou.tolist() == [0.5, 0.5, 0.0]
    assert miou.item() == 0.5
    module.image_counts = {"a": {"": pixel_counts(segmentation[:, :4], truth[:, :4], 3)}}
    miou, iou = module._miou("")
    assert iou.tolist()[:2] == [0.5, 0.5]
    assert iou[2].isnan()
    assert miou.item() == 0.5


def test_a_test_step_by_hand(module, generator):
    """Scores drawn at the file's size and judged there, the CRF's of the same scores and of the file's picture."""
    picture = torch.randint(0, 256, (20, 30, 3), generator=generator, dtype=torch.uint8)
    mask = torch.randint(0, 3, (20, 30), generator=generator).byte()
    image = torch.randn(1, 3, 32, 32, generator=generator)
    with torch.no_grad():
        module.backbone.classifier.weight.mul_(3000)
        module.backbone.classifier.bias.sub_(module(image).mean((0, 2, 3)))
        scores = drawn(module(image), 20, 30)
        module.on_test_start()
        outputs = module.test_step({"id": ["a"], "image": image, "picture": picture, "mask": mask}, 0)
    plain = scores[0].argmax(0)
    crf = dense_crf(log_probabilities(scores, floor=1e-5), picture[None], backend="auto")[0].argmax(0)
    assert (plain != crf).any()
    assert len(plain.unique()) == 3
    assert torch.equal(outputs["segmentation"], plain)
    np.testing.assert_array_equal(outputs["segmentation_crf"].result(), crf.numpy())
    while module.crf_results:
        module._score_crf()
    found_by = {"": plain, "_crf": crf}
    assert module.image_counts["a"].keys() == found_by.keys()
    for kind, found in found_by.items():
        pixels = [
            [(mask == c).sum(), (found == c).sum(), ((mask == c) & (found == c)).sum()] for c in range(3)
        ]
        np.testing.assert_array_equal(module.image_counts["a"][kind], np.transpose(pixels))
    module.crf_pool.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crf_classes": "some"}, "model.crf_classes is 'some', expected one of all, present"),
        ({"seed_weight": -1.0}, "model.seed_weight is -1.0, expected a number of at least 0"),
        ({"crf_shrink": 0.0}, "model.crf_shrink is 0.0, expected a positive number"),
        ({"score_classes": ["c"]}, "model.score_classes names 'c', expected names among a, b"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SEC(["a", "b"], 32, backbone="tiny_cnn", **settings)


# The command ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_a_classifier_to_a_segmentation(tmp_path, capsys):
    """Train, make seeds, train SEC on them, score it again, resume it."""
    root, run, seeds, sec = (tmp_path / name for name in ("", "run", "seeds", "sec"))
    voc = make_voc(root, num_val=5)
    first = (
        voc / "SegmentationClass" / "2012_000008.png"
    )  # unlike the others: one that were counted twice would show
    mask = Image.open(first)
    mask.paste(VOID, (0, 0, 60, 10))
    mask.save(first)
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.logger=false"]
    fit = [
        "fit",
        "--data=VOC12DataModule",
        f"--data.root={root}",
        "--data.image_size=32",
        "--data.batch_size=4",
    ]
    assert main([*fit, "--data.num_workers=0", "--trainer.max_epochs=1", *quiet, f"--run_dir={run}"]) == 0
    assert main(["seeds", str(run), "--out", str(seeds), "--device=cpu"]) == 0
    config = {
        "model": {"backbone": "tiny_cnn", "score_classes": ["cat", "dog", "person"]},
        "data": {
            "class_path": "CueDataModule",
            "init_args": {
                "cues": str(seeds),
                "images": {
                    "class_path": "VOC12DataModule",
                    "init_args": {"root": str(root), "image_size": 32, "num_workers": 0},
                },
                "batch_size": 4,
                "num_workers": 0,
            },
        },
        "trainer": {"max_epochs": 2},
    }
    (tmp_path / "sec.yaml").write_text(json.dumps(config))
    assert main(["fit", "--config", str(tmp_path / "sec.yaml"), *quiet, f"--run_dir={sec}"]) == 0
    summary = json.loads((sec / "summary.json").read_text())
    assert (summary["state"], summary["method"]) == ("finished", "sec_gradcam")
    assert main(["seeds", str(sec), "--out", str(tmp_path / "second"), "--device=cpu"]) == 0
    assert read_cues(tmp_path / "second" / "cues.npz").keys() == read_cues(seeds / "cues.npz").keys()
    metrics = summary["metrics"]
    assert {"train/loss_seed", "train/loss_expand", "train/loss_constrain", "val/miou"} <= metrics.keys()
    rows = {row["class"]: row for row in csv.DictReader((sec / "per_class.csv").open())}
    scored = [rows[name]["iou_crf"] for name in ("background", "cat", "dog", "person")]
    assert metrics["test/miou_crf"] == pytest.approx(np.mean([float(iou) for iou in scored if iou]), abs=1e-5)
    assert len(list((sec / "segmentations").glob("*.png"))) == 5
    # every image's pixels add up to the scores
    (scores,) = resampled_miou([read_pixels(str(sec))], config["model"]["score_classes"], resamples=1)
    for key in ("test/miou", "test/miou_crf"):
        assert metrics[key] == pytest.approx(scores[key][0], abs=1e-6)
    # those of two processes, too
    last = f"--ckpt_path={sec / 'checkpoints' / 'last.ckpt'}"
    test = ["test", "--config", str(sec / "config.yaml"), last, f"--run_dir={tmp_path / 'two'}", *quiet]
    command = [sys.executable, "-m", "gain_lightning", *test, "--trainer.devices=2", "--trainer.strategy=ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    of_two, of_one = ((run / "per_image.csv").read_text().splitlines() for run in (tmp_path / "two", sec))
    assert of_two == of_one
    by_two = json.loads((tmp_path / "two" / "summary.json").read_text())["metrics"]
    for key in ("test/miou", "test/miou_crf"):
        assert by_two[key] == pytest.approx(metrics[key], abs=1e-6)
    validate = [word.replace("/two", "/val") if word != "test" else "validate" for word in command]
    result = subprocess.run(validate, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert f"{100 * metrics['val/miou']:.1f} %" in result.stdout  # 21.1 with the one image twice

    capsys.readouterr()
    assert main(["test", "--config", str(sec / "config.yaml"), "--ckpt_path=last", *quiet]) == 0
    assert "miou_crf" in capsys.readouterr().out
    again = json.loads((sec / "summary.json").read_text())["metrics"]
    assert again["test/miou"] == pytest.approx(metrics["test/miou"], abs=1e-6)
    cues = read_cues(seeds / "cues.npz")
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "cues.npz", **{name: np.full_like(cue, VOID) for name, cue in cues.items()})
    go_on = [
        "fit",
        "--config",
        str(sec / "config.yaml"),
        "--ckpt_path=last",
        "--trainer.max_epochs=3",
        *quiet,
    ]
    assert main([*go_on, f"--data.cues={tmp_path / 'other'}"]) == 1
    assert "other cues than the checkpoint was trained on" in capsys.readouterr().err
    seeds.rename(tmp_path / "away")  # a test reads no cues; a training goes on with them wherever they are
    assert main(["test", "--config", str(sec / "config.yaml"), "--ckpt_path=last", *quiet]) == 0
    summary = json.loads((sec / "summary.json").read_text())
    assert (summary["method"], summary["metrics"]["test/miou"]) == ("sec_gradcam", again["test/miou"])
    assert main([*go_on]) == 1
    assert "no such file, expected cues.npz of gain seeds" in capsys.readouterr().err
    seeds.mkdir()
    (seeds / "provenance.json").write_text('{"state": "running"}')
    assert main([*go_on]) == 1
    assert f"data.cues {seeds}: its seeds are not finished" in capsys.readouterr().err
    assert main([*go_on, f"--data.cues={tmp_path / 'away'}"]) == 0
    assert json.loads((sec / "summary.json").read_text())["state"] == "finished"
