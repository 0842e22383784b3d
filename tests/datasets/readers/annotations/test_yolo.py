"""YOLO's labels, as the tools that write them lay them out."""

import numpy as np
import pytest
from fake_folder import SIZE, picture
from pycocotools import mask as coco_mask

from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.annotations import Asked

LEFT_OUT, NEGATIVE = Asked(unannotated="leave_out"), Asked(unannotated="negative")
BOX, OUTLINE = "0 0.5 0.5 0.25 0.2\n", "1 0.1 0.1 0.6 0.1 0.6 0.9\n"


def write(root, name, text=BOX, *, label="labels", image="images"):
    """Write a file of labels and its picture of 40 x 30 pixels."""
    picture(root / image / f"{name}.jpg", len(text))
    path = root / label / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def settings(root, text="names: [cat, dog]\ntrain: images/train\nval: images/val\n"):
    root.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(text)
    return root / "data.yaml"


def read(root, asked=Asked()):  # noqa: B008, immutable
    return reader_of(root, asked=asked).read(root)


@pytest.mark.parametrize("by_file", [False, True])
def test_boxes_outlines_and_splits_of_data_yaml(tmp_path, by_file):
    file = settings(tmp_path)
    write(tmp_path, "train/a", BOX + OUTLINE)
    write(tmp_path, "val/a", "\n")
    contents = read(file if by_file else tmp_path)
    assert contents.problems == []
    train, val = contents.listings["train"], contents.listings["val"]
    assert train.class_names == ("cat", "dog")
    assert train.labels.tolist() == [[1, 1]]
    assert val.labels.tolist() == [[0, 0]]
    np.testing.assert_allclose(train.box_corners, [[15, 12, 25, 18], [4, 3, 24, 27]])
    masks = train.class_masks(0, SIZE)
    assert masks.class_idx.tolist() == [1]
    expected = coco_mask.decode(coco_mask.frPyObjects([[4, 3, 24, 3, 24, 27]], *SIZE))[..., 0]
    np.testing.assert_array_equal(masks.mask[0], expected)


def test_a_training_takes_data_yaml(tmp_path):
    file = settings(tmp_path)
    for name in ("train/a", "train/b", "val/a"):
        write(tmp_path, name)
    data = FolderDataModule(root=str(file), image_size=32, supervision="box", mask_budget=1.0, num_workers=0)
    data.setup("fit")
    assert data.masked_set[0]["mask"].float().mean() == pytest.approx(0.05, abs=0.015)


