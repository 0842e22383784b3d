# ruff: noqa: E501, one case a line
"""Bad input of every kind, as a user gives it: a named error and no training, or the handling that is documented.

Rows of labels.csv, boxes.csv and masks that disagree with them have their table in ``datasets/readers/folder/``.
"""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_folder import SIZE, make_folder, mask
from fake_voc import make_voc
from PIL import Image
from torch._utils import ExceptionWrapper

from gain_lightning.cli import main, message_of
from gain_lightning.datasets.images import read_image
from gain_lightning.datasets.readers.folder import read_folder

QUICK = [
    "--model.backbone=tiny_cnn", "--model.warmup=0", "--data.image_size=32", "--data.batch_size=2",
    "--data.num_workers=0", "--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "pets")


@pytest.fixture
def devkit(tmp_path):
    return make_voc(tmp_path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The checkpoint of a run on the folder of cats and dogs."""
    base = tmp_path_factory.mktemp("trained")
    make_folder(base / "pets")
    assert main(["fit", *_data(base / "pets"), *QUICK, f"--run_dir={base / 'run'}"]) == 0
    return base / "run" / "checkpoints" / "last.ckpt"


def _data(root: Path) -> list[str]:
    name = "FolderDataModule" if (root / "images").is_dir() else "VOC12DataModule"
    return [f"--data={name}", f"--data.root={root}"]


def _files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _assert_refused(arguments: list[str], message: str, root: Path, capsys) -> None:
    """One error that matches, a failing exit, no training, and every file of the user's as it was."""
    before = _files(root)
    capsys.readouterr()
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    error = capsys.readouterr().err
    assert status in (1, 2), error
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert "error: " in error
    assert len(error.splitlines()) <= 4, error
    assert _files(root) == before


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _encoded(kind: str, **options) -> bytes:
    """The noise of p2.jpg as a file of another kind."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _replaced(name: str, data: bytes):
    """Spoil one file of the folder: ``images/p2.jpg`` with other bytes, say."""
    return lambda root: (root / name).write_bytes(data)


def _jpeg_as_mask(root: Path) -> None:
    values = np.zeros(SIZE, np.uint8)
    values[3:11, 4:12] = 200
    Image.fromarray(values).save(root / "images" / "mask.jpg")
    (root / "masks" / "p0.png").unlink()
    (root / "masks" / "p3.png").unlink()
    (root / "masks" / "cat").mkdir()
    (root / "images" / "mask.jpg").rename(root / "masks" / "cat" / "p0.png")


def _relabelled(old: str, new: str):
    def spoil(root: Path) -> None:
        text = (root / "labels.csv").read_text()
        assert old in text
        (root / "labels.csv").write_text(text.replace(old, new))

    return spoil


FOLDERS = {
    "picture cut in its header": (_replaced("images/p2.jpg", _encoded("JPEG")[:30]), r"p2\.jpg: not a readable picture"),
    "picture cut in its data": (_replaced("images/p2.jpg", _encoded("JPEG")[:900]), r"p2\.jpg: not a readable picture"),
    "PNG cut in its data": (_replaced("images/p2.jpg", _encoded("PNG")[:900]), r"p2\.jpg: not a readable picture"),
    "PNG cut near its end": (_replaced("images/p2.jpg", _encoded("PNG")[:-100]), r"p2\.jpg: not a readable picture"),
    "PNG with a wrong checksum": (_replaced("images/p2.jpg", _encoded("PNG")[:50] + b"\0\1\2" + _encoded("PNG")[53:]), r"p2\.jpg: not a readable picture"),
    "WebP cut": (_replaced("images/p2.jpg", _encoded("WEBP")[:200]), r"p2\.jpg: not a readable picture"),
    "TIFF cut": (_replaced("images/p2.jpg", _encoded("TIFF")[:200]), r"p2\.jpg: not a readable picture"),
    "zero bytes": (_replaced("images/p2.jpg", b""), r"p2\.jpg: not a readable picture"),
    "a page of the server that lost it": (_replaced("images/p2.jpg", b"<!doctype html><p>404 not found"), r"p2\.jpg: not a readable picture"),
    "SVG": (_replaced("images/p2.jpg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'), r"p2\.jpg: not a readable picture"),
    "GIF under another name": (_replaced("images/p2.jpg", _encoded("GIF")), r"p2\.jpg: not a readable picture \(of format GIF, expected JPEG"),
    "decompression bomb": (_replaced("images/p2.jpg", _bomb(60_000, 60_000)), r"p2\.jpg: not a readable picture"),
    "a folder for a picture": (lambda root: [(root / "images/p2.jpg").unlink(), (root / "images/p2.jpg").mkdir()], r"p2\.jpg"),
    "link to nothing": (lambda root: [(root / "images/p2.jpg").unlink(), (root / "images/p2.jpg").symlink_to("gone")], r"p2\.jpg is missing"),
    "float TIFF": (lambda root: Image.fromarray(np.zeros(SIZE, np.float32)).save(root / "images/p2.jpg", "TIFF"), r"p2\.jpg: not a readable picture"),
    "mask cut": (lambda root: (root / "masks/p0.png").write_bytes((root / "masks/p0.png").read_bytes()[:60]), r"p0\.png: not a readable mask"),
    "mask of zero bytes": (_replaced("masks/p0.png", b""), r"p0\.png: not a readable mask"),
    "mask of text": (_replaced("masks/p0.png", b"cat"), r"p0\.png: not a readable mask"),
    "mask that is a bomb": (_replaced("masks/p0.png", _bomb(60_000, 60_000)), r"p0\.png: not a readable mask"),
    "mask of 16 bit": (lambda root: Image.fromarray(np.zeros(SIZE, np.uint16)).save(root / "masks/p0.png"), r"p0\.png: mask of mode I;16, expected class indices"),
    "mask of colours with transparency": (lambda root: Image.new("RGBA", SIZE[::-1]).save(root / "masks/p0.png"), r"p0\.png: mask of mode RGBA"),
    "mask of grey with transparency": (lambda root: Image.new("LA", SIZE[::-1]).save(root / "masks/p0.png"), r"p0\.png: mask of mode LA"),
    "mask turned by 90 degrees": (lambda root: mask(root / "masks/p0.png", {2: (3, 4)}, SIZE[::-1]), r"p0\.png: mask of 30 x 40 pixels, but its picture has 40 x 30"),
    "JPEG under a mask's name": (_jpeg_as_mask, r"cat/p0\.png: a mask of format JPEG, expected PNG"),
    "table with semicolons": (_relabelled(",", ";"), r"labels\.csv:1: no column 'filename'; got filename;classes;split"),
    "table with tabs": (_relabelled(",", "\t"), r"labels\.csv:1: "),
    "table of a spreadsheet program": (_replaced("labels.csv", b"PK\x03\x04\x14\x00\x06\x00\xff\xfe"), r"labels\.csv: not UTF-8"),
    "table in UTF-16": (lambda root: (root / "labels.csv").write_text((root / "labels.csv").read_text(), encoding="utf-16"), r"labels\.csv: not UTF-8"),
    "table without a header": (_relabelled("filename,classes,split\n", ""), r"labels\.csv:1: no column 'filename'; got p0\.jpg,cat,train"),
    "no training picture": (_relabelled("train", "val"), r"no picture of split 'train'"),
    "no validation picture": (_relabelled(",val", ",test"), r"no picture of split 'val'"),
    "amount below nothing": (_relabelled("p0.jpg,cat", "p0.jpg,cat=-1"), r"labels\.csv:2: p0\.jpg has -1 of cat"),
    "amount of nan": (_relabelled("p0.jpg,cat", "p0.jpg,cat=nan"), r"labels\.csv:2: p0\.jpg has nan of cat"),
    "path with a drive": (_relabelled("p3.jpg", "C:\\p3.jpg"), r"labels\.csv:5: "),
    "path up by backslashes": (_relabelled("p3.jpg", "..\\..\\p3.jpg"), r"labels\.csv:5: .* leaves the data folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_broken_folder_is_refused(folder, case, tmp_path, capsys):
    spoil, message = FOLDERS[case]
    spoil(folder)
    _assert_refused(["fit", *_data(folder), *QUICK, f"--run_dir={tmp_path / 'run'}"], message, folder, capsys)
    assert not (tmp_path / "run" / "checkpoints").exists()


def _annotated(text: str):
    return lambda root: (root / "Annotations" / "2012_000003.xml").write_text(text)


_BILLION = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
DEVKITS = {
    "entity bomb": (_annotated(f'<!DOCTYPE a [<!ENTITY a0 "ha">{_BILLION}]><annotation>&a9;</annotation>'), r"2012_000003\.xml: declares a document type"),
    "entity of a file": (_annotated('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'), r"2012_000003\.xml: declares a document type"),
    "XML cut": (_annotated("<annotation><object><name>do"), r"2012_000003\.xml: "),
    "XML of zero bytes": (_annotated(""), r"2012_000003\.xml: "),
    "object without a name": (_annotated("<annotation><object><difficult>0</difficult></object></annotation>"), r"2012_000003\.xml: "),
    "unknown class": (_annotated("<annotation><object><name>unicorn</name></object></annotation>"), r"2012_000003\.xml: .*unicorn"),
    "no object": (_annotated("<annotation/>"), r"2012_000003\.xml: "),
    "a box in words": (_annotated("<annotation><object><name>dog</name><bndbox><xmin>one</xmin><ymin>1</ymin><xmax>2</xmax><ymax>4</ymax></bndbox></object></annotation>"), r"2012_000003\.xml: .*dog"),
    "no annotation": (lambda root: (root / "Annotations" / "2012_000003.xml").unlink(), r"2012_000003\.xml"),
    "empty list": (lambda root: (root / "ImageSets/Segmentation/train_aug.txt").write_text(""), r"train_aug\.txt"),
    "list of another set": (lambda root: (root / "ImageSets/Segmentation/train_aug.txt").write_text("1999_000001\n"), r"1999_000001"),
    "no list": (lambda root: (root / "ImageSets/Segmentation/train_aug.txt").unlink(), r"train_aug"),
}  # fmt: skip


@pytest.mark.parametrize("case", DEVKITS)
def test_broken_devkit_is_refused(devkit, case, tmp_path, capsys):
    spoil, message = DEVKITS[case]
    spoil(devkit)
    arguments = [
        "fit",
        *_data(devkit),
        "--data.train_split=train_aug",
        *QUICK,
        f"--run_dir={tmp_path / 'run'}",
    ]
    _assert_refused(arguments, message, devkit, capsys)
    assert not (tmp_path / "run" / "checkpoints").exists()


SETTINGS = {
    "word for a number": (["--model.sigma=high"], r"model\.sigma is 'high', expected float"),
    "number for a list": (["--model.score_classes=3"], r"model\.score_classes is '3', expected list or null"),
    "fraction for a count": (["--trainer.max_epochs=1.5"], r"trainer\.max_epochs is '1\.5', expected int or null"),
    "unknown key": (["--model.am_wieght=1"], r"did you mean 'model\.am_weight'"),
    "unknown class": (["--trainer.logger=WandLogger"], r"WandLogger|did you mean"),
    "unknown optimizer": (["--model.optimizer=torch.optim.Adan"], r"Adan"),
    "negative weight": (["--model.am_weight=-1"], r"model\.am_weight is -1"),
    "weight of nan": (["--model.am_weight=.nan"], r"model\.am_weight is nan"),
    "weight without end": (["--model.ext_weight=.inf"], r"model\.ext_weight is inf"),
    "threshold above 1": (["--model.sigma=1.5"], r"model\.sigma is 1\.5"),
    "steepness of nan": (["--model.omega=.nan"], r"model\.omega is nan"),
    "warm-up in epochs": (["--model.warmup=3"], r"model\.warmup is 3\.0, expected a share of the training, 0 to 1"),
    "old warm-up": (["--model.warmup_epochs=3"], r"model\.warmup_epochs is model\.warmup now, a share of the training"),
    "milestones in epochs": (
        ["--model.lr_scheduler=Steps", "--model.lr_scheduler.milestones=[3]"], r"milestones is \[3\.0\], expected shares",
    ),
    "rise above 1": (["--model.lr_scheduler=OneCycle", "--model.lr_scheduler.rise=5"], r"lr_scheduler\.rise is 5"),
    "no end": (["--model.lr_scheduler=OneCycle", "--trainer.max_epochs=-1"], r"OneCycle, a share of the training, but this"),
    "no pixel": (["--data.image_size=0"], r"image_size is 0"),
    "a class that is not there has no place": (
        ["--data.no_object_classes=[kat]"], r"no_object_classes names 'kat', expected names among .*did you mean 'cat'",
    ),
    "batch of nothing": (["--data.batch_size=0"], r"batch_size is 0"),
    "negative batch": (["--data.masked_batch_size=-1", "--data.mask_budget=1"], r"masked_batch_size -1, expected at least 1"),
    "negative workers": (["--data.num_workers=-1"], r"num_workers is -1, expected 0 or more"),
    "budget in words": (["--data.mask_budget=many"], r"mask_budget"),
    "negative budget": (["--data.mask_budget=-2"], r"mask_budget is -2"),
    "budget of an unknown class": (['--data.mask_budget={"cow": 1}'], r"cow"),
    "share above 1": (["--data.val_fraction=2"], r"data\.val_fraction is 2"),
    "negative rate": (["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=-1"], r"-1"),
    "rate of nan": (["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=.nan"], r"nan"),
    "half precision": (["--trainer.precision=16-true", "--model.am_weight=1"], r"trainer\.precision is 16-true: gradients of gradients"),
    "gradients of no batch": (["--trainer.accumulate_grad_batches=0"], r"trainer\.accumulate_grad_batches is 0, expected"),
    "clipped below zero": (["--trainer.gradient_clip_val=-1"], r"trainer\.gradient_clip_val is -1"),
    "clipped at nan": (["--trainer.gradient_clip_val=.nan"], r"trainer\.gradient_clip_val is nan, expected"),
    "no training at all": (["--trainer.limit_train_batches=0"], r"trainer\.limit_train_batches is 0"),
    "checkpoints elsewhere": (["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.dirpath=/scratch"], r"ModelCheckpoint\.dirpath is /scratch, expected none"),
    "checkpoints outside by name": (["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.filename=../../a/b"], r"ModelCheckpoint\.filename is \.\./\.\./a/b, expected none"),
    "validated after no batch": (["--trainer.val_check_interval=0"], r"trainer\.val_check_interval is 0, expected"),
    "overfitting batches": (["--trainer.overfit_batches=1"], r"trainer\.overfit_batches is 1, but"),
    "negative mask seed": (["--data.mask_seed=-1"], r"data\.mask_seed is -1, expected"),
    "precision of 17 bit": (["--trainer.precision=17"], r"trainer\.precision is '17', expected .*'bf16-mixed'"),
    "negative seed": (["--seed_everything=-1"], r"-1"),
    "seed in words": (["--seed_everything=lucky"], r"seed_everything is 'lucky', expected bool or int"),
    "no such config": (["--config=no.yaml"], r"no\.yaml"),
    "weights of nowhere": (["--model.weights=nowhere.pt"], r"nowhere\.pt.*no such file"),
    "no data folder": (["--data.root=nowhere"], r"nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("case", SETTINGS)
def test_unfit_setting_is_refused(folder, case, tmp_path, capsys):
    arguments, message = SETTINGS[case]
    _assert_refused(
        ["fit", *_data(folder), *QUICK, f"--run_dir={tmp_path / 'run'}", *arguments], message, folder, capsys
    )
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("key", ["model", "trainer"])
def test_a_key_twice_in_a_part_of_the_config_is_refused(folder, key, tmp_path, capsys):
    text = {"model": "sigma: 0.3\nsigma: 0.7\n", "trainer": "max_epochs: 1\nmax_epochs: 0\n"}[key]
    (tmp_path / "part.yaml").write_text(text)
    arguments = [f"--{key}={tmp_path / 'part.yaml'}", *_data(folder), *QUICK, f"--run_dir={tmp_path / 'run'}"]
    _assert_refused(["fit", *arguments], "line 2: key '.*' comes twice", folder, capsys)


@pytest.mark.parametrize("words", [["--model.sigma=2"], ["--data.val_fraction=2"]])
def test_a_refused_setting_leaves_the_metrics_of_the_run_that_was_there(folder, words, tmp_path, capsys):
    """Of a training killed before its first checkpoint."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("epoch,step,train/loss\n0,0,1.5\n")
    arguments = ["fit", *_data(folder), *QUICK, f"--run_dir={tmp_path / 'run'}"]
    _assert_refused([*arguments, *words], words[0].split("=")[0].rpartition(".")[2], folder, capsys)
    assert (tmp_path / "run" / "metrics.csv").read_text().count("1.5") == 1


def test_damage_that_a_worker_meets_is_said_in_a_line(folder, tmp_path, capfd):
    """A header and an end that look whole, and noise between: found when the picture is decoded."""
    whole = _encoded("PNG")
    place = whole.index(b"IDAT") + 40
    (folder / "images" / "p1.jpg").write_bytes(whole[:place] + b"\0\1\2\3" + whole[place + 4 :])
    arguments = ["fit", *_data(folder), *QUICK, "--data.num_workers=1", f"--run_dir={tmp_path / 'run'}"]
    assert main(arguments) == 1
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gain fit: error:")]
    assert len(said) == 1
    assert re.fullmatch(r"gain fit: error: .*p1\.jpg: not a readable picture.*", said[0])


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            ValueError("a.png: torn\n  and more\nHint: SomeError: look"),
            "a.png: torn\n  and more\nHint: SomeError: look",
        ),
        (zlib.error("Error -3"), "Error -3"),
        (KeyError("boat"), "'boat'"),
        (MemoryError(), "MemoryError"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_error_of_a_worker_is_said_without_its_traceback(raised, said):
    """As torch wraps it, with another error that it came from."""
    try:
        try:
            raise OSError("disk: Error")
        except OSError:
            raise raised  # noqa: B904, so that the traceback has both
    except Exception:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(Exception) as error:
        wrapped.reraise()
    assert message_of(error.value) == said


CONFIGS = {
    "not YAML": (b"model: [1, 2\ndata: }", r"bad\.yaml: not readable as YAML .*line 2"),
    "a list": (b"- model\n- data\n", r"bad\.yaml: holds list, expected keys"),
    "a word": (b"gain", r"bad\.yaml: holds str, expected keys"),
    "binary": (bytes(range(256)), r"bad\.yaml: not UTF-8"),
    "code": (
        b"model: !!python/object/apply:os.system ['touch made']\n",
        r"bad\.yaml: not readable as YAML .*python/object",
    ),
    "a key twice": (b"model:\n  sigma: 0.3\n  sigma: 0.7\n", r"bad\.yaml: line 3: key 'sigma' comes twice"),
    "nested": (b"model: " + 3000 * b"{a: " + b"1" + 3000 * b"}", r"bad\.yaml: nested deeper than"),
    "a class is a number": (
        b"model: {optimizer: 5}",
        r"model\.optimizer is '5', expected class_path with init_args$",
    ),
    "a class is a list": (
        b"model: {lr_scheduler: [1, 2]}",
        r"model\.lr_scheduler is '\[1, 2\]', expected class_path with init_args or null$",
    ),
    "a class without arguments": (
        b"model: {optimizer: {class_path: torch.optim.SGD, init_args: 3}}",
        r"model\.optimizer is .*init_args=3.*expected init_args of keys and values$",
    ),
    "data without arguments": (
        b"data: {class_path: ShapesDataModule, init_args: 7}",
        r"data is .*'init_args': 7.*expected init_args of keys and values$",
    ),
    "a class that is not there": (
        b"model: {optimizer: {class_path: torch.optim.Adamm}}",
        r"module 'torch\.optim' has no attribute 'Adamm'",
    ),
    "an argument of a class": (
        b"model: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: high}}}",
        r"lr is 'high', expected float$",
    ),
    "tabs": (b"model:\n\tsigma: 0.3\n", r"bad\.yaml: not readable as YAML .*line 2"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_unfit_config_is_refused(folder, case, tmp_path, capsys, monkeypatch):
    text, message = CONFIGS[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_bytes(text)
    arguments = ["fit", "--config=bad.yaml", *_data(folder), *QUICK, f"--run_dir={tmp_path / 'run'}"]
    _assert_refused(arguments, message, folder, capsys)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "made").exists()


class _Code:
    """Unpickling it makes a file."""

    def __reduce__(self):
        return (open, ("made", "w"))


def _changed(**changes):
    def spoil(path: Path, good: Path) -> None:
        torch.save({**torch.load(good, weights_only=True), **changes}, path)

    return spoil


def _of_another_version(path: Path, good: Path) -> None:
    checkpoint = torch.load(good, weights_only=True)
    checkpoint["hyper_parameters"]["attention_of_2031"] = 1
    torch.save(checkpoint, path)


CHECKPOINTS = {
    "missing": (lambda path, good: None, r"bad\.ckpt: .*bad\.ckpt does not exist|bad\.ckpt: no such file"),
    "zero bytes": (lambda path, good: path.write_bytes(b""), r"bad\.ckpt: not a checkpoint of gain fit"),
    "text": (lambda path, good: path.write_text("weights"), r"bad\.ckpt: not a checkpoint of gain fit"),
    "cut": (lambda path, good: path.write_bytes(good.read_bytes()[:5000]), r"bad\.ckpt: not a checkpoint of gain fit"),
    "a folder": (lambda path, good: path.mkdir(), r"bad\.ckpt: .*(does not exist|no such file)"),
    "code in it": (_changed(loops=_Code()), r"bad\.ckpt: not a checkpoint of gain fit"),
    "weights alone": (lambda path, good: torch.save(torch.load(good, weights_only=True)["state_dict"], path), r"bad\.ckpt: not a checkpoint of gain fit"),
    "another model's": (_changed(state_dict={"layer.weight": torch.zeros(2)}), r"bad\.ckpt(: not a checkpoint of gain fit| is of another network: .* is nothing there)"),
}  # fmt: skip


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_unfit_checkpoint_is_refused(folder, checkpoint, case, verb, tmp_path, capsys, monkeypatch):
    spoil, message = CHECKPOINTS[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "run" / "checkpoints" / "bad.ckpt"
    spoil(path, checkpoint)
    if verb == "predict":
        arguments = [
            "predict",
            f"--images={folder / 'images'}",
            f"--ckpt_path={path}",
            f"--out={tmp_path / 'out'}",
        ]
    else:
        arguments = [verb, *_data(folder), *QUICK, f"--run_dir={tmp_path / 'run'}", f"--ckpt_path={path}"]
        arguments.append("--trainer.max_epochs=2")
    _assert_refused(arguments, message, tmp_path / "run" / "checkpoints", capsys)
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "out").exists()


def test_checkpoint_of_another_version_is_refused(folder, checkpoint, tmp_path, capsys):
    path = tmp_path / "bad.ckpt"
    _of_another_version(path, checkpoint)
    arguments = [
        "predict",
        f"--images={folder / 'images'}",
        f"--ckpt_path={path}",
        f"--out={tmp_path / 'out'}",
    ]
    _assert_refused(arguments, r"bad\.ckpt.*attention_of_2031", folder, capsys)


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_checkpoint_of_other_classes_is_refused(folder, checkpoint, verb, tmp_path, capsys):
    """The same number of classes under other names would give each class the other's score."""
    (folder / "classes.txt").write_text("cat\ndog\n")
    for path in (folder / "masks").glob("*.png"):
        path.unlink()
    arguments = [
        verb,
        *_data(folder),
        *QUICK,
        f"--run_dir={checkpoint.parent.parent}",
        f"--ckpt_path={checkpoint}",
    ]
    _assert_refused([*arguments, "--trainer.max_epochs=2"], r"dog, cat.*cat, dog", folder, capsys)


def _saved(image: Image.Image, kind: str, **options):
    def write(path: Path) -> None:
        image.save(path, kind, **options)

    return write


_NOISE = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
_RGB = Image.fromarray(_NOISE)
_TURNED = Image.Exif()
_TURNED[274] = 6
_DEEP = np.random.default_rng(3).integers(0, 65536, SIZE, dtype=np.uint16)
TAKEN = {  # a picture, and what is read of it; a JPEG differs from that by its losses
    "grey": (_saved(_RGB.convert("L"), "PNG"), np.asarray(_RGB.convert("L").convert("RGB"))),
    "palette": (_saved(_RGB.convert("P"), "PNG"), np.asarray(_RGB.convert("P").convert("RGB"))),
    "one bit": (_saved(_RGB.convert("1"), "PNG"), np.asarray(_RGB.convert("1").convert("RGB"))),
    "transparency is dropped": (_saved(Image.fromarray(np.dstack([_NOISE, _NOISE[..., :1]])), "PNG"), _NOISE),
    "16 bit keeps the upper 8": (_saved(Image.fromarray(_DEEP), "PNG"), np.repeat((_DEEP >> 8).astype(np.uint8)[..., None], 3, 2)),
    "PNG under the name of a JPEG": (_saved(_RGB, "PNG"), _NOISE),
    "BMP": (_saved(_RGB, "BMP"), _NOISE),
    "turned by EXIF": (_saved(_RGB, "PNG", exif=_TURNED), np.rot90(_NOISE, -1)),
    "first of an animated PNG": (_saved(_RGB, "PNG", save_all=True, append_images=[Image.new("RGB", SIZE[::-1])]), _NOISE),
    "first of an animated WebP": (_saved(_RGB, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", SIZE[::-1])]), _NOISE),
    "first page of a TIFF": (_saved(_RGB, "TIFF", save_all=True, append_images=[Image.new("RGB", SIZE[::-1])]), _NOISE),
    "one pixel": (_saved(_RGB.crop((0, 0, 1, 1)), "PNG"), _NOISE[:1, :1]),
    "one pixel high": (_saved(_RGB.crop((0, 0, 40, 1)), "PNG"), _NOISE[:1]),
    "CMYK": (_saved(Image.new("CMYK", SIZE[::-1], (0, 255, 255, 0)), "JPEG"), np.full((*SIZE, 3), [255, 0, 0], np.uint8)),
    "12,000 pixels wide": (_saved(Image.new("L", (12_000, 1_000), 99), "PNG", compress_level=1), np.full((1_000, 12_000, 3), 99, np.uint8)),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_unusual_picture_is_read_as_documented(folder, case, tmp_path, capsys):
    write, expected = TAKEN[case]
    write(folder / "images" / "p2.jpg")
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    found = read_image(folder / "images" / "p2.jpg")
    assert listing.size[2].tolist() == list(found.shape[:2])
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (3 if case == "CMYK" else 0)
    assert main(["fit", *_data(folder), *QUICK, f"--run_dir={tmp_path / 'run'}"]) == 0


def test_masks_with_a_palette_or_one_bit_are_read(folder):
    indexed = Image.open(folder / "masks" / "p0.png").convert("P")
    indexed.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    indexed.save(folder / "masks" / "p0.png")
    drawn = np.zeros(SIZE, bool)
    drawn[2:9, 3:8] = True
    Image.fromarray(drawn).save(folder / "masks" / "p3.png")
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    assert (listing.mask(0, SIZE) == 2).sum() == 64
    assert ((listing.mask(3, SIZE) == 1) == drawn).all()
