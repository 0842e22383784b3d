"""``gain seeds`` of a run of SEC: cues of a second round."""

import json

import numpy as np
import pytest
import reference
import torch
from fake_voc import make_voc
from making_seeds import seeds
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.datasets.resize import resize_image
from gain_lightning.datasets.voc12 import VOC12DataModule
from gain_lightning.segmentation.crf.dense import dense_crf
from gain_lightning.segmentation.crf.kernels import Kernels
from gain_lightning.segmentation.cue_files import read_cues, read_exchanged_maps
from gain_lightning.segmentation.sec import SEC
from gain_lightning.segmentation.seeds import CUE_SIZE


@pytest.fixture(scope="module")
def sec(tmp_path_factory):
    """A network of SEC that nobody trained, whose classes differ from pixel to pixel, and its run folder."""
    folder = tmp_path_factory.mktemp("sec")
    make_voc(folder, num_train=4)
    torch.manual_seed(0)
    model = SEC(list(CLASSES), 32, backbone="tiny_cnn").eval()
    with torch.no_grad():
        model.backbone.classifier.weight.mul_(10000)
        noise = torch.randint(0, 80, (1, 3, 32, 32), dtype=torch.uint8)
        model.backbone.classifier.bias.sub_(model(model.backbone.normalize(noise)).mean((0, 2, 3)))
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "method": "SEC"}
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    images = {"class_path": "VOC12DataModule", "init_args": {"root": str(folder), "image_size": 32}}
    data = {"class_path": "CueDataModule", "init_args": {"cues": "gone", "images": images, "split": None}}
    (run / "config.yaml").write_text(json.dumps({"data": data}))
    (run / "summary.json").write_text(json.dumps({"state": "finished", "method": "sec_gain"}))
    return model, run, VOC12DataModule(root=str(folder), image_size=32).image_set()


def by_hand(model, image, label, size):
    """Probabilities of background and labelled classes by loops: the tiny CNN centres cell i on pixel 8 i of 32."""
    step = [side / 32 for side in size]
    first = [side / 2 - 0.5 for side in step]
    total = 0
    for is_mirrored in (False, True):
        seen = image.flip(2) if is_mirrored else image
        scores = model(seen[None].float() / 127.5 - 1)[0].detach().numpy()
        placed = np.stack([reference.place(one, *size, *first, 8 * step[0], 8 * step[1]) for one in scores])
        total = total + (placed[:, :, ::-1] if is_mirrored else placed)
    kept = (total / 2)[[0, *(np.flatnonzero(label) + 1)]]
    powers = np.exp(kept - kept.max(0))
    return powers / powers.sum(0)


def test_cues_are_where_the_probability_among_the_labelled_classes_is_high(sec, tmp_path, capsys):
    model, run, images = sec
    assert seeds(run, tmp_path / "o", "--flip", "--confidence", "0.6") == 0
    cues, found = read_cues(tmp_path / "o" / "cues.npz"), set()
    for row, name in enumerate(images.ids):
        label, image = images.labels[row], images[row]["image"]
        classes, maps = read_exchanged_maps(tmp_path / "o" / "maps" / f"{name}.npy")
        assert classes.tolist() == np.flatnonzero(label).tolist()
        for size, got in (
            ((CUE_SIZE, CUE_SIZE), cues[name]),
            ((48, 60), np.array(Image.open(tmp_path / "o" / "masks" / f"{name}.png"))),
        ):
            expected = by_hand(model, image, label, size)
            if size == (48, 60):
                np.testing.assert_allclose(maps, expected[1:], atol=4e-4)  # SEC's floor of a probability
            values = np.array([0, *(classes + 1)])
            clear = np.abs(expected - 0.6).min(0) > 1e-3
            wanted = np.where(expected.max(0) >= 0.6, values[expected.argmax(0)], VOID)
            np.testing.assert_array_equal(got[clear], wanted[clear])
            found |= set(np.unique(got))
    assert {0, VOID} < found
    provenance = json.loads((tmp_path / "o" / "provenance.json").read_text())
    assert (provenance["state"], provenance["method"], provenance["confidence"]) == (
        "finished",
        "sec_gain",
        0.6,
    )
    assert "threshold" not in provenance
    voc = run.parent / "VOCdevkit" / "VOC2012"
    capsys.readouterr()
    assert main(["seeds", "score", str(tmp_path / "o"), "--masks", str(voc / "SegmentationClass")]) == 0
    assert "4 images" in capsys.readouterr().out


