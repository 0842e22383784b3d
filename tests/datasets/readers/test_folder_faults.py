# ruff: noqa: E501, one case a line
"""What a folder of one's own holds and does not say: unread files, splits in folders, names that look alike, units."""

import re
import unicodedata

import numpy as np
import pytest
from fake_folder import SIZE, make_folder, mask, picture
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.methods.gain import GAIN

NFC, NFD = "B\u00e4r", "Ba\u0308r"


def said(contents):
    return [str(problem) for problem in contents.problems]


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "pets")


@pytest.fixture
def class_folders(tmp_path):
    for name in ("cat", "dog"):
        for number in range(3):
            picture(tmp_path / "own" / "images" / name / f"{number}.png", number)
    return tmp_path / "own"


# Files of kinds that nobody reads -------------------------------------------------------------------------

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


def test_a_class_without_a_picture_is_a_problem(class_folders):
    (class_folders / "images" / "bird" / "deeper").mkdir(parents=True)
    (class_folders / "images" / "cow").mkdir()
    (class_folders / "images" / "cow" / "notes.txt").write_text("to come")
    assert said(read_folder(class_folders)) == [
        f"{class_folders}/images/{name}: holds no picture, so it would be no class: expected pictures, or no such folder"
        for name in ("bird", "cow")
    ]


@pytest.mark.parametrize("suffix", [".PNG", ".jpg", ".gif", ".tif", ".bmp", ".npy"])
def test_masks_of_other_kinds_are_one_problem_with_their_count(folder, suffix):
    for path in list((folder / "masks").glob("*.png")):
        path.rename(path.with_suffix(suffix))
    (problem,) = read_folder(folder).problems
    assert problem.file == folder / "masks" / f"p0{suffix}"
    assert problem.what == (
        f"not read: masks are PNG files, their names end in .png (2 files of {suffix}, this is the first)"
    )


def test_a_class_that_nobody_drew_is_a_note(folder):
    for path in (folder / "masks").glob("*.png"):
        path.unlink()
    mask(folder / "masks" / "cat" / "p0.png", {1: (0, 0)})
    (folder / "masks" / "dog").mkdir()
    contents = read_folder(folder)
    assert contents.problems == []
    assert contents.notes == [f"{folder}/masks/dog holds no mask: nobody drew this class"]


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


# Hidden files ---------------------------------------------------------------------------------------------


def test_hidden_files_are_neither_pictures_nor_masks(folder):
    for name in ("masks/._p0.png", "masks/.ipynb_checkpoints/p0-checkpoint.png", "masks/__MACOSX/p0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "masks" / "Thumbs.db").write_bytes(b"\0")
    (folder / "images" / "._p0.jpg").write_bytes(b"\0\5\x16\7")
    contents = read_folder(folder)
    assert (contents.problems, contents.notes) == ([], [])


def test_a_hidden_picture_in_a_table_is_a_problem(folder):
    picture(folder / "images" / ".ipynb_checkpoints" / "p0.jpg")
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text + ".ipynb_checkpoints/p0.jpg,cat,train\n")
    assert said(read_folder(folder)) == [
        f"{folder}/labels.csv:8: filename '.ipynb_checkpoints/p0.jpg' is that of a hidden file or folder, expected none: "
        "they are never read"
    ]


# Splits that are folders ----------------------------------------------------------------------------------


def test_a_table_beside_class_folders_is_named(class_folders):
    for name in ("annotations.csv", "bounding_boxes.txt", "README.md", "readme.txt", "LICENSE"):
        (class_folders / name).write_text("1 60.0 27.0 325.0 304.0\n")
    contents = read_folder(class_folders)
    assert contents.problems == []
    assert contents.notes == ["not read, beside images/: annotations.csv, bounding_boxes.txt"]