def test_roboflow_s_folders_of_splits(tmp_path):
    settings(tmp_path, "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    for split in ("train", "valid"):
        write(tmp_path, "1_jpg.rf.abc", label=f"{split}/labels", image=f"{split}/images")
    (tmp_path / "README.roboflow.txt").write_text("exported")
    contents = read(tmp_path)
    assert contents.problems == []
    assert {split: one.ids.tolist() for split, one in contents.listings.items()} == {
        "train": ["train/images/1_jpg.rf.abc.jpg"],
        "val": ["valid/images/1_jpg.rf.abc.jpg"],
    }


def test_names_by_number_and_lists_of_pictures(tmp_path):
    settings(
        tmp_path,
        "path: /elsewhere\nnames: {0: cat, 1: dog}\ntrain: autosplit_train.txt\nval: autosplit_val.txt\n",
    )
    for name in ("a", "b", "c"):
        write(tmp_path, name)
    (tmp_path / "autosplit_train.txt").write_text("./images/a.jpg\n./images/c.jpg\n")
    (tmp_path / "autosplit_val.txt").write_text("./images/b.jpg\n")
    contents = read(tmp_path)
    assert contents.problems == []
    assert {split: one.ids.tolist() for split, one in contents.listings.items()} == {
        "train": ["images/a.jpg", "images/c.jpg"],
        "val": ["images/b.jpg"],
    }


def test_one_folder_for_train_and_val_is_divided_as_others_are(tmp_path):
    settings(tmp_path, "names: [cat]\ntrain: images\nval: images\n")
    write(tmp_path, "a")
    write(tmp_path, "b")
    contents = read(tmp_path)
    assert contents.problems == []
    assert list(contents.listings) == [""]


@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_classes_of_a_list_beside_pictures_and_labels(tmp_path, name):
    (tmp_path / name).write_text("кот\nсобака\n")
    write(tmp_path, "x/a", "1 0.5 0.5 0.5 0.5\n", label="data", image="data")
    contents = read(tmp_path)
    assert contents.problems == []
    assert contents.listings[""].class_names == ("кот", "собака")
    assert contents.listings[""].labels.tolist() == [[0, 1]]


def test_without_names_classes_are_numbers(tmp_path):
    write(tmp_path, "a", "10 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5\n")
    assert read(tmp_path).listings[""].class_names == ("2", "10")


def test_a_picture_without_a_file_is_what_somebody_says(tmp_path):
    """Ultralytics leaves the file out where there is nothing, and so does who has not come to it."""
    settings(tmp_path, "names: [cat]\nnc: 1\n")
    write(tmp_path, "a")
    write(tmp_path, "b", "")
    picture(tmp_path / "images" / "c.jpg")
    (problem,) = read(tmp_path).problems
    assert str(problem).startswith(f"{tmp_path}: 1 of 3 pictures have no annotation, the first images/c.jpg")
    assert read(tmp_path, NEGATIVE).listings[""].labels.tolist() == [[1], [0], [0]]
    assert read(tmp_path, LEFT_OUT).listings[""].ids.tolist() == ["images/a.jpg", "images/b.jpg"]


def test_a_label_is_not_given_to_the_picture_of_another_split(tmp_path):
    settings(tmp_path)
    write(tmp_path, "train/a")
    write(tmp_path, "val/b")
    (tmp_path / "images" / "train" / "a.jpg").rename(tmp_path / "images" / "val" / "a.jpg")
    problems = list(map(str, read(tmp_path, LEFT_OUT).problems))
    assert len(problems) == 1
    assert f"{tmp_path}/labels/train/a.txt: 'images/train/a' is missing" in problems[0]


def test_confidences_and_poses_leave_the_box(tmp_path):
    settings(tmp_path, "names: [cat]\nnc: 1\nkpt_shape: [2, 3]\n")
    write(tmp_path, "a", "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 2\n")
    write(tmp_path, "b", "0 0.5 0.5 0.5 0.5 0.9\n")
    listing = read(tmp_path).listings[""]
    assert listing.box_corners.tolist() == [[10, 7.5, 30, 22.5]] * 2
    assert not listing.is_drawn.any()


def test_two_pictures_of_one_stem_are_named(tmp_path):
    settings(tmp_path, "names: [cat]\nnc: 1\n")
    write(tmp_path, "a")
    picture(tmp_path / "images" / "a.png")
    assert "'images/a' may be images/a.jpg or images/a.png" in str(read(tmp_path, LEFT_OUT).problems[0])


BAD = {
    "a class beyond the names": ("2 0.5 0.5 0.1 0.1\n", "line 1: class 2, expected one of 0 cat, 1 dog"),
    "half a class": ("0.5 0.5 0.5 0.1 0.1\n", "line 1: class 0.5, expected one of"),
    "pixels": (
        "\n0 20 15 10 5\n",
        "line 2: numbers beyond the picture, expected shares of its width and height",
    ),
    "no number": ("0 a 0.5 0.1 0.1\n", "line 1: could not convert string to float: 'a', expected numbers"),
    "nan": ("0 nan 0.5 0.1 0.1\n", "line 1: numbers beyond the picture"),
    "an endless class": ("inf 0.5 0.5 0.1 0.1\n", "line 1: class inf, expected one of"),
    "too few": (
        "0 0.5 0.5 0.1\n",
        "line 1: 4 numbers, expected class, x, y, width, height, or the points of an outline",
    ),
    "half a point": ("0 0.5 0.5 0.1 0.1 0.2 0.2 0.3\n", "line 1: 8 numbers, expected class"),
    "a side below nought": ("0 0.5 0.5 -0.1 0.1\n", "line 1: a box of"),
    "no text": ("\0", "not UTF-8 text"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path, case):
    text, expected = BAD[case]
    settings(tmp_path)
    file = write(tmp_path, "train/a", text)
    assert [one for one in map(str, read(tmp_path).problems) if one.startswith(f"{file}: {expected}")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: 3\ntrain: x\n", "names: 3, expected a list, or names by number"),
        ("names: [a\ntrain: x\n", "not readable as YAML"),
        ("train: x\nnames: {a: b}\n", "names: {'a': 'b'}, expected a list, or names by number"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, text, expected):
    write(tmp_path, "a")
    file = settings(tmp_path, text)
    assert expected in str(read(file, LEFT_OUT).problems[0])