def test_with_the_crf_the_confidence_is_odds_against_the_background(sec, tmp_path):
    """As it was measured on VOC: the background's probability times 2.5, CRF, and the likeliest."""
    model, run, images = sec
    confidence = 2.5 / 3.5
    assert seeds(run, tmp_path / "o", "--flip", "--crf", "--confidence", str(confidence)) == 0
    cues, num_cues = read_cues(tmp_path / "o" / "cues.npz"), 0
    for row, name in enumerate(images.ids):
        image, label = images[row]["image"], images.labels[row]
        values = np.array([0, *(np.flatnonzero(label) + 1)])
        probability = torch.from_numpy(by_hand(model, image, label, (CUE_SIZE, CUE_SIZE))).float()
        picture = resize_image(image[None], (CUE_SIZE, CUE_SIZE)).permute(0, 2, 3, 1)
        winner = {}
        for factor in (2.5, 1 / 2.5):
            weighted = probability * torch.tensor([factor] + [1.0] * (len(values) - 1))[:, None, None]
            log_probs = (weighted / weighted.sum(0) + 1e-4).log()[None]
            winner[factor] = values[dense_crf(log_probs, picture, Kernels(shrink=12))[0].argmax(0).numpy()]
        wanted = np.where(winner[2.5] > 0, winner[2.5], np.where(winner[1 / 2.5] == 0, 0, VOID))
        assert (cues[name] == wanted).mean() > 0.99
        num_cues += (wanted != VOID).sum()
        mask = np.array(Image.open(tmp_path / "o" / "masks" / f"{name}.png"))
        rows, columns = ((2 * np.arange(41) + 1) * side // 82 for side in mask.shape)
        assert (mask[rows][:, columns] == cues[name]).mean() > 0.9
    assert num_cues > 1000, num_cues


def test_scales_are_looked_at_and_an_interrupt_goes_on(sec, tmp_path, capsys):
    _, run, images = sec
    assert seeds(run, tmp_path / "o", "--scales", "1", "2") == 0
    (tmp_path / "o" / "cues" / f"{images.ids[2]}.png").unlink()
    capsys.readouterr()
    assert seeds(run, tmp_path / "o", "--scales", "1", "2") == 0
    assert "3 of 4 images are done already" in capsys.readouterr().out
    assert seeds(run, tmp_path / "one") == 0
    both, one = (read_cues(tmp_path / out / "cues.npz") for out in ("o", "one"))
    assert any((both[name] != one[name]).any() for name in one)
    assert seeds(run, tmp_path / "o", "--scales", "1", "2", "--confidence", "0.9") == 1
    assert "holds seeds of confidence 0.7, expected 0.9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "0.3"], "--threshold: "),
        (["--background", "gradient"], "is of a segmentation network (SEC), expected --confidence"),
        (["--confidence", "0.4"], "--confidence is 0.4, expected at least 0.5"),
        (
            ["--confidence", "1"],
            "--confidence is 1, expected at least 0.5, so that a pixel is one thing, and",
        ),
    ],
)
def test_settings_that_it_does_not_take_are_named(sec, tmp_path, capsys, options, message):
    assert seeds(sec[1], tmp_path / "o", *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_classifier_has_no_confidence(run, tmp_path, capsys):
    assert seeds(run, tmp_path / "o", "--confidence", "0.8") == 1
    assert "is of a classifier (GAIN), expected --threshold, --background" in capsys.readouterr().err
