# ruff: noqa: E501, one case a line
import csv
import json

import numpy as np
import pytest
import reference
import torch
from marked import masks_of_coco
from PIL import Image
from predicting import CLASSES, predict, saved_with

from gain_lightning.attention import grad_cam, label_pairs
from gain_lightning.datasets.pictures import find_pictures
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.load import load_model
from gain_lightning.methods.predict import Pictures


def test_maps_have_the_size_of_their_picture_and_the_values_of_grad_cam(pictures, checkpoint, tmp_path):
    out = tmp_path / "out"
    assert predict(pictures, checkpoint, out, "--classes", *CLASSES) == 0
    assert len(list(out.rglob("*.npy"))) == len(list(out.rglob("*.png"))) == 9
    attention = np.load(out / "below" / "two_green-thing.npy")
    assert attention.shape == (20, 64)
    assert attention.dtype == np.float32
    # by hand: resize, normalise with mean and deviation 0.5, map, draw, divide by the maximum
    model = load_model(checkpoint).eval()
    image = Pictures(find_pictures(pictures).paths, 32)[1]["image"][None].float() / 127.5 - 1
    features = model.backbone.features(image)
    raw = grad_cam(features, model.backbone.head(features), label_pairs(torch.tensor([[0, 1, 0]])))
    # cell i is centred on pixel 8 i of 32, which is 5 i - 3/16 of 20 and 16 i + 1/2 of 64
    expected = reference.place(raw[0, 0].detach().numpy(), 20, 64, -3 / 16, 1 / 2, 5, 16)
    np.testing.assert_allclose(attention, expected / expected.max(), atol=1e-5)


def test_what_is_found_is_also_an_annotation_file(pictures, checkpoint, tmp_path):
    out = tmp_path / "out"
    options = ["--classes", *CLASSES[:2], "--export", "coco", "labelme", "--mark_threshold=0.4"]
    assert predict(pictures, checkpoint, out, *options) == 0
    found = masks_of_coco(out / "coco.json")
    assert sorted(found) == ["below/grey.png", "below/two.PNG", "one.jpg"]
    for name, masks in found.items():
        stem = (out / name).with_suffix("")
        for class_name in CLASSES[:2]:
            attention = np.load(f"{stem}_{class_name.replace(' ', '-').replace('/', '-')}.npy")
            expected = attention > 0.4
            np.testing.assert_array_equal(masks.get((class_name, False), np.zeros_like(expected)), expected)
        content = json.loads((out / "labelme" / name).with_suffix(".json").read_text())
        assert (out / "labelme" / name).parent.joinpath(content["imagePath"]).resolve() == pictures / name
        assert {shape["label"] for shape in content["shapes"]} == {key for key, _ in masks}


def test_table_lists_every_class_of_every_picture(pictures, checkpoint, tmp_path):
    assert predict(pictures, checkpoint, tmp_path / "out") == 0
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for picture in ("one.jpg", "below/two.PNG", "below/grey.png"):
        scores = {row["class"]: float(row["probability"]) for row in rows if row["picture"] == picture}
        mapped = {row["class"] for row in rows if row["picture"] == picture and row["mapped"] == "1"}
        found = {name for name, score in scores.items() if score >= 0.5}
        assert mapped == (found or {max(scores, key=scores.get)})


def test_maps_that_are_zero_everywhere_are_counted(pictures, tmp_path, capsys):
    """A class whose weights are all negative has no map, for features are not."""
    torch.manual_seed(0)
    model = GAIN(CLASSES, 32)
    with torch.no_grad():
        model.backbone.classifier.weight.abs_()[0].neg_()
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    assert predict(pictures, path, tmp_path / "out", "--classes", *CLASSES[:2]) == 0
    assert "3 pictures, 6 maps, 3 of them zero everywhere: " in capsys.readouterr().out


def test_maps_of_two_calls_do_not_mix(pictures, checkpoint, tmp_path, capsys):
    assert predict(pictures, checkpoint, tmp_path / "out", "--classes", "blue") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert predict(pictures, checkpoint, tmp_path / "out", "--classes", "red thing") == 1
    assert "holds predictions.csv of an earlier call, expected a new folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_maps_of_similar_names_do_not_overwrite_each_other(pictures, tmp_path, capsys):
    model = GAIN(["a b", "a/b", "c"], 32)
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    assert predict(pictures, path, tmp_path / "out") == 1
    assert "the maps of 'a b' and 'a/b' would have the same names" in capsys.readouterr().err
    assert predict(pictures, path, tmp_path / "out", "--classes", "a/b", "c") == 0


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (["a_b.jpg", "a.jpg"], ["c", "b_c"], "the maps of a.jpg for 'b_c' and of a_b.jpg for 'c' would have the same names"),
        (["x/A_B.jpg", "x/a.jpg"], ["C", "b c", "b_c"], "the maps of x/a.jpg for 'b_c' and of x/A_B.jpg for 'C'"),
        (["a_b_.jpg", "a.jpg"], ["c", "b /c", "b__c"], "the maps of a.jpg for 'b__c' and of a_b_.jpg for 'c'"),
        (["a.jpg"], ["Cat", "cat"], "the maps of 'Cat' and 'cat' would have the same names"),
        (["a.jpg"], ["B\u00e4r", "Ba\u0308r"], "would have the same names"),
        (["a.jpg", "A.png"], ["cat"], "have the same name, expected one"),
        (["B\u00e4r.jpg", "Ba\u0308r.jpg"], ["cat"], "have the same name, expected one"),
    ],
)  # fmt: skip
def test_pictures_and_classes_whose_maps_would_have_one_name_are_refused_first(
    tmp_path, capsys, names, classes, message
):
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    assert predict(tmp_path / "in", saved_with(classes, tmp_path / "model.ckpt"), tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_that_join_to_different_ones_are_mapped(tmp_path):
    """In other folders, or with a class that nobody asks for."""
    for name in ("a_b.jpg", "x/a.jpg", "b.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    checkpoint = saved_with(["c", "b_c", "a_b"], tmp_path / "model.ckpt")
    assert predict(tmp_path / "in", checkpoint, tmp_path / "out", "--classes", "c", "b_c", "a_b") == 0
    assert len(list((tmp_path / "out").rglob("*.npy"))) == 9
