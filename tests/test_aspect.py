"""Pictures that keep their aspect, through a whole run: every command sees the same pixels of the same file."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from odd_pictures import SCENES, make_odd_folder
from PIL import Image

from gain_lightning.backbones import Backbone
from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.datasets.images import load_picture
from gain_lightning.datasets.resize import frame_of
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.load import load_model
from gain_lightning.runs import checkpoints
from gain_lightning.runs.maps import read_maps
from gain_lightning.segmentation.cue_files import read_exchanged_maps

SIDE = 64


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_odd_folder(tmp_path_factory.mktemp("odd") / "data")


@pytest.fixture(scope="module", params=["letterbox", "crop"])
def run(root, tmp_path_factory, request):
    run = tmp_path_factory.mktemp("run") / request.param
    options = {
        "data": "FolderDataModule", "data.root": root, "data.image_size": SIDE, "data.resize": request.param,
        "data.batch_size": 4, "data.masked_batch_size": 2, "data.mask_budget": 1.0, "data.num_workers": 0,
        "data.augmentation.scale": "[0.8, 1.0]", "model.task": "single_label", "model.am_weight": 0.1,
        "model.ext_weight": 1, "trainer.max_epochs": 2, "trainer.accelerator": "cpu", "run_dir": run,
        "trainer.enable_progress_bar": "false",
    }  # fmt: skip
    assert main(["fit", *(f"--{key}={value}" for key, value in options.items())]) == 0
    return run


def seen_by(monkeypatch, argv):
    """Return what the networks of a command saw, as bytes of uint8 pictures."""
    seen, plain = [], Backbone.normalize

    def normalize(self, image):
        seen.extend(image.permute(0, 2, 3, 1).cpu().numpy())
        return plain(self, image)

    monkeypatch.setattr(Backbone, "normalize", normalize)
    assert main(argv) == 0
    return {picture.tobytes() for picture in seen}


def test_all_commands_see_the_same_pixels(root, run, tmp_path, monkeypatch):
    model = load_model(checkpoints.tested_checkpoint(run))
    assert model.hparams.resize == run.name
    files = sorted((root / "images").glob("test_*"))
    expected = {load_picture(path, SIDE, run.name).tobytes() for path in files}
    (tmp_path / "list").write_text("".join(f"{path.name}\n" for path in files))
    common = [f"--images={root / 'images'}", f"--list={tmp_path / 'list'}", "--accelerator=cpu"]
    checkpoint = f"--ckpt_path={checkpoints.tested_checkpoint(run)}"
    assert seen_by(monkeypatch, ["predict", *common, checkpoint, f"--out={tmp_path / 'p'}"]) == expected
    seeds = ["seeds", str(run), "--split=test", "--device=cpu", f"--out={tmp_path / 's'}"]
    assert seen_by(monkeypatch, seeds) == expected
    kept = read_maps(run)
    if run.name == "crop":
        assert {image.tobytes() for image in kept.image} == expected
        assert kept.window is None
        return
    assert kept.window.shape == (len(files), 4)
    for name, image, (xmin, ymin, xmax, ymax) in zip(kept.ids, kept.image, kept.window, strict=True):
        ours = load_picture(root / "images" / name, SIDE, "letterbox")
        np.testing.assert_array_equal(image[ymin:ymax, xmin:xmax], ours[ymin:ymax, xmin:xmax])


def test_a_run_is_checked_and_its_background_is_measured(run, monkeypatch):
    """Versions of an object have the borders of its own picture, whatever ground it is put on."""
    shown, plain = [], Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, image: shown.append(image) or plain(self, image))
    assert main(["background", str(run), "--device=cpu", "--pictures=2"]) == 0
    for image in torch.cat(shown) if run.name == "letterbox" else []:
        frames = [frame_of(size, SIDE, "letterbox") for size, _ in SCENES.values()]
        borders = [frame.put(np.ones((frame.height, frame.width)), 0) == 0 for frame in frames]
        assert any(np.array_equal((image == 0).all(0).numpy(), border) for border in borders)
    assert main(["check-maps", str(run), "--second_opinion=2"]) == 0
    assert json.loads((run / "map_checks.json").read_text())["num_images"] == 8


def test_seeds_lie_in_the_picture(root, run, tmp_path):
    """At the size of the file; of what was cut off nothing is said."""
    out = tmp_path / "seeds"
    options = [
        "--split=test",
        "--device=cpu",
        "--background=gradient",
        "--scales",
        "1",
        "1.5",
        "--flip",
        "--crf",
    ]
    assert main(["seeds", str(run), *options, f"--out={out}"]) == 0
    for name, ((height, width), _) in SCENES.items():
        mask = np.asarray(Image.open(next((out / "masks").glob(f"test_box_{name[:4]}*"))))
        _, maps = read_exchanged_maps(next((out / "maps").glob(f"test_box_{name[:4]}*")))
        assert mask.shape == maps.shape[1:] == (height, width)
        cut = (max(height, width) - min(height, width)) // 2 - max(height, width) // SIDE - 1
        if run.name == "crop" and cut > 0:
            ends = mask[:cut] if height > width else mask[:, :cut]
            assert (ends == VOID).all()


def test_a_rival_is_told_what_gain_is_told(root, tmp_path):
    """Its own arguments do not name what it passes on to GAIN."""
    options = {
        "method": "GroupDRO", "data": "FolderDataModule", "data.root": root, "data.image_size": 32,
        "data.resize": "letterbox", "data.no_object_classes": "[leaf]", "data.batch_size": 4, "data.num_workers": 0,
        "model.task": "single_label", "trainer.max_epochs": 1, "run_dir": tmp_path / "run",
        "trainer.accelerator": "cpu", "trainer.enable_progress_bar": "false", "test_after_fit": "false",
    }  # fmt: skip
    assert main(["fit", *(f"--{key}={value}" for key, value in options.items())]) == 0
    model = load_model(checkpoints.tested_checkpoint(tmp_path / "run"))
    assert (model.hparams.resize, model.hparams.no_object_classes) == ("letterbox", ["leaf"])


def test_a_run_in_tiles_is_trained_and_looked_at_like_any_other(root, tmp_path):
    """With all terms of the loss; maps have the size of their picture, and a file has the same score everywhere."""
    run = tmp_path / "run"
    options = {
        "data": "FolderDataModule", "data.root": root, "data.image_size": SIDE, "data.resize": "letterbox",
        "data.batch_size": 4, "data.masked_batch_size": 2, "data.mask_budget": 1.0, "data.num_workers": 0,
        "model.tile_size": 32, "model.task": "single_label", "model.am_weight": 0.1, "model.am_size": 0.5,
        "model.ext_weight": 1, "model.view_weight": 0.1, "model.freeze_batch_norm": "true",
        "model.checkpoint_features": "true", "trainer.max_epochs": 2, "trainer.accelerator": "cpu", "run_dir": run,
        "trainer.enable_progress_bar": "false",
    }  # fmt: skip
    assert main(["fit", *(f"--{key}={value}" for key, value in options.items())]) == 0
    model = load_model(checkpoints.tested_checkpoint(run)).eval()
    assert model.backbone.cells((SIDE, SIDE)) == (0, 0, 8, 8)
    files = sorted((root / "images").glob("test_*"))
    (tmp_path / "list").write_text("".join(f"{path.name}\n" for path in files))
    common = [f"--images={root / 'images'}", f"--list={tmp_path / 'list'}", "--accelerator=cpu"]
    checkpoint = f"--ckpt_path={checkpoints.tested_checkpoint(run)}"
    assert main(["predict", *common, checkpoint, f"--out={tmp_path / 'p'}", "--classes", "box"]) == 0
    for name, (size, _) in SCENES.items():
        assert np.load(tmp_path / "p" / f"test_box_{name.removesuffix('.png')}_box.npy").shape == size
    with (run / "per_image.csv").open() as file:
        tested = {(row["id"], row["class"]): float(row["score"]) for row in csv.DictReader(file)}
    with (tmp_path / "p" / "predictions.csv").open() as file:
        predicted = {
            (row["picture"], row["class"]): float(row["probability"]) for row in csv.DictReader(file)
        }
    assert len(predicted) == 2 * len(files)
    for key in predicted.keys() & tested.keys():
        assert tested[key] == pytest.approx(predicted[key], abs=1e-4)
    assert main(["check-maps", str(run), "--second_opinion=1"]) == 0


def test_old_settings_are_squash(root, tmp_path):
    """A checkpoint that knows of no such setting sees pictures as it did."""
    from gain_lightning.methods.gain import GAIN

    torch.manual_seed(0)
    model = GAIN(["box", "leaf"], SIDE)
    old = {key: value for key, value in model.hparams.items() if key != "resize"}
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": old}, tmp_path / "old.ckpt")
    loaded = load_model(Path(tmp_path / "old.ckpt"))
    assert loaded.hparams.resize == "squash"


def test_cues_are_of_whole_squares(root, tmp_path):
    from gain_lightning.datasets.folder import FolderDataModule
    from gain_lightning.segmentation.cue_data import CueDataModule

    images = FolderDataModule(root=str(root), resize="letterbox")
    with pytest.raises(ValueError, match=r"data\.images\.resize is letterbox, expected squash"):
        CueDataModule(cues=str(tmp_path), images=images)
