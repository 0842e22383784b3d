# ruff: noqa: E501, one case a line
"""Folders of one's own: what is read, and that every problem is named with its file and line."""

import shutil

import numpy as np
import pytest
from fake_folder import SIZE, make_folder, mask, picture
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers.folder import read_folder


def test_contents(folder):
    listing, splits, problems, _ = read_folder(folder)
    assert problems == []
    assert listing.class_names == ("dog", "cat")
    assert listing.ids.tolist() == [f"p{number}.jpg" for number in range(6)]
    assert listing.labels.tolist() == [[0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, 0]]
    assert splits.tolist() == ["train"] * 3 + ["val", "test", "night"]
    assert listing.is_drawn.tolist() == [True, False, False, True, False, False]
    assert listing.size.tolist() == [list(SIZE)] * 6
    assert listing.boxes(1).corners.tolist() == [[0, 0, 10, 20], [5, 5, 40, 30]]
    assert len(listing.boxes(0).class_idx) == 0


def test_class_folders_and_masks_may_be_links(tmp_path):
    """One that leads out, and two that lead back."""
    root = make_folder(tmp_path / "pets")
    for name in ("labels.csv", "boxes.csv", "classes.txt"):
        (root / name).unlink()
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images" / "dog").mkdir(parents=True)
    (tmp_path / "elsewhere" / "p0.jpg").rename(root / "images" / "dog" / "x.jpg")
    (root / "images" / "cat").symlink_to(tmp_path / "elsewhere")
    (root / "images" / "same").symlink_to(root / "images" / "dog")
    (tmp_path / "elsewhere" / "back").symlink_to(root / "images")
    shutil.rmtree(root / "masks")
    (tmp_path / "drawn" / "cat").mkdir(parents=True)
    mask(tmp_path / "drawn" / "cat" / "p1.png", {1: (0, 0)})
    (root / "masks").symlink_to(tmp_path / "drawn")
    listing, _, problems, _ = read_folder(root)
    assert not problems
    assert listing.class_names == ("cat", "dog")
    assert listing.ids.tolist() == [*(f"cat/p{n}.jpg" for n in range(1, 6)), "dog/x.jpg"]
    assert listing.is_drawn.tolist() == [True, *[False] * 5]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


