"""The script that unpacks VOC and SBD, on small made archives."""

import contextlib
import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from fake_voc import make_voc
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "data" / "prepare_voc12.py"
scipy_io = pytest.importorskip("scipy.io")


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("prepare_voc12", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, count in (("NUM_TRAIN", 8), ("NUM_VAL", 4), ("NUM_TRAIN_AUG", 10)):
        monkeypatch.setattr(module, name, count)
    return module


@pytest.fixture
def archives(tmp_path, script, monkeypatch):
    """Both archives: VOC's 8 + 4 images; SBD with masks of one val image, one train image and two more."""
    root = make_voc(tmp_path / "made", num_train=8, num_val=6)
    lists = root / "ImageSets" / "Segmentation"
    val = (lists / "val.txt").read_text().split()
    (lists / "val.txt").write_text("\n".join(val[:4]) + "\n")
    (lists / "train_aug.txt").unlink()
    for path in list((root / "SegmentationClassAug").iterdir()):
        path.unlink()
    (root / "SegmentationClassAug").rmdir()
    for extra in val[4:]:
        (root / "SegmentationClass" / f"{extra}.png").unlink()
    voc = tmp_path / script.VOC
    with tarfile.open(voc, "w") as archive:
        archive.add(tmp_path / "made" / "VOCdevkit", "VOCdevkit")
    sbd = tmp_path / "sbd" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    names = {"train.txt": ["2012_000000", val[0], val[4]], "val.txt": [val[5]]}
    for name, ids in names.items():
        (sbd / name).write_text("\n".join(ids) + "\n")
        for image_id in ids:
            mask = np.full((48, 60), int(image_id[-1]) + 1, np.uint8)
            scipy_io.savemat(
                sbd / "cls" / f"{image_id}.mat", {"GTcls": {"Segmentation": mask, "CategoriesPresent": [1]}}
            )
    tgz = tmp_path / script.SBD
    with tarfile.open(tgz, "w:gz") as archive:
        archive.add(tmp_path / "sbd", "benchmark_RELEASE")
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in (voc, tgz)}
    monkeypatch.setattr(script, "MD5", md5)
    return voc, tgz, val


def test_both_archives_become_a_complete_folder(script, archives, tmp_path, capsys):
    voc, tgz, val = archives
    assert script.main(["--out", str(tmp_path / "data"), str(voc), str(tgz)]) == 0
    root = tmp_path / "data" / "VOCdevkit" / "VOC2012"
    ids = (root / "ImageSets" / "Segmentation" / "train_aug.txt").read_text().split()
    assert ids == sorted([f"2012_{number:06d}" for number in range(8)] + val[4:])
    with Image.open(root / "SegmentationClassAug" / f"{val[4]}.png") as mask:
        assert np.unique(np.array(mask)).tolist() == [int(val[4][-1]) + 1]
    own, copied = (root / kind / "2012_000000.png" for kind in ("SegmentationClass", "SegmentationClassAug"))
    assert own.read_bytes() == copied.read_bytes()  # VOC's own mask goes before SBD's
    assert "is complete" in capsys.readouterr().out
    assert script.main(["--out", str(tmp_path / "data")]) == 0


def test_what_is_missing_is_named_with_its_source(script, archives, tmp_path, capsys):
    assert script.main(["--out", str(tmp_path / "data"), str(archives[0])]) == 1
    printed = capsys.readouterr().out
    assert "SegmentationClassAug/ is missing: it is made from benchmark.tgz, from http" in printed
    assert "train_aug.txt names 0 images, expected 10" in printed
    assert script.main(["--out", str(tmp_path / "nothing")]) == 1
    assert (
        "JPEGImages/ is missing: it is in VOCtrainval_11-May-2012.tar, from http" in capsys.readouterr().out
    )


def test_broken_archive_is_refused(script, archives, tmp_path, capsys):
    archives[0].write_bytes(archives[0].read_bytes()[:-100])
    assert script.main(["--out", str(tmp_path / "data"), str(archives[0])]) == 1
    assert "expected " in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt"])
def test_archive_cannot_write_outside_its_folder(script, tmp_path, name):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 2
        archive.addfile(member, io.BytesIO(b"no"))
    with contextlib.suppress(tarfile.FilterError):  # a leading slash is taken off, dots are refused
        script.unpack(path, tmp_path / "a" / "data")
    assert not (tmp_path / "a" / "outside.txt").exists()
    assert not Path("/tmp/outside.txt").exists()


def test_published_checksums():
    """Of the archives themselves, as torchvision's VOCDetection and SBDataset give them."""
    text = SCRIPT.read_text()
    from torchvision.datasets import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    assert DATASET_YEAR_DICT["2012"]["md5"] in text
    assert SBDataset.md5 in text
