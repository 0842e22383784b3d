"""A file has the same scores in a test, in ``gain predict``, in seeds and in a notebook."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from gain_lightning import load_picture
from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.load import load_classifier
from gain_lightning.segmentation.cue_data import FullSize
from gain_lightning.segmentation.run_images import AtScales

ROOT = Path(__file__).parents[1]
CLASSES = ["cat", "dog", "hen"]
SIZE = 64
SAVED = {  # of 96 to 6,000 pixels; what each kind does to a picture on its way
    "grey.png": ((97, 131), "L", {}),
    "colours.png": ((600, 640), "RGB", {}),
    "high.png": ((6000, 96), "RGB", {"compress_level": 1}),
    "photo.jpg": ((375, 500), "RGB", {"quality": 90}),
    "large.jpg": ((1200, 1600), "RGB", {"quality": 90}),
    "odd.jpg": ((1201, 1603), "RGB", {"quality": 90}),
    "turned_photo.jpg": ((1200, 800), "RGB", {"quality": 90, "turn": 6}),
    "wide.jpg": ((96, 6000), "RGB", {"quality": 90}),
    "cmyk.jpg": ((300, 200), "CMYK", {"quality": 95}),
    "alpha.webp": ((300, 400), "RGBA", {"lossless": True, "method": 0}),
    "turned_web.webp": ((300, 400), "RGB", {"turn": 8, "method": 0}),
    "plain.tif": ((700, 500), "RGB", {"compression": "tiff_lzw"}),
    "turned.tif": ((300, 500), "RGB", {"turn": 5}),
    "bitmap.bmp": ((500, 700), "RGB", {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for name, ((height, width), mode, options) in SAVED.items():
        exif = Image.Exif()
        exif[274] = options.pop("turn", 1)
        options = {**options, "exif": exif} if exif[274] > 1 else options
        fine = rng.integers(
            0, 256, (height, width, len(mode)), dtype=np.uint8
        )  # noise shows every other filter
        Image.fromarray(fine.squeeze(), mode="CMYK" if mode == "CMYK" else None).save(
            root / "images" / name, **options
        )
    rows = [f"{name},{CLASSES[n % 3]},test" for n, name in enumerate(SAVED)]
    Image.new("RGB", (9, 9)).save(root / "images" / "t.png")
    Image.new("RGB", (9, 9)).save(root / "images" / "v.png")
    (root / "labels.csv").write_text(
        "\n".join(["filename,classes,split", *rows, "t.png,cat;dog;hen,train", "v.png,cat,val"]) + "\n"
    )
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = GAIN(CLASSES, SIZE)
    with torch.no_grad():
        model.backbone.classifier.weight.mul_(30)  # so that scores tell pictures apart
    path = tmp_path_factory.mktemp("run") / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return path


@pytest.fixture(scope="module")
def data(folder):
    data = FolderDataModule(root=str(folder), image_size=SIZE, mask_budget=0, batch_size=4, num_workers=0)
    data.setup("test")
    return data


class Scores(pl.Callback):
    def __init__(self):
        self.found = {}

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, *_):
        self.found |= dict(zip(batch["id"], outputs["score"].numpy(), strict=True))


def test_probabilities_are_the_same_everywhere(folder, checkpoint, data, tmp_path):
    tested = Scores()
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, callbacks=[tested], enable_progress_bar=False, inference_mode=False
    )
    trainer.test(load_classifier(checkpoint), data, verbose=False)
    assert tested.found.keys() == SAVED.keys()
    assert np.ptp(list(tested.found.values()), axis=0).max() > 0.02  # the pictures are told apart

    predict = ["predict", f"--images={folder / 'images'}", f"--ckpt_path={checkpoint}", "--accelerator=cpu"]
    predict += ["--classes", "cat"]
    assert main([*predict, f"--out={tmp_path / 'out'}"]) == 0
    predicted = {}
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            predicted.setdefault(row["picture"], []).append(float(row["probability"]))

    model = load_classifier(checkpoint).eval()
    for name, scores in tested.found.items():
        picture = load_picture(folder / "images" / name, SIZE)
        with torch.no_grad():
            logits = model(model.backbone.normalize(torch.from_numpy(picture).permute(2, 0, 1)[None]))
        np.testing.assert_allclose(logits.sigmoid()[0], scores, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(predicted[name], scores, atol=2e-6, err_msg=name)  # they have six digits


def test_python_of_the_readme_gives_them_too(checkpoint, folder, tmp_path, monkeypatch):
    (block,) = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / "runs" / "ext" / "checkpoints").mkdir(parents=True)
    shutil.copy(checkpoint, tmp_path / "runs" / "ext" / "checkpoints" / "last.ckpt")
    shutil.copy(folder / "images" / "photo.jpg", tmp_path / "boat.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block, names)
    assert names["probabilities"].shape == (1, len(CLASSES))


def test_every_reader_gives_the_pixels_of_the_public_call(folder, data):
    tested = next(iter(data.test_sets.values()))
    seeds = AtScales(tested, [1.0, 1.5, 0.5])
    whole = FullSize(tested)
    for row, name in enumerate(map(str, tested.ids)):
        for size, seen in zip((SIZE, SIZE * 3 // 2, SIZE // 2), seeds[row]["seen"], strict=True):
            expected = load_picture(folder / "images" / name, size)
            assert np.array_equal(seen.permute(1, 2, 0).numpy(), expected), (name, size)
        expected = load_picture(folder / "images" / name, SIZE)
        assert np.array_equal(tested[row]["image"].permute(1, 2, 0).numpy(), expected), name
        assert np.array_equal(whole[row]["image"][0].permute(1, 2, 0).numpy(), expected), name