def test_masks_whose_palettes_contradict_each_other_are_a_problem(tmp_path):
    colours = [(0, 0, 0), (9, 200, 9), (200, 9, 9)]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "masks").mkdir()
    for number in range(4):
        picture(tmp_path / "images" / f"{number}.png", number)
        indices = np.zeros(SIZE, np.uint8)
        indices[:9, :9], indices[-9:, -9:] = 1, 2
        painted = Image.frombytes("P", SIZE[::-1], indices.tobytes())
        order = [0, 2, 1] if number == 2 else [0, 1, 2]
        painted.putpalette([channel for index in order for channel in colours[index]])
        painted.save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "labels.csv").write_text(
        "filename,classes\n" + "".join(f"{number}.png,cat;dog\n" for number in range(4))
    )
    (problem,) = read_folder(tmp_path).problems
    assert problem.file == tmp_path / "masks" / "2.png"
    assert problem.what.startswith("paints index 1 in the colour that most masks have for index 2")


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


# Names that look alike ------------------------------------------------------------------------------------


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


def test_class_folders_of_two_unicode_forms_are_one_class(tmp_path):
    for number, name in enumerate((NFC, NFD, "cat ", "cat")):
        picture(tmp_path / "images" / name / "0.png", number)
    contents = read_folder(tmp_path)
    assert contents.problems == []
    assert contents.listing.class_names == (NFC, "cat")
    assert sorted(contents.listing.labels.argmax(1).tolist()) == [0, 0, 1, 1]


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


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("P0.png", "with other upper and lower case"),
        ("p0\u200b.png", "with other blanks or invisible letters ('p0\\u200b')"),
    ],
)
def test_a_mask_that_is_almost_called_like_its_picture_is_named(folder, name, why):
    (folder / "masks" / "p0.png").rename(folder / "masks" / name)
    assert said(read_folder(folder)) == [
        f"{folder}/masks/{name}: a mask of none of the labelled pictures; that of p0 is called so {why}"
    ]


def test_a_mask_in_another_unicode_form_than_its_picture_is_named(tmp_path):
    picture(tmp_path / "images" / f"{NFD}.png")
    mask(tmp_path / "masks" / f"{NFC}.png", {1: (0, 0)})
    (tmp_path / "labels.csv").write_text(f"filename,classes\n{NFC}.png,cat\n")
    (problem,) = said(read_folder(tmp_path))
    assert unicodedata.is_normalized("NFC", problem.split("masks/")[1].split(":")[0])
    assert problem.endswith("is called so in another Unicode form (NFC, expected NFD)")


@pytest.mark.parametrize("split", ["train\u200b", "\uff54rain", "Train", "tra\u00adin"])
def test_a_split_that_looks_like_one_of_ours_is_a_problem(folder, split):
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace(",train\n", f",{split}\n", 1))
    (problem,) = read_folder(folder).problems
    assert (problem.file, problem.what) == (folder / "labels.csv", f"split is {split!a}, expected 'train'")


def test_settings_name_classes_in_any_unicode_form(tmp_path):
    for number in range(6):
        picture(tmp_path / "images" / f"{number}.png", number)
        mask(tmp_path / "masks" / f"{number}.png", {1: (0, 0)})
    rows = "".join(f"{number}.png,{NFC},{'val' if number > 3 else 'train'}\n" for number in range(6))
    (tmp_path / "labels.csv").write_text("filename,classes,split\n" + rows)
    (tmp_path / "list.txt").write_text(f"2.png\t{NFD}\n")
    for budget, drawn in (({NFD: 2}, 2), (str(tmp_path / "list.txt"), 1)):
        data = FolderDataModule(root=str(tmp_path), accuracy_class=NFD, mask_budget=budget, image_size=8)
        data.setup("fit")
        assert (data.accuracy_class, len(data.masked_set)) == (NFC, drawn)
    assert GAIN([NFC, "cat"], 32, score_classes=[NFD]).scored == [0]


# Units and order of boxes ---------------------------------------------------------------------------------


