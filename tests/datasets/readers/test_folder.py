# ruff: noqa: E501, one case a line
"""Folders of one's own: what is read, and that every problem is named with its file and line."""

import shutil

import numpy as np
import pytest
from fake_folder import SIZE, make_folder, mask, picture
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.images import check_image, read_image
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.drawing.palette import voc_palette
from gain_lightning.training.experiment import run_experiment


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "pets")


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


def test_splits_become_train_val_and_test_sets(folder):
    data = FolderDataModule(root=str(folder), image_size=32, num_workers=0, batch_size=2)
    data.setup("fit")
    assert data.train_set.ids.tolist() == ["p0.jpg", "p1.jpg", "p2.jpg"]
    assert data.val_set.ids.tolist() == ["p3.jpg"]
    assert {name: one.ids.tolist() for name, one in data.test_sets.items()} == {
        "test": ["p4.jpg"],
        "night": ["p5.jpg"],
    }
    sample = data.val_set[0]
    assert sample["image"].shape == (3, 32, 32)
    assert sample["mask_class"].tolist() == [0]
    assert set(sample["mask"].unique().tolist()) == {0, 1, 255}


def test_without_a_test_split_the_main_scores_are_those_of_val(folder):
    (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace(",test", ",day"))
    data = FolderDataModule(root=str(folder), image_size=32, num_workers=0, batch_size=2)
    data.setup("test")
    assert {name: one.ids.tolist() for name, one in data.test_sets.items()} == {
        "val": ["p3.jpg"],
        "day": ["p4.jpg"],
        "night": ["p5.jpg"],
    }


def test_masked_stream_takes_masks_or_boxes(folder):
    for supervision, ids, classes in (("mask", ["p0.jpg"], [1]), ("box", ["p1.jpg"], [0, 1])):
        data = FolderDataModule(root=str(folder), image_size=32, mask_budget=1.0, supervision=supervision)
        data.setup("fit")
        assert data.masked_ids == ids
        assert data.masked_set[0]["mask_class"].tolist() == classes
        for own in data.masked_set[0]["mask"]:
            assert {0, 1} <= set(own.unique().tolist())


def test_boxes_that_overlap_are_whole_and_dilation_widens(folder):
    def share(dilation):
        data = FolderDataModule(
            root=str(folder), image_size=40, mask_budget=1, supervision="box", box_dilation=dilation
        )
        data.setup("fit")
        return [(mask == 1).float().mean().item() for mask in data.masked_set[0]["mask"]]

    assert share(1.0) == pytest.approx([200 / 1200, 35 * 25 / 1200], abs=0.03)
    # sides 1.4 times as long, where the picture ends: of 10 x 20 at the corner 12 x 24 stay, of 35 x 25 all to the ends
    assert share(1.4) == pytest.approx([12 * 24 / 1200, 40 * 30 / 1200], abs=0.03)


def test_class_folders_without_tables(tmp_path):
    root = tmp_path / "two"
    for number in range(10):
        picture(root / "images" / ("good", "bad")[number % 2] / f"{number}.png", number)
    data = FolderDataModule(root=str(root), image_size=32, batch_size=2)
    data.setup("fit")
    assert data.class_names == ("bad", "good")
    assert (len(data.train_set), len(data.val_set), list(data.test_sets)) == (8, 2, ["val"])
    rows = zip(data.train_set.ids.tolist(), data.train_set.labels, strict=True)
    assert all(label.tolist() == [int(name[:3] == "bad"), int(name[:3] == "goo")] for name, label in rows)
    again = FolderDataModule(root=str(root), image_size=32)
    again.setup("test")
    assert again.val_set.ids.tolist() == data.val_set.ids.tolist()


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


def test_binary_masks_of_each_class(folder):
    shutil.rmtree(folder / "masks")
    mask(folder / "masks" / "cat" / "p1.png", {255: (0, 0), 1: (8, 0)})
    mask(folder / "masks" / "dog" / "p1.png", {1: (4, 4)})
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    assert listing.has_mask.nonzero()[0].tolist() == [1, 1]
    masks = listing.class_masks(1, SIZE)
    assert masks.class_idx.tolist() == [0, 1]
    assert masks.mask[0, 4:12, 4:12].all()
    assert masks.mask[1, :16, :8].all()
    assert masks.mask.sum((1, 2)).tolist() == [64, 128]  # both whole
    values = listing.mask(1, SIZE)  # to look at
    assert (values[4:12, 4:12] == 1).all()  # the smaller lies in front
    assert (values == 2).sum() == 2 * 64 - 4 * 4 - 4 * 4
    assert set(np.unique(values)) == {0, 1, 2}


