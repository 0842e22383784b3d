"""Groups of pictures, from a folder's table and from made scenes."""

import numpy as np
import pytest
from fake_folder import picture

from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule, ShapesDataModule
from gain_lightning.datasets.sample import collate
from gain_lightning.datasets.shapes import SCENES, Shapes

# Training shows no seabird on land; the test shows no landbird on water.
BIRDS = [
    ("landbird", "land", "train"),
    ("seabird", "water", "train"),
    ("landbird", "water", "val"),
    ("seabird", "land", "val"),
    ("seabird", "land", "test"),
    ("landbird", "land", "test"),
]


def folder(root, header, rows):
    """Write pictures p0.jpg, p1.jpg, ... and a table of them."""
    for number, _ in enumerate(rows):
        picture(root / "images" / f"p{number}.jpg", number)
    lines = [f"p{number}.jpg,{','.join(cells)}" for number, cells in enumerate(rows)]
    (root / "labels.csv").write_text("\n".join([f"filename,{header}", *lines]) + "\n")
    return root


def opened(root, **options):
    data = FolderDataModule(
        root=str(root), image_size=8, batch_size=1, num_workers=0, mask_budget=0, **options
    )
    data.setup("fit")
    return data


def names_of(data, images):
    return [data.group_names[group] for group in images.groups]


def test_groups_are_a_class_and_an_attribute_and_are_called_the_same_in_every_split(tmp_path):
    data = opened(folder(tmp_path, "classes,place,split", BIRDS), group_by=["place"])
    assert data.group_names == ("landbird+land", "landbird+water", "seabird+land", "seabird+water")
    assert names_of(data, data.train_set) == ["landbird+land", "seabird+water"]
    assert names_of(data, data.val_set) == ["landbird+water", "seabird+land"]
    assert names_of(data, data.test_sets["test"]) == ["seabird+land", "landbird+land"]
    batch = collate([data.train_set[0], data.train_set[1]])
    assert batch["group"].tolist() == [0, 3]
    assert names_of(data, data.image_set("val")) == ["landbird+water", "seabird+land"]


def test_a_masked_subset_keeps_its_groups(tmp_path):
    root = folder(tmp_path, "classes,place,split", BIRDS)
    (root / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\np1.jpg,seabird,1,1,20,20\n")
    data = opened(root, group_by=["place"], supervision="box")
    assert data.masked_set is None
    data.mask_budget = 1
    data.setup("fit")
    assert names_of(data, data.masked_set) == ["seabird+water"]


def test_a_column_group_is_used_as_it_is(tmp_path):
    rows = [(bird, f"{place} {number % 2}", split) for number, (bird, place, split) in enumerate(BIRDS)]
    data = opened(folder(tmp_path, "classes,group,split", rows))
    assert data.group_names == ("land 0", "land 1", "water 0", "water 1")
    assert names_of(data, data.train_set) == ["land 0", "water 1"]


def test_without_a_column_there_are_no_groups(tmp_path):
    data = opened(folder(tmp_path, "classes,place,split", BIRDS))
    assert data.group_names == ()
    assert data.train_set.groups is None
    assert data.train_set[0]["group"] == -1


def test_a_number_stands_with_its_column(tmp_path):
    rows = [
        (bird, str(int(place == "water")), "2" if split == "val" else "1", split)
        for bird, place, split in BIRDS
    ]
    data = opened(folder(tmp_path, "classes,place,camera,split", rows), group_by=["camera", "place"])
    assert data.group_names == (
        "landbird+camera=1+place=0",
        "landbird+camera=2+place=1",
        "seabird+camera=1+place=0",
        "seabird+camera=1+place=1",
        "seabird+camera=2+place=0",
    )


def test_pictures_with_several_classes_are_grouped_by_their_attributes_or_by_the_class_that_counts(tmp_path):
    several = [("landbird;seabird", "land", "train"), *BIRDS]
    root = folder(tmp_path, "classes,place,split", several)
    assert opened(root, group_by=["place"]).group_names == ("land", "water")
    data = opened(root, group_by=["place"], accuracy_class="seabird")
    assert data.group_names == ("seabird+land", "seabird+water", "no seabird+land", "no seabird+water")
    assert names_of(data, data.train_set) == ["seabird+land", "no seabird+land", "seabird+water"]


# The header, the rows, what groups are made of, and what is said.
REFUSED = {
    "no such column": ("classes,place,split", BIRDS, ["plaice"], r"labels\.csv:1: data\.group_by names 'plaice', "
                       r"expected one of place; did you mean 'place'\?"),
    "no further column": ("classes,split", [(bird, split) for bird, _, split in BIRDS], ["place"],
                          r"labels\.csv: data\.group_by names 'place', expected a column that there is"),
    "no value": ("classes,place,split", [*BIRDS, ("seabird", "", "val")], ["place"],
                 r"labels\.csv:8: p6\.jpg has no place, expected a value"),
    "no group": ("classes,group,split", [*BIRDS, ("seabird", "", "val")], None,
                 r"labels\.csv:8: p6\.jpg has no group, expected a value"),
    "one name for two": ("classes,x,y,split", [("cat", "a+b", "c", "train"), ("cat", "a", "b+c", "val")], ["x", "y"],
                         r"two groups are called 'cat\+a\+b\+c', expected no '\+' in x, y"),
    "no columns": ("classes,place,split", BIRDS, [], r"data\.group_by is \[\], expected columns of the table, or null"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_group_is_refused_with_its_line(name, tmp_path):
    header, rows, group_by, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        opened(folder(tmp_path, header, rows), group_by=group_by)


def test_folders_of_classes_have_no_attributes(tmp_path):
    for number in range(4):
        picture(tmp_path / "images" / "ab"[number % 2] / f"{number}.jpg", number)
    with pytest.raises(ValueError, match=r"labels\.csv: data\.group_by names 'place'"):
        opened(tmp_path, group_by=["place"])


def test_the_check_names_a_picture_without_a_group(tmp_path, capsys):
    root = folder(tmp_path, "classes,group,split", [*BIRDS, ("seabird", "", "val")])
    assert main(["data", "check", str(root)]) == 1
    assert "labels.csv:8: p6.jpg has no group" in capsys.readouterr().out


@pytest.mark.parametrize("scene", ["boat", "camera"])
def test_a_scene_knows_the_group_of_its_pictures(scene):
    images = Shapes(scene, "train", range(60), bias=0.5, supervision="none")
    names = SCENES[scene].GROUPS
    for row, made in enumerate(images.pictures):
        if scene == "boat":
            expected = f"{'boat' if made.label[0] else 'no boat'}+{made.ground or 'no water'}"
        else:
            expected = f"{'ab'[made.label.argmax()]}+{made.ground}"
        assert names[images.groups[row]] == expected
        assert images[row]["group"] == images.groups[row]
    assert set(images.groups) == {0, 1, 2, 3}


def test_the_biased_pictures_of_shapes_are_of_two_groups_and_amounts_have_none():
    data = ShapesDataModule(num_train=40, num_val=10)
    data.setup("fit")
    assert set(np.array(data.group_names)[data.train_set.groups]) == {"boat+water", "no boat+no water"}
    counts = ShapesDataModule(scene="count", num_train=40, num_val=10)
    counts.setup("fit")
    assert counts.group_names == ()
    assert counts.train_set.groups is None
