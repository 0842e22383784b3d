"""``gain seeds`` writes the cues, masks and pictures of every image."""

import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from fake_voc import NAMES
from making_seeds import seeds
from marked import masks_of_coco
from PIL import Image

from gain_lightning.backbones import Backbone
from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.datasets.voc12 import VOC12DataModule
from gain_lightning.segmentation.cue_files import read_cues, read_exchanged_maps


def test_checkpoints_of_another_name_and_place_are_found(run, tmp_path):
    """As a ``ModelCheckpoint`` of the config writes them."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "best").mkdir()
    (copy / "checkpoints" / "last.ckpt").rename(copy / "checkpoints" / "best" / "own.ckpt")
    for path in (copy / "checkpoints").glob("*.ckpt"):
        path.unlink()
    assert seeds(copy, tmp_path / "out") == 0
    digest = hashlib.sha256((run / "checkpoints" / "last.ckpt").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["checkpoint_sha256"] == digest


def test_every_image_has_its_files(run, made):
    """Eight images of 60 x 48 pixels; maps, masks, cues and SEC's pickle say the same."""
    provenance = json.loads((made / "provenance.json").read_text())
    assert (provenance["state"], provenance["num_images"], provenance["threshold"]) == ("finished", 8, 0.2)
    assert provenance["class_names"] == list(CLASSES)
    ids = [line.split()[0] for line in (made / "input_list.txt").read_text().splitlines()]
    cues = np.load(made / "cues.npz")
    sec = pickle.loads((made / "localization_cues.pickle").read_bytes())
    assert sorted(cues.files) == sorted(ids)
    for row, name in enumerate(ids):
        classes, maps = read_exchanged_maps(made / "maps" / f"{name}.npy")
        assert maps.shape == (len(classes), 48, 60)
        present = {CLASSES.index(NAMES[row % 3])} | ({CLASSES.index("person")} if row % 4 == 0 else set())
        assert set(classes.tolist()) == present
        assert all(highest == pytest.approx(1.0) or highest == 0 for highest in maps.max((1, 2)).tolist())
        mask = np.array(Image.open(made / "masks" / f"{name}.png"))
        assert mask.shape == (48, 60)
        assert set(np.unique(mask)) <= {0, VOID, *(index + 1 for index in present)}
        assert sec[f"{row}_labels"].tolist() == sorted(index + 1 for index in present)
        again = np.full((41, 41), VOID)
        values, y, x = sec[f"{row}_cues"]
        again[y, x] = values
        np.testing.assert_array_equal(again, cues[name])


def test_pseudo_masks_are_also_annotation_files(run, made, tmp_path):
    """An export of seeds that are there already writes them too; what is unknown is a crowd of each label."""
    out = tmp_path / "made"
    shutil.copytree(made, out)
    assert seeds(run, out, "--export", "coco", "labelme") == 0
    found = masks_of_coco(out / "coco.json")
    names = sorted(path.stem for path in (out / "masks").glob("*.png"))
    assert sorted(found) == [f"{name}.jpg" for name in names]
    for name in names:
        mask = np.array(Image.open(out / "masks" / f"{name}.png"))
        classes, _ = read_exchanged_maps(out / "maps" / f"{name}.npy")
        expected = {(CLASSES[index], False): mask == index + 1 for index in classes}
        expected |= {(CLASSES[index], True): mask == VOID for index in classes}
        expected = {key: pixels for key, pixels in expected.items() if pixels.any()}
        assert found[f"{name}.jpg"].keys() == expected.keys()
        for key, pixels in expected.items():
            np.testing.assert_array_equal(found[f"{name}.jpg"][key], pixels)
        content = json.loads((out / "labelme" / f"{name}.json").read_text())
        assert (out / "labelme" / content["imagePath"]).resolve().is_file()


