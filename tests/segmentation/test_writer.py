"""``gain predict`` of a segmentation network."""

import tarfile

import numpy as np
import pytest
import reference
import torch
from marked import masks_of_coco
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.segmentation.crf.dense import dense_crf
from gain_lightning.segmentation.sec import SEC


def save(path, class_names):
    """A network whose scores differ from pixel to pixel: every class is somewhere."""
    torch.manual_seed(0)
    model = SEC(list(class_names), 32, backbone="tiny_cnn").eval()
    with torch.no_grad():
        model.backbone.classifier.weight.mul_(3000)
        noise = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
        model.backbone.classifier.bias.sub_(model(model.backbone.normalize(noise)).mean((0, 2, 3)))
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return model.eval()


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name, size in [("one.jpg", (40, 30)), ("two.jpg", (20, 64)), ("below/three.png", (32, 32))]:
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)
    return folder


def predict(tmp_path, pictures, *more):
    paths = [f"--images={pictures}", f"--ckpt_path={tmp_path / 'm.ckpt'}", f"--out={tmp_path / 'out'}"]
    return main(["predict", *paths, "--accelerator=cpu", *more])


def drawn(scores):
    """Scores of the tiny CNN, which centres cell i on pixel 8 i, at the size of a picture of 32 pixels, by loops."""
    placed = [reference.place(channel, 32, 32, 0, 0, 8, 8) for channel in scores[0].detach().numpy()]
    return torch.from_numpy(np.stack(placed)[None]).float()


def test_segmentations_are_palette_pngs_of_the_pictures_size(tmp_path, pictures):
    """By hand: resize, normalise with mean and deviation 0.5, score, draw, take the likeliest."""
    model = save(tmp_path / "m.ckpt", ["a", "b"])
    assert predict(tmp_path, pictures, "--no_crf") == 0
    with Image.open(tmp_path / "out" / "below" / "three.png") as written:
        assert written.mode == "P"
        assert written.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        got = np.array(written)
    raw = torch.from_numpy(np.array(Image.open(pictures / "below" / "three.png"))).permute(2, 0, 1)[None]
    scores = drawn(model(raw.float() / 127.5 - 1))
    np.testing.assert_array_equal(got, scores[0].argmax(0).numpy())
    assert np.bincount(got.ravel(), minlength=3).min() > 50  # every class is there
    assert (got != got[:, ::-1]).mean() > 0.2
    assert np.array(Image.open(tmp_path / "out" / "one.png")).shape == (30, 40)
    assert np.array(Image.open(tmp_path / "out" / "two.png")).shape == (64, 20)


def test_the_crf_is_the_default(tmp_path, pictures):
    model = save(tmp_path / "m.ckpt", ["a", "b"])
    assert predict(tmp_path, pictures, "--crf_workers=0") == 0
    picture = torch.from_numpy(np.array(Image.open(pictures / "below" / "three.png")))
    raw = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
    probs = drawn(model(raw)).softmax(1)
    expected = dense_crf((probs + 1e-5).log().log_softmax(1), picture[None], backend="auto")[0].argmax(0)
    got = np.array(Image.open(tmp_path / "out" / "below" / "three.png"))
    assert (got == expected.numpy()).mean() > 0.99
    assert (got == probs[0].argmax(0).numpy()).mean() < 0.98  # as it is without


@pytest.mark.parametrize("options", [["--no_crf"], ["--crf_workers=0"]])
def test_segmentations_are_also_an_annotation_file(tmp_path, pictures, options):
    save(tmp_path / "m.ckpt", ["a", "b"])
    assert predict(tmp_path, pictures, *options, "--export", "coco") == 0
    found = masks_of_coco(tmp_path / "out" / "coco.json")
    assert len(found) == 3
    for name, masks in found.items():
        segmentation = np.array(Image.open((tmp_path / "out" / name).with_suffix(".png")))
        assert {key for key, _ in masks} == {"ab"[index - 1] for index in np.unique(segmentation) if index}
        for (class_name, _), mask in masks.items():
            np.testing.assert_array_equal(mask, segmentation == "ab".index(class_name) + 1)


def test_marks_of_a_segmentation_have_no_threshold(tmp_path, pictures, capsys):
    save(tmp_path / "m.ckpt", ["a", "b"])
    assert predict(tmp_path, pictures, "--no_crf", "--mark_threshold=0.3") == 1
    assert "--mark_threshold" in capsys.readouterr().err


def test_a_submission_is_packed_as_the_server_takes_it(tmp_path, pictures, capsys):
    save(tmp_path / "m.ckpt", CLASSES)
    (tmp_path / "test.txt").write_text("two\none\n")
    folder = tmp_path / "out" / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    folder.mkdir(parents=True)
    (folder / "old.png").write_bytes(b"of another run")
    options = ["--no_crf", "--voc-submission", f"--list={tmp_path / 'test.txt'}"]
    assert predict(tmp_path, pictures, *options) == 0
    with tarfile.open(tmp_path / "out" / "results.tgz") as archive:
        names = sorted(archive.getnames())
    assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png" for name in ("one", "two")]
    assert "2 segmentations, packed in" in capsys.readouterr().out


def test_a_submission_is_not_packed_with_a_picture_missing(tmp_path, pictures, capsys):
    save(tmp_path / "m.ckpt", CLASSES)
    (pictures / "one.jpg").write_bytes(b"broken")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.tgz").write_bytes(b"of an earlier call")
    assert predict(tmp_path, pictures, "--no_crf", "--voc_submission") == 1
    assert "1 of 3 pictures were left out" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.tgz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--voc_submission"], "the checkpoint's classes are ['a', 'b'], expected VOC's 20"),
        (["--classes", "a"], "is of a segmentation network, which does not take it"),
        (["--threshold", "0.5"], "--threshold: --ckpt_path"),
        (["--list=none.txt"], "--list none.txt: no such file"),
    ],
)
def test_unfit_options_are_named(tmp_path, pictures, capsys, options, message):
    save(tmp_path / "m.ckpt", ["a", "b"])
    assert predict(tmp_path, pictures, *options) == 1
    assert message in capsys.readouterr().err
    assert not list((tmp_path).glob("out/**/*.png"))


def test_a_value_that_cannot_be_is_refused(tmp_path, pictures, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict(tmp_path, pictures, "--crf_workers=-1")
    assert capsys.readouterr().err == "gain predict: error: --crf_workers is -1, expected at least 0\n"


def test_a_listed_picture_that_is_not_there_is_named(tmp_path, pictures, capsys):
    save(tmp_path / "m.ckpt", ["a", "b"])
    (tmp_path / "l.txt").write_text("one\nfour\nfive\n")
    assert predict(tmp_path, pictures, f"--list={tmp_path / 'l.txt'}") == 1
    assert "2 of 3 pictures are not there, the first four" in capsys.readouterr().err
