"""Another column of a table is the class: what ground, in place of what bird."""

import csv

import numpy as np
import pytest
from fake_folder import picture
from fake_waterbirds import NAMES, make_waterbirds
from PIL import Image

from gain_lightning.datasets import FolderDataModule
from gain_lightning.datasets.readers import wilds


@pytest.fixture
def root(tmp_path):
    return make_waterbirds(tmp_path / "birds")


def opened(root, **options):
    words = {"label_column": "place", "value_names": NAMES, "supervision": "outside_box", **options}
    return FolderDataModule(root=str(root), image_size=30, batch_size=1, num_workers=0, **words)


def rows_of(root, split):
    with (root / "metadata.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def test_the_label_is_the_value_of_the_column(root):
    data = opened(root, group_by=["classes"])
    data.setup("fit")
    assert data.class_names == ("land", "water")
    for split, pictures in (("0", data.train_set), ("1", data.val_set), ("2", data.test_sets["test"])):
        rows = rows_of(root, split)
        assert pictures.ids.tolist() == [row["img_filename"] for row in rows]
        assert pictures.labels.argmax(1).tolist() == [int(row["place"]) for row in rows]
        birds = [NAMES["classes"][int(row["y"])] for row in rows]
        grounds = [NAMES["place"][int(row["place"])] for row in rows]
        expected = [f"{ground}+{bird}" for ground, bird in zip(grounds, birds, strict=True)]
        assert [data.group_names[group] for group in pictures.groups] == expected


def test_numbers_without_names_are_classes_too(root):
    data = opened(root, value_names=None, group_by=["classes"])
    assert data.class_names == ("0", "1")
    assert "0+classes=1" in data.group_names


def test_a_ground_is_where_the_bird_is_not(root):
    """The box of picture 1 is 30 x 20 pixels of 60 x 40 at (10.25, 8): half of each side at 30 pixels."""
    data = opened(root, mask_budget=1.0, mask_seed=0)
    data.setup("fit")
    row = data.masked_set.ids.tolist().index("001.Bird/Bird_1.jpg")
    sample = data.masked_set[row]
    bird = np.zeros((30, 30), int)
    bird[6:21, 5:20] = 1
    assert sample["mask_class"].tolist() == [0]  # on land
    # One pixel of the edge may round either way.
    assert (sample["mask"][0].numpy() != 1 - bird).sum() <= 45
    assert sample["mask"][0, 0, 0] == 1
    assert sample["mask"][0, 12, 12] == 0


def test_boxes_that_a_class_is_outside_of_judge_nothing(root):
    data = opened(root)
    data.setup("fit")
    for pictures in (data.val_set, data.test_sets["test"]):
        assert len(pictures.listing.box_row) == 0
    assert len(data.contents.of("test").box_row) == 8


def test_masks_of_the_classes_that_were_are_left_out(root):
    with (root / "classes.txt").open("w") as file:
        file.write("landbird\nwaterbird\n")
    name = "001.Bird/Bird_1"
    mask = np.ones((40, 60), np.uint8)
    (root / "masks" / name).parent.mkdir(parents=True)
    Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    assert sum(listing.is_drawn.sum() for listing in wilds.read(root).listings.values()) == 1
    with pytest.warns(UserWarning, match="1 masks show no class of data.label_column place and are left out"):
        data = opened(root, value_names={"place": ["land", "water"]})
    assert not data.contents.of("train").has_pixels.any()


def test_what_was_several_classes_is_named_with_all(tmp_path):
    for number in range(3):
        picture(tmp_path / "images" / f"p{number}.jpg", number)
    (tmp_path / "labels.csv").write_text(
        "filename,classes,split,sky\np0.jpg,cat;dog,train,blue\np1.jpg,dog,train,grey\np2.jpg,cat,val,grey\n"
    )
    data = opened(tmp_path, label_column="sky", value_names=None, group_by=["classes"], supervision="mask")
    assert data.class_names == ("blue", "grey")
    assert data.contents.of("train").attributes.values["classes"].tolist() == ["cat;dog", "dog"]


def test_a_picture_without_a_class_has_none_to_make_groups_of(tmp_path):
    for number in range(2):
        picture(tmp_path / "images" / f"p{number}.jpg", number)
    (tmp_path / "labels.csv").write_text(
        "filename,classes,split,sky\np0.jpg,cat,train,blue\np1.jpg,,val,grey\n"
    )
    options = {"label_column": "sky", "value_names": None, "supervision": "mask"}
    with pytest.raises(ValueError, match=r"labels.csv:3: p1.jpg has no classes, expected a value"):
        opened(tmp_path, group_by=["classes"], **options)
    assert opened(tmp_path, **options).class_names == ("blue", "grey")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            "plase",
            r"metadata.csv:1: data.label_column names 'plase', expected one of place, place_filename; did you",
        ),
        ("classes", r"metadata.csv:1: data.label_column names 'classes', expected one of place"),
    ],
)
def test_a_column_that_is_not_there_is_named(root, column, message):
    with pytest.raises(ValueError, match=message):
        opened(root, label_column=column)


def test_a_picture_without_a_value_is_named(root):
    path = root / "metadata.csv"
    lines = path.read_text().splitlines()
    cells = lines[3].split(",")
    cells[4] = ""
    lines[3] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        ValueError, match=r"metadata.csv:4: .* has no place, expected a value: it is the class"
    ):
        opened(root)