def boxed(root, rows, sizes=(48, 64), exif=None):
    """Pictures of a size, each with a box."""
    (root / "images").mkdir(parents=True)
    for number in range(len(rows)):
        grey = Image.new("RGB", sizes[::-1], (number, 99, 99))
        grey.save(root / "images" / f"{number}.png", **({"exif": exif} if exif else {}))
    names = range(len(rows))
    (root / "labels.csv").write_text("filename,classes\n" + "".join(f"{name}.png,cat\n" for name in names))
    table = "".join(f"{name}.png,cat,{row}\n" for name, row in zip(names, rows, strict=True))
    (root / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n" + table)
    return root


@pytest.mark.parametrize(
    ("rows", "lines", "words"),
    [
        (["0.2,0.3,0.5,0.8"] * 3, [2, 3, 4], "relative"),
        (["10,12,30,40", "0.2,0.3,0.5,0.8", "5,5,9,9"], [3], "relative"),
        (["0.5,0.5,0.2,0.3", "0.2,0.2,0.9,1.0"], [2, 3], "relative"),
        (["0,0,1,1"] * 3, [2, 3, 4], "relative"),
        (["10,12,30,40", "10,12,10.4,40"], [3], "is less than a pixel wide or high"),
        (["30,12,10,20", "10,30,8,9", "3,4,20,30"], [2], "2 of 3 boxes have xmax <= xmin or ymax <= ymin.* fit their pictures as x,y,width,height"),
        (["30,12,10,20", "3,4,60,47"], [2], "is empty, expected xmin < xmax"),
        (["30,12,10,20", "3,4,70,40"], [2, 3], "is empty, expected xmin < xmax|reaches beyond"),
    ],
)  # fmt: skip
def test_numbers_that_are_no_corners_in_pixels_are_named_with_their_line(
    tmp_path, rows, lines, words, capsys
):
    root = boxed(tmp_path / "own", rows)
    found = read_folder(root).problems
    assert [problem.line for problem in found] == lines
    assert {problem.file for problem in found} == {root / "boxes.csv"}
    for problem in found:
        assert re.search(words, problem.what)
    assert main(["data", "check", str(root)]) == 1
    with pytest.raises(ValueError, match=r"boxes\.csv:"):
        FolderDataModule(root=str(root))


def test_boxes_that_may_be_percent_are_a_problem_or_at_least_a_note(tmp_path):
    corners = [f"{x},{y},{x + 20},{y + 30}" for x in (2, 40, 78) for y in (1, 35, 65)]
    (problem,) = read_folder(boxed(tmp_path / "spread", corners, (480, 640))).problems
    assert "percent" in problem.what
    contents = read_folder(boxed(tmp_path / "corner", ["2,3,90,60"] * 9, (480, 640)))
    assert contents.problems == []
    assert (
        "all boxes lie within 0..100 of larger pictures: they must be pixels, not percent" in contents.notes
    )
    contents = read_folder(boxed(tmp_path / "beyond", ["2,3,90,60", "2,3,101,60"], (480, 640)))
    assert (contents.problems, contents.notes) == ([], [])


def test_boxes_that_may_be_thousandths_are_a_problem(tmp_path):
    corners = [f"{x},{y},{x + 200},{y + 300}" for x in (20, 400, 780) for y in (10, 350, 650)]
    (problem,) = read_folder(boxed(tmp_path / "spread", corners, (3000, 4000))).problems
    assert "all 9 boxes lie within 0..1000 of larger pictures: thousandths? expected pixels" in problem.what
    contents = read_folder(boxed(tmp_path / "beyond", [*corners[1:], "20,10,1001,300"], (3000, 4000)))
    assert contents.problems == []


def test_boxes_of_pictures_that_exif_turns_are_said(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    root = boxed(tmp_path / "own", ["1,2,40,60", "1,2,60,40"], exif=exif.tobytes())  # shown 48 wide, 64 high
    contents = read_folder(root)
    assert contents.listing.size.tolist() == [[64, 48], [64, 48]]
    assert [problem.line for problem in contents.problems] == [3]
    assert contents.notes == [
        "2 of 2 pictures with boxes are turned or mirrored by EXIF, the first 0.png: boxes are in pixels of the picture "
        "as it is shown, not as it is stored"
    ]