def test_a_scale_above_1_sees_the_pixels_of_the_file(run, tmp_path, monkeypatch):
    """Not the picture of scale 1 blown up; and gradients stay those of scale 1."""
    seen = []
    plain = Backbone.normalize
    monkeypatch.setattr(Backbone, "normalize", lambda self, image: seen.append(image) or plain(self, image))
    assert seeds(run, tmp_path / "o", "--scales", "2", "1", "--background", "gradient") == 0
    assert [tuple(image.shape[2:]) for image in seen] == [(64, 64), (32, 32), (32, 32)]
    large = VOC12DataModule(root=str(run.parent), image_size=64).image_set()
    plain_size = VOC12DataModule(root=str(run.parent), image_size=32).image_set()
    for n in range(len(seen[0])):
        assert torch.equal(seen[0][n], large[n]["image"])
        assert torch.equal(seen[1][n], plain_size[n]["image"])  # what training and test see
        assert torch.equal(seen[2][n], plain_size[n]["image"])


def test_an_interrupted_export_goes_on_where_it_stopped(run, made, tmp_path, capsys):
    """What is there is not made again, and the end is the same."""
    part = tmp_path / "part"
    shutil.copytree(made, part)
    names = sorted(path.stem for path in (part / "cues").glob("*.png"))
    for name in names[5:]:
        (part / "cues" / f"{name}.png").unlink()
        (part / "maps" / f"{name}.npy").write_bytes(b"half")
    (part / "cues.npz").unlink()
    kept = (part / "maps" / f"{names[0]}.npy").stat().st_mtime_ns
    capsys.readouterr()
    assert seeds(run, part) == 0
    assert "5 of 8 images are done already" in capsys.readouterr().out
    assert (part / "maps" / f"{names[0]}.npy").stat().st_mtime_ns == kept
    before, after = np.load(made / "cues.npz"), np.load(part / "cues.npz")
    for name in names:
        np.testing.assert_array_equal(before[name], after[name])
    assert not list(part.rglob("*.part"))


def test_seeds_of_other_options_are_not_mixed(run, made, capsys):
    assert seeds(run, made, "--threshold", "0.3") == 1
    assert "holds seeds of threshold 0.2, expected 0.3" in capsys.readouterr().err


def test_seeds_of_other_labels_are_not_mixed(run, made, tmp_path, capsys):
    """A label that was put right after the seeds were made."""
    voc = tmp_path / "VOCdevkit"
    shutil.copytree(run.parent / "VOCdevkit", voc)
    path = voc / "VOC2012" / "Annotations" / "2012_000000.xml"
    path.write_text("<annotation><object><name>sheep</name><difficult>0</difficult></object></annotation>")
    assert seeds(run, made, "--data", str(voc)) == 1
    assert "holds seeds of labels_sha256" in capsys.readouterr().err


def test_a_folder_of_other_things_is_refused(run, tmp_path, capsys):
    """The masks of a data set have the names that pseudo-masks would have."""
    (tmp_path / "data" / "masks").mkdir(parents=True)
    mask = tmp_path / "data" / "masks" / "2012_000000.png"
    mask.write_bytes(b"by hand")
    for out in (tmp_path / "data", run):
        assert seeds(run, out) == 1
        assert f"--out {out}: holds other things than seeds, expected a new or" in capsys.readouterr().err
    (tmp_path / "data" / "provenance.json").write_text("{}")
    assert seeds(run, tmp_path / "data") == 1
    assert mask.read_bytes() == b"by hand"
    assert seeds(run, mask) == 1
    assert f"--out {mask}: is a file, expected a folder" in capsys.readouterr().err


