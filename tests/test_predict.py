import csv

import numpy as np
import pytest
import reference
import torch
from PIL import Image

from gain_lightning.attention import grad_cam, label_pairs
from gain_lightning.checkpoints import load_model
from gain_lightning.cli import main
from gain_lightning.module import GAIN
from gain_lightning.predict import Pictures

CLASSES = ["red thing", "green/thing", "blue"]


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = GAIN(CLASSES, 32)
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return path


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name, size in [("one.jpg", (40, 30)), ("below/two.PNG", (64, 20)), ("below/grey.png", (32, 32))]:
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)
    Image.open(folder / "below" / "grey.png").convert("L").save(folder / "below" / "grey.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def predict(pictures, checkpoint, out, *more):
    return main(
        [
            "predict",
            f"--images={pictures}",
            f"--ckpt_path={checkpoint}",
            f"--out={out}",
            "--accelerator=cpu",
            *more,
        ]
    )


def test_maps_have_the_size_of_their_picture_and_the_values_of_grad_cam(pictures, checkpoint, tmp_path):
    out = tmp_path / "out"
    assert predict(pictures, checkpoint, out, "--classes", *CLASSES) == 0
    assert len(list(out.rglob("*.npy"))) == len(list(out.rglob("*.png"))) == 9
    attention = np.load(out / "below" / "two_green-thing.npy")
    assert attention.shape == (20, 64)
    assert attention.dtype == np.float32
    # by hand: resize, normalise with mean and deviation 0.5, map, draw, divide by the maximum
    model = load_model(checkpoint).eval()
    image = Pictures(pictures, 32)[1]["image"][None].float() / 127.5 - 1
    features = model.backbone.features(image)
    raw = grad_cam(features, model.backbone.head(features), label_pairs(torch.tensor([[0, 1, 0]])))
    # cell i is centred on pixel 8 i of 32, which is 5 i - 3/16 of 20 and 16 i + 1/2 of 64
    expected = reference.place(raw[0, 0].detach().numpy(), 20, 64, -3 / 16, 1 / 2, 5, 16)
    np.testing.assert_allclose(attention, expected / expected.max(), atol=1e-5)


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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "bad.jpg").write_bytes(b""),
            "bad.jpg: not a readable picture (0 bytes of no known kind)",
        ),
        (
            lambda folder: (folder / "one.png").write_bytes((folder / "one.jpg").read_bytes()),
            "have the same name",
        ),
        (
            lambda folder: (folder / "one.jpg").write_bytes((folder / "one.jpg").read_bytes()[:-200]),
            "one.jpg: not a readable picture",
        ),
    ],
)
def test_unfit_picture_is_named(pictures, checkpoint, tmp_path, capsys, spoil, message):
    spoil(pictures)
    assert predict(pictures, checkpoint, tmp_path / "out") == 1
    assert message in capsys.readouterr().err


def test_unreadable_pictures_are_listed_and_the_others_mapped(pictures, checkpoint, tmp_path, capsys):
    (pictures / "bad.jpg").write_bytes(b"no picture")
    (pictures / "empty.png").write_bytes(b"")
    assert predict(pictures, checkpoint, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "2 of 5 pictures were left out" in error
    assert "bad.jpg" in error
    assert "empty.png" in error
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 1 + 9


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


def test_unfit_arguments_are_named(pictures, checkpoint, tmp_path, capsys):
    def error(images, ckpt, *more):
        assert predict(images, ckpt, tmp_path / "out", *more) == 1
        return capsys.readouterr().err

    assert "no such folder" in error(tmp_path / "nowhere", checkpoint)
    (tmp_path / "empty").mkdir()
    assert "no picture here" in error(tmp_path / "empty", checkpoint)
    assert predict(pictures, checkpoint, pictures.parent) == 1
    assert f"--out {pictures.parent}: all " in capsys.readouterr().err
    assert "--classes yellow: expected names among red thing" in error(
        pictures, checkpoint, "--classes", "yellow"
    )
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert "text.ckpt: not a checkpoint of gain fit" in error(pictures, tmp_path / "text.ckpt")


def test_names_with_spaces_are_listed_and_lists_of_voc_are_read(pictures, checkpoint, tmp_path):
    (pictures / "one 1.jpg").write_bytes((pictures / "one.jpg").read_bytes())
    (tmp_path / "list.txt").write_text("one 1.jpg\nbelow/two  -1\n")
    assert predict(pictures, checkpoint, tmp_path / "out", f"--list={tmp_path / 'list.txt'}") == 0
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert {row["picture"] for row in csv.DictReader(file)} == {"one 1.jpg", "below/two.PNG"}


def test_maps_of_similar_names_do_not_overwrite_each_other(pictures, tmp_path, capsys):
    model = GAIN(["a b", "a/b", "c"], 32)
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    assert predict(pictures, path, tmp_path / "out") == 1
    assert "the maps of 'a b' and 'a/b' would have the same names" in capsys.readouterr().err
    assert predict(pictures, path, tmp_path / "out", "--classes", "a/b", "c") == 0


def test_checkpoint_with_code_is_refused(pictures, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"state_dict": {}, "hyper_parameters": Evil()}, tmp_path / "evil.ckpt")
    assert predict(pictures, tmp_path / "evil.ckpt", tmp_path / "out") == 1
    assert "not a checkpoint of gain fit" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_maps_below_the_pictures_are_not_pictures(pictures, checkpoint):
    assert predict(pictures, checkpoint, pictures / "maps") == 0
    (pictures / "maps" / "predictions.csv").unlink()  # as of a call that was interrupted
    assert predict(pictures, checkpoint, pictures / "maps") == 0
    assert len((pictures / "maps" / "predictions.csv").read_text().splitlines()) == 1 + 9
