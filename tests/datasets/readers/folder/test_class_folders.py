"""Folders whose names are classes, and folders whose names are splits."""

import pytest
from fake_folder import NFC, NFD, picture, said

from gain_lightning.cli import main
from gain_lightning.datasets.readers.folder import read_folder


def test_pictures_without_a_label_at_all_are_listed(tmp_path, capsys):
    picture(tmp_path / "images" / "0.jpg")
    assert main(["data", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "0.jpg: lies in no class's folder, and there is no labels.csv" in printed
    assert "1 problem" in printed


def test_a_class_without_a_picture_is_a_problem(class_folders):
    (class_folders / "images" / "bird" / "deeper").mkdir(parents=True)
    (class_folders / "images" / "cow").mkdir()
    (class_folders / "images" / "cow" / "notes.txt").write_text("to come")
    assert said(read_folder(class_folders)) == [
        f"{class_folders}/images/{name}: holds no picture, so it would be no class: expected pictures, or no such "
        "folder"
        for name in ("bird", "cow")
    ]


def test_class_folders_of_two_unicode_forms_are_one_class(tmp_path):
    for number, name in enumerate((NFC, NFD, "cat ", "cat")):
        picture(tmp_path / "images" / name / "0.png", number)
    contents = read_folder(tmp_path)
    assert contents.problems == []
    assert contents.listing.class_names == (NFC, "cat")
    assert sorted(contents.listing.labels.argmax(1).tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "at", "row"),
    [
        (["train/cat/0", "train/dog/0", "val/cat/0", "test/dog/0"], "test", "test/dog/0.png,dog,test"),
        (["Training/cat/0", "Validation/cat/0"], "Training", "Training/cat/0.png,cat,Training"),
        (["train/0", "valid/0"], "train", "train/0.png,CLASS,train"),
        (["train/cat/0", "train/dog/0"], "train", "train/cat/0.png,cat,train"),
        (["train/cat/0", "val/cat/0", "more/cat/0"], "train", "train/cat/0.png,cat,train"),
        (["cat/train/0", "cat/test/0", "dog/train/0"], "cat/test", "cat/test/0.png,cat,test"),
        (["fold_1/0", "fold_2/0"], "fold_1", "fold_1/0.png,CLASS,fold_1"),
        (["cat/fold 1/0", "dog/fold 2/0"], "cat/fold 1", "cat/fold 1/0.png,cat,fold 1"),
        (["trainA/cat/0", "testA/cat/0", "trainB/dog/0"], "testA", "testA/cat/0.png,cat,testA"),
        (
            ["seg_train/cat/0", "seg_test/cat/0", "seg_pred/cat/0"],
            "seg_test",
            "seg_test/cat/0.png,cat,seg_test",
        ),
        (["train (1)/cat/0", "test (1)/dog/0"], "test (1)", "test (1)/dog/0.png,dog,test (1)"),
    ],
)
def test_folders_of_splits_are_a_problem_that_says_how_to_lay_them_out(tmp_path, names, at, row):
    for number, name in enumerate(names):
        picture(tmp_path / "images" / f"{name}.png", number)
    (problem,) = read_folder(tmp_path).problems
    assert problem.file == tmp_path / "images" / at
    assert problem.what.endswith(f"labels.csv with the header filename,classes,split and rows such as {row}")


def test_trains_are_a_class_among_others(tmp_path):
    for number, name in enumerate(["train/0", "bus/0", "train/1", "bus/1"]):
        picture(tmp_path / "images" / f"{name}.png", number)
    contents = read_folder(tmp_path)
    assert (contents.problems, contents.notes) == ([], [])
    assert contents.listing.class_names == ("bus", "train")


def test_things_for_tests_and_trains_are_classes(tmp_path):
    for number, name in enumerate(["test_tube/0", "bullet_train/0", "test_tube/1", "bullet_train/1"]):
        picture(tmp_path / "images" / f"{name}.png", number)
    contents = read_folder(tmp_path)
    assert (contents.problems, contents.notes) == ([], [])


def test_folders_that_all_hold_the_same_folders_are_a_note(tmp_path):
    for number, name in enumerate(["part1/cat/0", "part1/dog/0", "part2/cat/0", "part2/dog/0"]):
        picture(tmp_path / "images" / f"{name}.png", number)
    contents = read_folder(tmp_path)
    assert contents.problems == []
    assert contents.notes == [
        "each of part1, part2 holds the folders cat, dog: the outer ones are the classes here"
    ]


@pytest.mark.parametrize("names", [["pets/cat/0", "pets/dog/0"], ["cat/0", "cat/1"]])
def test_one_class_of_all_pictures_is_a_problem(tmp_path, names):
    for number, name in enumerate(names):
        picture(tmp_path / "images" / f"{name}.png", number)
    (problem,) = read_folder(tmp_path).problems
    assert problem.file == tmp_path / "images" / names[0].split("/")[0]
    assert problem.what.startswith("is the only class, so every picture has the same label")
    contents = read_folder(
        tmp_path, class_names=("cat", "pets")
    )  # further pictures of a data set with more classes
    assert contents.problems == []
