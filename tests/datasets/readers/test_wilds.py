"""The table of WILDS, on a made miniature of Waterbirds, and on the real set where there is one."""

import collections

import numpy as np
import pytest
from fake_folder import mask, picture
from fake_waterbirds import BIRDS, HEIGHT, NAMES, make_waterbirds
from small_run import EXPERIMENTS

from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule
from gain_lightning.datasets.readers import reader_of, wilds

CLIPPED = (
    "2 of 20 boxes reach beyond their picture and are clipped to it, the first at {root}/bounding_boxes.txt:3"
)


@pytest.fixture
def root(tmp_path):
    return make_waterbirds(tmp_path / "waterbirds")


def opened(root, **options):
    with pytest.warns(UserWarning, match="clipped"):
        return FolderDataModule(root=str(root), image_size=32, batch_size=2, num_workers=0, **options)


def test_pictures_are_of_the_splits_classes_and_groups_that_the_table_says(root):
    data = opened(root, value_names=NAMES, group_by=["place"], supervision="box", mask_budget=0.5)
    data.setup("fit")
    assert data.class_names == ("landbird", "waterbird")
    assert data.group_names == ("landbird+land", "landbird+water", "waterbird+land", "waterbird+water")
    assert (len(data.train_set), len(data.masked_set), len(data.val_set)) == (8, 4, 4)
    assert {name: len(images) for name, images in data.test_sets.items()} == {"test": 8}
    for split, images in enumerate([data.train_set, data.val_set, data.test_sets["test"]]):
        found = zip(images.ids, images.labels.argmax(1), images.groups, strict=True)
        expected = [
            (f"{number % 3:03d}.Bird/Bird_{number}.jpg", y, 2 * y + place)
            for number, (y, place, of_split) in enumerate(BIRDS, start=1)
            if of_split == split
        ]
        assert sorted(found) == sorted(expected)


def test_without_names_the_numbers_are_shown(root):
    data = opened(root, group_by=["place"])
    assert data.class_names == ("0", "1")
    assert data.group_names == ("0+place=0", "0+place=1", "1+place=0", "1+place=1")


def test_a_file_names_the_classes(root):
    (root / "classes.txt").write_text("landbird\nwaterbird\nseabird\n")
    listing = wilds.read(root).listings["train"]
    assert listing.class_names == ("landbird", "waterbird", "seabird")
    assert listing.labels.sum(0).tolist() == [4, 4, 0]


def test_boxes_are_clipped_to_their_pictures_and_counted(root, capsys):
    contents = wilds.read(root)
    assert contents.changes == (CLIPPED.format(root=root),)
    corners = {}
    for listing in contents.listings.values():
        assert (listing.box_class == listing.labels[listing.box_row].argmax(1)).all()
        assert (listing.has_box == (listing.labels > 0)).all()
        for row, image_id in enumerate(listing.ids):
            corners[int(image_id.rpartition("_")[2][:-4])] = listing.boxes(row).corners.tolist()
    assert corners.pop(3) == [[0, 8, 27.5, 28]]
    assert corners.pop(len(BIRDS)) == [[10.25, 8, 40.25, HEIGHT]]
    assert all(box == [[10.25, 8, 40.25, 28]] for box in corners.values())
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"note: {CLIPPED.format(root=root)}" in said
    assert "--model.task single_label" in said
    assert "0 problems" in said


def test_boxes_and_masks_need_not_be_there(root):
    (root / "bounding_boxes.txt").unlink()
    mask(root / "masks" / "001.Bird" / "Bird_1.png", {1: (3, 4)}, (HEIGHT, 60))
    contents = wilds.read(root)
    assert not contents.problems
    train = contents.listings["train"]
    assert train.is_drawn.tolist() == [True] + [False] * 7
    assert not train.has_box.any()


def test_a_table_of_ones_own_comes_first(root):
    picture(root / "images" / "a.jpg")
    assert reader_of(root).name == "a table of WILDS"
    (root / "labels.csv").write_text("filename,classes\na.jpg,cat\n")
    assert reader_of(root).name == "a folder of pictures"