def test_what_nobody_drew_is_no_background_in_either_kind_of_mask(folder):
    """Cat and dog by its label, only the cat drawn: in one mask of indices the same is known as in masks/cat."""
    mask(folder / "masks" / "p1.png", {2: (4, 4), 255: (20, 20)})
    mask(folder / "masks" / "p2.png", {})  # a negative: all of it is background
    mask(folder / "masks" / "p3.png", {1: (0, 0), 255: (10, 10)})
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    of_indices = listing.mask(1, SIZE)
    assert np.unique(of_indices).tolist() == [2, 255]
    assert np.unique(listing.mask(2, SIZE)).tolist() == [0]
    assert np.unique(listing.mask(3, SIZE)).tolist() == [0, 1, 255]
    shutil.rmtree(folder / "masks")
    mask(folder / "masks" / "cat" / "p1.png", {1: (4, 4)})
    by_class, _, _, _ = read_folder(folder)
    assert np.array_equal(by_class.mask(1, SIZE), of_indices)


@pytest.mark.parametrize(
    "text", ["\ufefffilename,classes\r\np0.jpg,cat\r\n", "classes,filename\ncat , p0.jpg \n"]
)
def test_tables_of_other_programs_are_read(folder, text):
    (folder / "labels.csv").write_bytes(text.encode())
    (folder / "boxes.csv").unlink()
    (folder / "masks" / "p3.png").unlink()
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    assert (listing.ids.tolist(), listing.labels.tolist()) == (["p0.jpg"], [[0, 1]])


def test_names_in_any_script(folder):
    picture(folder / "images" / "näh e" / "猫,1.jpg")
    with (folder / "labels.csv").open("a", encoding="utf-8") as file:
        file.write('"näh e/猫,1.jpg",cat,train\n')
    listing, _, problems, _ = read_folder(folder)
    assert problems == []
    assert listing.ids[-1] == "näh e/猫,1.jpg"


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


def test_a_folder_of_masks_for_no_class_spoils_none_of_the_others(folder):
    for path in (folder / "masks").rglob("*.png"):
        path.unlink()
    mask(folder / "masks" / "cat" / "p0.png", {1: (0, 0)})
    mask(folder / "masks" / "Dogs" / "p1.png", {1: (0, 0)})
    listing, _, problems, _ = read_folder(folder)
    assert [str(problem) for problem in problems] == [
        f"{folder}/masks/Dogs: unknown class 'Dogs', expected one of dog, cat"
    ]
    assert listing.has_mask[0].tolist() == [False, True]


def test_a_budget_of_a_class_draws_masks_that_show_it(folder):
    """A label alone does not say that somebody drew its pixels."""
    mask(folder / "masks" / "p1.png", {2: (0, 0)})  # labelled dog and cat, drawn is the cat
    data = FolderDataModule(
        root=str(folder), image_size=32, mask_budget={"cat": 2}, batch_size=3, num_workers=0
    )
    data.setup("fit")
    assert sorted(data.masked_ids) == ["p0.jpg", "p1.jpg"]
    data = FolderDataModule(
        root=str(folder), image_size=32, mask_budget={"dog": 1}, batch_size=3, num_workers=0
    )
    with pytest.raises(ValueError, match="dog"):
        data.setup("fit")


@pytest.mark.parametrize("orientation", [1, 6, 9])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_size_of_a_rotated_picture_is_that_of_the_decoded_one(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path, exif=exif)
    assert check_image(path) == read_image(path).shape[:2]


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


