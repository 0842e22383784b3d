# ruff: noqa: E501, one case a line
import csv

import numpy as np
import pytest
import reference
import torch
from PIL import Image

from gain_lightning.attention import grad_cam, label_pairs
from gain_lightning.cli import main
from gain_lightning.datasets.pictures import find_pictures
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.load import load_model
from gain_lightning.methods.predict import Pictures

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
    image = Pictures(find_pictures(pictures).paths, 32)[1]["image"][None].float() / 127.5 - 1
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


def saved_with(classes, path):
    model = GAIN(classes, 32)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return path


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


def test_hidden_files_are_passed_over_and_other_kinds_are_counted(pictures, checkpoint, tmp_path, capsys):
    for name in ("._one.jpg", ".ipynb_checkpoints/one-checkpoint.jpg", "__MACOSX/one.jpg", "Thumbs.db"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(b"\0\5\x16\7")
    for name in ("a.HEIC", "below/b.heic", "c.gif"):
        (pictures / name).write_bytes(b"\0")
    assert predict(pictures, checkpoint, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("not read: ")] == [
        f"not read: 1 file of .gif, the first {pictures}/c.gif",
        f"not read: 2 files of .HEIC, the first {pictures}/a.HEIC",
        f"not read: 1 file of .txt, the first {pictures}/notes.txt",
    ]
    assert "3 pictures, " in printed
    (tmp_path / "list.txt").write_text("one\none.jpg\n")
    assert predict(pictures, checkpoint, tmp_path / "listed", f"--list={tmp_path / 'list.txt'}") == 0
    printed = capsys.readouterr().out
    assert "not read" not in printed
    assert "1 pictures, " in printed


def test_a_folder_of_unread_kinds_says_which(checkpoint, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.HEIC").write_bytes(b"\0")
    assert predict(tmp_path / "in", checkpoint, tmp_path / "out") == 1
    assert "no picture here, expected .jpg .jpeg .png" in (error := capsys.readouterr().err)
    assert "; got 1 file of .HEIC" in error


def test_names_of_other_unicode_forms_are_found(tmp_path):
    """As a keyboard writes them, of files and a checkpoint that a macOS wrote."""
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "Ba\u0308r.jpg")
    (tmp_path / "list.txt").write_text("B\u00e4r\n")
    arguments = [f"--list={tmp_path / 'list.txt'}", "--classes", "h\u00f6hle"]
    assert (
        predict(
            tmp_path / "in",
            saved_with(["ho\u0308hle", "b"], tmp_path / "m.ckpt"),
            tmp_path / "out",
            *arguments,
        )
        == 0
    )
    assert [path.name for path in (tmp_path / "out").glob("*.npy")] == ["Ba\u0308r_h\u00f6hle.npy"]


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
