"""``labels.csv``, ``classes.txt`` and ``boxes.csv``."""

import pytest
from fake_folder import NFC, NFD, SIZE, mask, picture, said

from gain_lightning.datasets.readers.folder import read_folder


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


def test_column_twice_and_classes_in_another_encoding_are_errors(folder):
    (folder / "classes.txt").write_bytes("h\xe4nd\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"classes\.txt: not UTF-8"):
        read_folder(folder)
    (folder / "labels.csv").write_text("filename,classes,classes\n")
    with pytest.raises(ValueError, match=r"labels\.csv:1: a column comes twice"):
        read_folder(folder)


def test_a_hidden_picture_in_a_table_is_a_problem(folder):
    picture(folder / "images" / ".ipynb_checkpoints" / "p0.jpg")
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text + ".ipynb_checkpoints/p0.jpg,cat,train\n")
    assert said(read_folder(folder)) == [
        f"{folder}/labels.csv:8: filename '.ipynb_checkpoints/p0.jpg' is that of a hidden file or folder, expected "
        "none: they are never read"
    ]


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFD, NFC), (NFC, NFD)])
def test_names_match_whatever_their_unicode_form(tmp_path, on_disk, in_table):
    picture(tmp_path / "images" / on_disk / f"{on_disk}.png")
    mask(tmp_path / "masks" / on_disk / f"{on_disk}" / f"{on_disk}.png", {255: (0, 0)})
    (tmp_path / "labels.csv").write_text(f"filename,classes\n{in_table}/{in_table}.png,{in_table}\n")
    (tmp_path / "boxes.csv").write_text(
        f"filename,class,xmin,ymin,xmax,ymax\n{in_table}/{in_table}.png,{on_disk},1,2,30,20\n"
    )
    contents = read_folder(tmp_path)
    assert (contents.problems, contents.notes) == ([], [])
    listing = contents.listing
    assert listing.class_names == (NFC,)
    assert listing.ids.tolist() == [f"{on_disk}/{on_disk}.png"]
    assert (listing.mask(0, SIZE) == 1).sum() == 64
    assert listing.boxes(0).corners.tolist() == [[1, 2, 30, 20]]


def test_classes_that_look_the_same_are_a_problem(folder):
    (folder / "classes.txt").write_text("dog\ncat\npolar bear\npolar\u00a0bear\n")
    assert said(read_folder(folder)) == [
        f"{folder}/classes.txt: classes 'polar bear' and 'polar\\xa0bear' look the same, expected one way to write them"
    ]


@pytest.mark.parametrize(
    ("on_disk", "in_table", "why"),
    [
        ("p2.JPG", "p2.jpg", "with other upper and lower case"),
        ("p\u00a02.jpg", "p 2.jpg", "with other blanks or invisible letters ('p 2.jpg')"),
    ],
)
def test_a_missing_picture_is_named_with_the_one_that_looks_like_it(folder, on_disk, in_table, why):
    (folder / "images" / "p2.jpg").rename(folder / "images" / on_disk)
    text = (folder / "labels.csv").read_text().replace("p2.jpg", in_table)
    (folder / "labels.csv").write_text(text)
    assert said(read_folder(folder)) == [
        f"{folder}/labels.csv:4: {folder}/images/{in_table} is missing, but there is {on_disk}: the table's is {why}"
    ]


@pytest.mark.parametrize("split", ["train\u200b", "\uff54rain", "Train", "tra\u00adin"])
def test_a_split_that_looks_like_one_of_ours_is_a_problem(folder, split):
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace(",train\n", f",{split}\n", 1))
    (problem,) = read_folder(folder).problems
    assert (problem.file, problem.what) == (folder / "labels.csv", f"split is {split!a}, expected 'train'")