BROKEN = {
    "missing picture": (lambda root: (root / "images" / "p2.jpg").unlink(), r"labels\.csv:4: .*images/p2\.jpg is missing"),
    "empty file": (lambda root: (root / "images" / "p2.jpg").write_bytes(b""), r"p2\.jpg: not a readable picture"),
    "text for a picture": (lambda root: (root / "images" / "p2.jpg").write_text("no"), r"p2\.jpg: not a readable"),
    "truncated picture": (
        lambda root: (root / "images" / "p2.jpg").write_bytes((root / "images" / "p2.jpg").read_bytes()[:600]),
        r"p2\.jpg: not a readable picture",
    ),
    "duplicate row": (lambda root: edit(root / "labels.csv", "p2.jpg,,train", "p1.jpg,,train"), r"labels\.csv:4: p1\.jpg is a duplicate of line 3"),
    "other separator": (lambda root: edit(root / "labels.csv", "dog;cat", "dog|cat"), r"labels\.csv:3: class 'dog\|cat' of p1\.jpg: expected ';' between two classes"),
    "class twice": (lambda root: edit(root / "labels.csv", "dog;cat", "dog;cat;dog"), r"labels\.csv:3: p1\.jpg names a class twice"),
    "unknown class": (lambda root: edit(root / "labels.csv", "p4.jpg,cat", "p4.jpg,cow"), r"labels\.csv:6: unknown class 'cow' of p4\.jpg, expected one of dog, cat"),
    "no split": (lambda root: edit(root / "labels.csv", "p3.jpg,dog,val", "p3.jpg,dog,"), r"labels\.csv:5: p3\.jpg has no split"),
    "too few cells": (lambda root: edit(root / "labels.csv", "p3.jpg,dog,val", "p3.jpg,dog"), r"labels\.csv:5: 2 columns, expected 3"),
    "path out": (lambda root: edit(root / "labels.csv", "p3.jpg", "../../p3.jpg"), r"labels\.csv:5: filename '\.\./\.\./p3\.jpg' leaves the data folder"),
    "absolute path": (lambda root: edit(root / "labels.csv", "p3.jpg", "/etc/p3.jpg"), r"labels\.csv:5: .* leaves the data folder"),
    "box path out": (lambda root: edit(root / "boxes.csv", "p1.jpg,dog", "../p1.jpg,dog"), r"boxes\.csv:2: .* leaves the data folder"),
    "mask of another size": (lambda root: mask(root / "masks" / "p0.png", {2: (0, 0)}, (20, 20)), r"masks/p0\.png: mask of 20 x 20 pixels, but its picture has 40 x 30"),
    "mask of colours": (lambda root: picture(root / "masks" / "p0.png"), r"masks/p0\.png: mask of mode RGB"),
    "index of no class": (lambda root: mask(root / "masks" / "p0.png", {3: (0, 0)}), r"masks/p0\.png: class index 3 is out of range"),
    "mask class without label": (lambda root: mask(root / "masks" / "p0.png", {1: (0, 0), 2: (9, 9)}), r"masks/p0\.png: shows dog, which the label of p0\.jpg lacks"),
    "empty mask": (lambda root: mask(root / "masks" / "p0.png", {}), r"masks/p0\.png: shows no pixel of a class"),
    "mask of nothing": (lambda root: mask(root / "masks" / "p9.png", {1: (0, 0)}), r"masks/p9\.png: a mask of none"),
    "mask of 0 and 255": (lambda root: mask(root / "masks" / "p0.png", {255: (0, 0)}), r"masks/p0\.png: shows no pixel of a class, .*; its 255 is not labelled"),
    "mask as a JPEG": (lambda root: (root / "masks" / "p0.png").rename(root / "masks" / "p0.jpg"), r"masks/p0\.jpg: not read: masks are PNG files"),
    "split in capitals": (lambda root: edit(root / "labels.csv", "p3.jpg,dog,val", "p3.jpg,dog,Val"), r"labels\.csv:5: split is 'Val', expected 'val'"),
    "quote left open": (lambda root: edit(root / "labels.csv", "p3.jpg,dog,val", 'p3.jpg,dog,"val'), r"labels\.csv:5: unreadable from here on"),
    "quote over a line": (lambda root: edit(root / "labels.csv", "p3.jpg,dog,val\n", 'p3.jpg,dog,"val\n"\n'), r"labels\.csv:5: a quote that is not closed"),
    "control character": (lambda root: edit(root / "labels.csv", "p3.jpg,dog", "p3.jpg,d\1og"), r"labels\.csv:5: .*a control character"),
    "huge cell": (lambda root: edit(root / "labels.csv", "p3.jpg,dog", "p3.jpg," + "d" * 200_000), r"labels\.csv:5: unreadable from here on"),
    "same picture otherwise": (lambda root: edit(root / "labels.csv", "p3.jpg", "./p2.jpg"), r"labels\.csv:5: p2\.jpg is a duplicate of line 4"),
    "no name": (lambda root: edit(root / "labels.csv", "p3.jpg", "."), r"labels\.csv:5: filename '\.' leaves the data folder"),
    "split named like an error": (lambda root: edit(root / "labels.csv", "p5.jpg,dog,night", "p5.jpg,dog,night_mae"), r"labels\.csv:7: split 'night_mae' is the name of a score"),
    "split named like a score": (lambda root: edit(root / "labels.csv", "p5.jpg,dog,night", "p5.jpg,dog,mean_ap"), r"labels\.csv:7: split 'mean_ap' is the name of a score"),
    "empty line of classes.txt": (lambda root: (root / "classes.txt").write_text("dog\n\ncat\n"), r"classes\.txt:2: an empty line"),
    "no class at all": (lambda root: [(root / "classes.txt").unlink(), (root / "boxes.csv").unlink(), shutil.rmtree(root / "masks"), (root / "labels.csv").write_text("filename,classes\np0.jpg,\np1.jpg,\n")], r"labels\.csv: names no class"),
    "TIFF of 32 bits": (
        lambda root: [Image.fromarray(np.zeros(SIZE, np.int32)).save(root / "images" / "p2.tif"), edit(root / "labels.csv", "p2.jpg", "p2.tif")],
        r"images/p2\.tif: not a readable picture",
    ),
    "box beyond": (lambda root: edit(root / "boxes.csv", "5,5,40,30", "5,5,41,30"), r"boxes\.csv:3: box \(5\.0, 5\.0, 41\.0, 30\.0\) reaches beyond p1\.jpg \(40 x 30"),
    "box turned round": (lambda root: edit(root / "boxes.csv", "0,0,10,20", "10,0,0,20"), r"boxes\.csv:2: box .* is empty"),
    "box of no number": (lambda root: edit(root / "boxes.csv", "0,0,10,20", "0,0,10,x"), r"boxes\.csv:2: box of p1\.jpg: ymax is 'x', expected pixels"),
    "box of nan": (lambda root: edit(root / "boxes.csv", "0,0,10,20", "0,0,10,nan"), r"boxes\.csv:2: box .* is empty"),
    "box of an unknown class": (lambda root: edit(root / "boxes.csv", "p1.jpg,dog", "p1.jpg,cow"), r"boxes\.csv:2: unknown class 'cow'"),
    "box class without label": (lambda root: edit(root / "boxes.csv", "p1.jpg,dog", "p3.jpg,cat"), r"boxes\.csv:2: box of cat, which the label of p3\.jpg lacks"),
    "box of no picture": (lambda root: edit(root / "boxes.csv", "p1.jpg,dog", "p8.jpg,dog"), r"boxes\.csv:2: p8\.jpg is not among"),
    "class name twice": (lambda root: (root / "classes.txt").write_text("dog\ncat\ndog\n"), r"classes\.txt:3: class 'dog' is a duplicate of line 1"),
    "amount beyond float32": (lambda root: edit(root / "labels.csv", "p3.jpg,dog", "p3.jpg,dog=1e39"), r"labels\.csv:5: p3\.jpg has 1e\+39 of dog"),
    "amount that becomes 0": (lambda root: edit(root / "labels.csv", "p3.jpg,dog", "p3.jpg,dog=1e-50"), r"labels\.csv:5: p3\.jpg has 1e-50 of dog"),
    "folder for a mask": (lambda root: (root / "masks" / "p9.png").mkdir(), r"masks/p9\.png: a folder, expected a mask"),
    "link for a picture": (lambda root: [(root / "images" / "p2.jpg").unlink(), (root / "images" / "p2.jpg").symlink_to("nowhere.jpg")], r"images/p2\.jpg is missing"),
    "two pictures, one mask": (
        lambda root: (picture(root / "images" / "p0.png"), edit(root / "labels.csv", "p2.jpg,", "p0.png,cat")),
        r"p0\.png: p0\.png is a duplicate of p0\.jpg: both would have the mask p0\.png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_every_problem_is_named_by_check_and_stops_fit_with_the_same_words(folder, case, capsys):
    damage, message = BROKEN[case]
    damage(folder)
    assert main(["data", "check", str(folder)]) == 1
    printed = capsys.readouterr().out
    with pytest.raises(ValueError, match=message) as stopped:
        FolderDataModule(root=str(folder))
    words = [line.strip() for line in str(stopped.value).splitlines()[1:]]
    assert all(line in printed.splitlines() for line in words)


def test_names_with_a_colon_and_hidden_folders(tmp_path, capsys):
    root = tmp_path / "my: data"
    picture(root / "images" / "cat" / "0.jpg")
    picture(root / "images" / "dog" / "0.jpg", 1)
    picture(root / "images" / ".ipynb_checkpoints" / "0.jpg")
    assert main(["data", "check", str(root)]) == 0
    assert "2 classes" in capsys.readouterr().out
    (root / "images" / "cat" / "0.jpg").write_bytes(b"")
    assert main(["data", "check", str(root)]) == 1
    assert f"{root}/images/cat/0.jpg: not a readable picture" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "images"), r"pets: no folder of pictures here, expected .*images"),
        (lambda root: (root / "labels.csv").write_text("file;classes\np0.jpg;cat\n"), r"labels\.csv:1: no column 'filename'; got file;classes, expected filename,classes"),
        (lambda root: (root / "classes.txt").write_text("".join(f"c{n}\n" for n in range(302))), r"pets: 302 classes, but with masks or boxes at most 254"),
        (lambda root: [(root / "labels.csv").unlink(), (root / "labels.csv").symlink_to("nowhere")], r"labels\.csv: expected a file, but it links to nothing"),
        (lambda root: [(root / "classes.txt").unlink(), (root / "classes.txt").mkdir()], r"classes\.txt: expected a file"),
        (lambda root: [(root / "boxes.csv").unlink(), (root / "boxes.csv").symlink_to("nowhere")], r"boxes\.csv: expected a file, but"),
        (lambda root: [shutil.rmtree(root / "masks"), (root / "masks").write_text("")], r"masks: expected a folder"),
        (lambda root: (root / "labels.csv").write_text(""), r"labels\.csv:1: no column 'filename'; got nothing"),
        (lambda root: (root / "labels.csv").write_text("filename,classes\n"), r"labels\.csv: names no picture"),
        (lambda root: (root / "labels.csv").write_bytes("filename,classes\nä,b".encode("latin-1")), r"labels\.csv: not UTF-8"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_at_all_is_an_error(folder, damage, message, capsys):
    damage(folder)
    assert main(["data", "check", str(folder)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_folder(folder)