TABLE, BOXES = "metadata.csv", "bounding_boxes.txt"
HEADER = "img_id,img_filename,y,split,place\n"
ONE = "1,001.Bird/Bird_1.jpg,0,0,0\n"
# What is done to a file, and what is said; None deletes the file.
SPOILED = {
    "no column": (TABLE, "img_id,img_filename,y\n", r"metadata\.csv:1: no column 'split'; got img_id,img_filename,y"),
    "no picture at all": (TABLE, HEADER, r"metadata\.csv: names no picture"),
    "no class": (TABLE, HEADER + "1,001.Bird/Bird_1.jpg,nan,0,0\n", r"metadata\.csv:2: y of 001\.Bird/Bird_1\.jpg is "
                 r"'nan', expected the number of a class from 0 on"),
    "no split": (TABLE, HEADER + "1,001.Bird/Bird_1.jpg,0,3,0\n", r"metadata\.csv:2: split of 001\.Bird/Bird_1\.jpg "
                 r"is '3', expected one of 0 \(train\), 1 \(val\), 2 \(test\)"),
    "twice": (TABLE, HEADER + ONE + ONE, r"metadata\.csv:3: 001\.Bird/Bird_1\.jpg is a duplicate of line 2"),
    "one number for two": (TABLE, HEADER + ONE + "1,002.Bird/Bird_2.jpg,1,0,0\n",
                           r"metadata\.csv:3: img_id 1 is a duplicate of line 2"),
    "outside": (TABLE, HEADER + "1,../a.jpg,0,0,0\n", r"metadata\.csv:2: filename '\.\./a\.jpg' leaves the data"),
    "no picture": ("001.Bird/Bird_1.jpg", None, r"metadata\.csv:2: \S+Bird_1\.jpg is missing"),
    "no numbers": (TABLE, "img_filename,y,split\n001.Bird/Bird_1.jpg,0,0\n",
                   r"metadata\.csv:1: no column 'img_id', by which bounding_boxes\.txt names pictures"),
    "no name": ("classes.txt", "landbird\n", r"metadata\.csv:3: y of 002\.Bird/Bird_2\.jpg is 1, expected 0\.\.0"),
    "broken box": (BOXES, "1 2 3\n", r"bounding_boxes\.txt:1: got '1 2 3', expected img_id x y width height"),
    "a box elsewhere": (BOXES, "1 90 3 4 5\n", r"txt:1: box of 001\.Bird/Bird_1\.jpg shows no part of its picture of "
                        r"60 x 40 pixels"),
    "shares": (BOXES, "1 .2 .2 .5 .5\n2 .2 .2 .5 .5\n", r"txt:1: box \S+ \S+ \S+ \S+ lies within 0\.\.1: relative\?"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_missing_or_broken_is_named_with_its_line(name, root):
    file, text, message = SPOILED[name]
    (root / file).unlink(missing_ok=True)
    if text is not None:
        (root / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        FolderDataModule(root=str(root), group_by=["place"])


# Names, and what is said of them.
UNNAMED = {
    "column": (
        {"plaice": ["land", "water"]},
        r"data\.value_names names 'plaice', expected one of classes, place, ",
    ),
    "value": (
        {"place": ["land"]},
        r"metadata\.csv:3: place of 002\.Bird/Bird_2\.jpg is '1', expected 0\.\.0",
    ),
    "class": ({"classes": ["landbird"]}, r"metadata\.csv: class '1' has no name in data\.value_names"),
}


@pytest.mark.parametrize("kind", UNNAMED)
def test_a_number_without_a_name_is_refused(kind, root):
    value_names, message = UNNAMED[kind]
    with pytest.raises(ValueError, match=message):
        FolderDataModule(root=str(root), value_names=value_names)


@pytest.mark.filterwarnings("ignore:2 of 20 boxes")
def test_gain_ext_trains_on_its_boxes(root, tmp_path):
    options = ["--model.task=single_label", "--data.supervision=box", "--data.mask_budget=0.1"]
    options += ["--data.value_names={place: [land, water]}", "--data.group_by=[place]"]
    options += ["--data.batch_size=2", "--data.num_workers=0", "--model.weights=none", "--model.warmup=0"]
    quiet = ["--trainer.fast_dev_run=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    config = ["--config", str(EXPERIMENTS / "folder" / "gain_ext.yaml"), f"--data.root={root}"]
    assert main(["fit", *config, *options, *quiet, f"--run_dir={tmp_path / 'run'}"]) == 0


@pytest.mark.slow
def test_the_real_set_has_the_counts_of_its_table(waterbirds_root):
    contents = wilds.read(waterbirds_root)
    assert not contents.problems
    # Eight boxes reach beyond their picture by 0.8 to 12 pixels; 45 do by at most 0.6, since scaling rounds.
    assert contents.changes[0].startswith("53 of 11788 boxes reach beyond")
    count = collections.Counter(
        (split, y, place)
        for split, listing in contents.listings.items()
        for y, place in zip(
            listing.labels.argmax(1).tolist(), listing.attributes.values["place"].tolist(), strict=True
        )
    )
    assert count == {
        ("train", 0, "0"): 3694,
        ("train", 1, "1"): 1101,
        ("val", 0, "0"): 461,
        ("val", 0, "1"): 460,
        ("val", 1, "0"): 139,
        ("val", 1, "1"): 139,
        ("test", 0, "0"): 2255,
        ("test", 0, "1"): 2255,
        ("test", 1, "0"): 642,
        ("test", 1, "1"): 642,
    }
    # A box covers 32 % of its picture in the median.
    shares = []
    for listing in contents.listings.values():
        sides = listing.box_corners[:, 2:] - listing.box_corners[:, :2]
        shares.append(sides.prod(1) / listing.size[listing.box_row].prod(1))
    assert np.median(np.concatenate(shares)) == pytest.approx(0.32, abs=0.01)