def test_a_folder_that_holds_no_seed_yet_takes_other_options(run, tmp_path, monkeypatch):
    out = tmp_path / "o"
    with monkeypatch.context() as patch:
        patch.setattr("gain_lightning.segmentation.attention_seeds.summed_maps", lambda *_, **__: 1 / 0)
        assert seeds(run, out, "--threshold", "0.4") == 1
    (out / ".hidden").touch()
    (out / "provenance.json.1.part").touch()
    assert seeds(run, out, "--threshold", "0.3") == 0
    assert json.loads((out / "provenance.json").read_text())["threshold"] == 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "test"], "split is 'test'"),
        (["--data", "nowhere"], "no VOC 2012 here"),
    ],
)
def test_data_that_are_not_there_are_named(run, tmp_path, capsys, options, message):
    import re

    assert seeds(run, tmp_path / "o", *options) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch_size", "0"], "--batch_size is 0, expected at least 1"),
        (["--background", "saliency"], "belong together"),
        (["--threshold", "1.5"], "--threshold is 1.5, expected a share"),
        (["--background_value", "nan"], "--background_value is nan, expected a share"),
        (["--scales", "1", "0"], "--scales is 0.0, expected a positive factor"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        seeds(tmp_path / "run", tmp_path / "o", *options)
    error = capsys.readouterr().err
    assert error.startswith("gain seeds: error: ")
    assert message in error


def test_background_by_gradient_and_by_saliency_maps(run, tmp_path, capsys):
    """A tenth of the pixels of least gradient; and where a saliency map is dark."""
    assert seeds(run, tmp_path / "gradient", "--background", "gradient", "--threshold", "1") == 0
    cues = np.load(tmp_path / "gradient" / "cues.npz")
    for name in cues.files:
        assert (cues[name] == 0).sum() == round(0.1 * 41 * 41)
    (tmp_path / "saliency").mkdir()
    arguments = ("--background", "saliency", "--saliency", str(tmp_path / "saliency"), "--threshold", "1")
    assert seeds(run, tmp_path / "salient", *arguments) == 1
    assert "8 of 8 images have no saliency map, the first 2012_000000" in capsys.readouterr().err
    assert not (tmp_path / "salient").exists()
    dark = np.full((48, 60), 255, np.uint8)
    dark[:, :30] = 0
    for name in cues.files:
        Image.fromarray(dark).save(tmp_path / "saliency" / f"{name}.png")
    assert seeds(run, tmp_path / "salient", *arguments) == 0
    cue = np.load(tmp_path / "salient" / "cues.npz")["2012_000000"]
    assert (cue[:, :20] == 0).all()
    assert (cue[:, 21:] == VOID).all()
    Image.fromarray(255 - dark).save(tmp_path / "saliency" / "2012_000003.png")  # other maps, the same folder
    assert seeds(run, tmp_path / "salient", *arguments) == 1
    assert "holds seeds of saliency_sha256" in capsys.readouterr().err


def test_crf_makes_the_regions_of_cues_and_masks(run, made, tmp_path):
    """Of the maps as they are exported, and of the pictures; they stand in no file of their own."""
    assert main(["seeds", str(run), "--out", str(tmp_path / "crf"), "--crf", "--threshold", "0.3"]) == 0
    assert json.loads((tmp_path / "crf" / "provenance.json").read_text())["crf"] is True
    cues = read_cues(tmp_path / "crf" / "cues.npz")
    assert cues.keys() == read_cues(made / "cues.npz").keys()
    for name, cue in cues.items():
        keys, high_res = read_exchanged_maps(tmp_path / "crf" / "maps" / f"{name}.npy")
        np.testing.assert_array_equal(high_res, read_exchanged_maps(made / "maps" / f"{name}.npy")[1])
        mask = np.array(Image.open(tmp_path / "crf" / "masks" / f"{name}.png"))
        assert mask.shape == high_res.shape[1:]
        assert set(np.unique(cue)) <= {0, VOID, *(keys + 1)}
        # the same at the cells' centres, but at edges
        rows, columns = ((2 * np.arange(41) + 1) * side // 82 for side in mask.shape)
        assert (mask[rows][:, columns] == cue).mean() > 0.9


def test_labels_without_a_cue_are_listed(run, tmp_path, capsys):
    assert seeds(run, tmp_path / "o", "--threshold", "1") == 0
    without = json.loads((tmp_path / "o" / "provenance.json").read_text())["without_cue"]
    assert without[0] == ["2012_000000", "cat", "person"]
    assert "8 images have no cue of a labelled class: 2012_000000 (cat, person);" in capsys.readouterr().out