def test_pictures_without_a_label_at_all_are_listed(tmp_path, capsys):
    picture(tmp_path / "images" / "0.jpg")
    assert main(["data", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "0.jpg: lies in no class's folder, and there is no labels.csv" in printed
    assert "1 problem" in printed


def test_column_twice_and_classes_in_another_encoding_are_errors(folder):
    (folder / "classes.txt").write_bytes("h\xe4nd\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"classes\.txt: not UTF-8"):
        read_folder(folder)
    (folder / "labels.csv").write_text("filename,classes,classes\n")
    with pytest.raises(ValueError, match=r"labels\.csv:1: a column comes twice"):
        read_folder(folder)


def test_single_label_looks_at_every_set(tmp_path):
    root = tmp_path / "own"
    for number in range(6):
        picture(root / "images" / f"{number}.jpg", number)
    rows = "0.jpg,a,train\n1.jpg,b,train\n2.jpg,a,val\n3.jpg,a;b,val\n4.jpg,a,test\n5.jpg,,test\n"
    (root / "labels.csv").write_text("filename,classes,split\n" + rows)
    arguments = [
        "--data=FolderDataModule",
        f"--data.root={root}",
        "--data.image_size=32",
        "--data.batch_size=2",
    ]
    arguments += ["--data.num_workers=0", "--model.task=single_label", "--trainer.logger=false"]
    with pytest.raises(
        ValueError, match=r"1 images of validation do not have exactly one label, the first 3\.jpg"
    ):
        run_experiment(["fit", *arguments, f"--run_dir={tmp_path / 'run'}"])


def test_notes_say_what_may_not_be_meant(folder, capsys):
    picture(folder / "images" / "spare.jpg")
    (folder / "classes.txt").write_text("dog\ncat\nCat\ncow\n")
    main(["data", "check", str(folder)])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: class 'Cat' has no training picture",
        "note: class 'cow' has no training picture",
        "note: classes 'cat' and 'Cat' are two: is one a slip?",
        "note: further test sets, scored by their accuracy alone: 'night'",
        "note: a run is supervised by masks or by boxes: --data.supervision mask, or box",
        f"note: not in labels.csv and not used: 1 of images/, the first {folder}/images/spare.jpg",
    ]


def test_notes_name_splits_of_another_spelling(folder, capsys):
    text = (folder / "labels.csv").read_text().replace(",train", ",trian").replace(",val", ",valid")
    (folder / "labels.csv").write_text(text)
    assert main(["data", "check", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "note: further test sets, scored by their accuracy alone: 'night', 'trian', 'valid'" in printed
    assert "note: neither split 'train' nor 'val': of use as one of --data.test_folders alone" in printed


def test_notes_of_a_class_a_folder(tmp_path, capsys):
    for name in ("cat", "dog"):
        for number in range(3):
            picture(tmp_path / "images" / name / f"{number}.jpg")
    assert main(["data", "check", str(tmp_path)]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: one label each: train with --model.task single_label",
        "note: no test split: test scores will be those of val",
    ]


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


def test_check_counts(folder, capsys):
    assert main(["data", "check", str(folder)]) == 0
    lines = {line.split("  ")[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["class"] == ["train", "val", "test", "night"]
    assert lines["dog"] == ["1", "1", "0", "1"]
    assert lines["pictures"][-4:] == ["3", "1", "1", "1"]
    assert lines["with masks"][-4:] == ["1", "1", "0", "0"]
    assert "0 problems" in lines


def test_show_draws_a_grid(folder, capsys, tmp_path):
    assert main(["data", "show", str(folder), "--out", str(tmp_path / "a" / "grid.png")]) == 0
    with Image.open(tmp_path / "a" / "grid.png") as grid:
        assert grid.size == (6 * 206 + 6, 224 + 6)


def test_picture_damaged_after_the_start_is_named(folder):
    data = FolderDataModule(root=str(folder), image_size=32, num_workers=0, batch_size=3)
    data.setup("fit")
    (folder / "images" / "p1.jpg").write_bytes(b"gone")
    with pytest.raises(ValueError, match=r"p1\.jpg: not a readable picture"):
        next(iter(data.train_dataloader()))


def test_masks_of_two_classes_at_one_place_both_count(folder):
    shutil.rmtree(folder / "masks")
    for name in ("cat", "dog"):
        mask(folder / "masks" / name / "p1.png", {1: (4, 4)})
    contents = read_folder(folder)
    assert contents.problems == []
    assert contents.listing.has_mask[1].tolist() == [True, True]


def test_a_reordered_palette_is_a_problem_in_own_folders_too(folder):
    """Colours that are not VOC's say nothing of an index."""
    path, colours = folder / "masks" / "p0.png", voc_palette()
    with Image.open(path) as image:
        values = np.array(image)
    for palette, words in (
        (colours, []),
        (colours[[0, 2, 1]], ["its index 2 (cat) is painted in VOC's colour of 1 (dog)"]),
        ([(0, 0, 0), (255, 0, 0), (0, 128, 0)], []),
        ([(0, 0, 0), (0, 128, 0), (255, 0, 0)], []),
    ):
        image = Image.fromarray(values).convert("P")
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
        image.save(path)
        found = [str(problem) for problem in read_folder(folder).problems]
        assert [problem.split(": ", 1)[1].partition(":")[0] for problem in found] == words
