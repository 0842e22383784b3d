# ruff: noqa: E501, one case a line
"""What lies in a folder beside what is read."""

import pytest
from fake_folder import said

from gain_lightning.datasets.readers.folder import read_folder

DATA = b"\0\0\0\x18ftyp" + bytes(range(99))


@pytest.mark.parametrize("name", ["a.HEIC", "a.jfif", "a.gif", "a.npy", "a.avif", "a.jpg ", "a"])
def test_pictures_of_unread_kinds_are_one_problem_with_their_count(class_folders, name):
    for place in ("cat", "dog"):
        (class_folders / "images" / place / name).write_bytes(DATA)
    (problem,) = read_folder(class_folders).problems
    kind = name[1:] or "no ending"
    assert problem.file == class_folders / "images" / "cat" / name
    assert problem.what.endswith(f"(2 files of {kind}, this is the first)")
    assert problem.what.startswith("not read: pictures are .jpg, .jpeg, .png")


def test_text_beside_pictures_and_unread_kinds_beside_a_table_are_notes(class_folders, folder):
    (class_folders / "images" / "LICENSE").write_text("free")
    contents = read_folder(class_folders)
    assert contents.problems == []
    assert contents.notes == [f"not read: 1 file of no ending, the first {class_folders}/images/LICENSE"]
    (folder / "images" / "a.heic").write_bytes(DATA)
    contents = read_folder(folder)
    assert contents.problems == []
    assert contents.notes == [f"not read: 1 file of .heic, the first {folder}/images/a.heic"]


@pytest.mark.parametrize(
    ("old", "new"), [("masks", "mask"), ("masks", "Masks"), ("boxes.csv", "box.csv"), ("labels.csv", "Labels.csv"), ("classes.txt", "class.txt"), ("labels.csv", "labels.xlsx"), ("masks", "masks.old")]
)  # fmt: skip
def test_a_name_that_is_almost_right_is_a_problem(folder, old, new):
    (folder / old).rename(folder / new)
    assert f"{folder}/{new}: not read: is it {old}? expected that name, letter by letter" in said(
        read_folder(folder)
    )


def test_other_folders_and_archives_are_named(folder):
    (folder / "annotations").mkdir()
    (folder / "masks.zip").write_bytes(b"PK\x03\x04\0\0\xff")
    (folder / "README.md").write_text("mine")
    contents = read_folder(folder)
    assert contents.problems == []
    assert contents.notes == ["not read, beside images/: annotations, masks.zip"]


def test_hidden_files_are_neither_pictures_nor_masks(folder):
    for name in ("masks/._p0.png", "masks/.ipynb_checkpoints/p0-checkpoint.png", "masks/__MACOSX/p0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "masks" / "Thumbs.db").write_bytes(b"\0")
    (folder / "images" / "._p0.jpg").write_bytes(b"\0\5\x16\7")
    contents = read_folder(folder)
    assert (contents.problems, contents.notes) == ([], [])


def test_a_table_beside_class_folders_is_named(class_folders):
    for name in ("annotations.csv", "bounding_boxes.txt", "README.md", "readme.txt", "LICENSE"):
        (class_folders / name).write_text("1 60.0 27.0 325.0 304.0\n")
    contents = read_folder(class_folders)
    assert contents.problems == []
    assert contents.notes == ["not read, beside images/: annotations.csv, bounding_boxes.txt"]
