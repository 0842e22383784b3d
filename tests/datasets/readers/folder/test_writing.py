"""A data set of any kind is written as a folder of our own form, and marks are merged into one."""

import json

import numpy as np
import pytest
from fake_coco import SQUARE, an_object, coco_content, make_coco
from fake_folder import SIZE, make_folder, picture

from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.readers.folder.writing import write_folder
from gain_lightning.support.files import read_text

CROWD = {"size": list(SIZE), "counts": [600, 300, 300]}
OBJECTS = [
    an_object(0, 7, SQUARE, [3, 4, 10, 9]),
    an_object(0, 0, [[5, 5, 30, 5, 30, 20, 5, 20]], [5, 5, 25, 15]),
    an_object(1, 0, CROWD, iscrowd=1),
    an_object(1, 0, SQUARE, [3, 4, 10, 9]),
    an_object(2, 7, None, [1, 2, 3, 4]),
]


def imported(file, out, *words):
    return main(["data", "import", str(file), "--out", str(out), *words])


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_our_form_says_what_the_annotations_say(tmp_path, capsys):
    file = make_coco(tmp_path / "set", OBJECTS)
    assert imported(file, tmp_path / "out") == 0
    assert capsys.readouterr().out.endswith("3 pictures, 3 of them new; masks of 2 and boxes of 3 written\n")
    theirs = reader_of(file).read(file).listings[""]
    ours = read_folder(tmp_path / "out")
    assert ours.problems == []
    assert ours.listing.class_names == theirs.class_names == ("cat", "dog")
    assert ours.listing.ids.tolist() == theirs.ids.tolist()
    np.testing.assert_array_equal(ours.listing.labels, theirs.labels)
    np.testing.assert_array_equal(ours.listing.box_corners, theirs.box_corners)
    for row in range(3):
        own, other = (listing.class_masks(row, SIZE) for listing in (ours.listing, theirs))
        assert (own is None) == (other is None) == (row == 2)
        if own is not None:
            assert own.class_idx.tolist() == other.class_idx.tolist()
            np.testing.assert_array_equal(own.mask, other.mask)
    assert (ours.listing.class_masks(1, SIZE).mask == VOID).sum() == 300


@pytest.mark.parametrize("how", ["link", "copy"])
def test_pictures_are_linked_or_copied_and_never_twice(tmp_path, how, capsys):
    file = make_coco(tmp_path / "set", OBJECTS)
    for _ in range(2):
        assert imported(file, tmp_path / "out", "--pictures", how) == 0
    assert "3 pictures, 0 of them new" in capsys.readouterr().out
    pictures = list((tmp_path / "out" / "images").iterdir())
    assert len(pictures) == 3
    assert all(path.is_symlink() == (how == "link") for path in pictures)
    assert pictures[0].read_bytes() == (tmp_path / "set" / pictures[0].name).read_bytes()
    assert len(read_text(tmp_path / "out" / "labels.csv").splitlines()) == 4


def test_splits_are_kept(tmp_path):
    for split in ("train", "valid"):
        make_coco(tmp_path / "set" / split, OBJECTS)
    assert imported(tmp_path / "set", tmp_path / "out") == 0
    contents = reader_of(tmp_path / "out").read(tmp_path / "out")
    assert {split: listing.ids.tolist() for split, listing in contents.listings.items()} == {
        "train": [f"train/p{number}.jpg" for number in range(3)],
        "val": [f"valid/p{number}.jpg" for number in range(3)],
    }


def new_marks(tmp_path, name="p4.jpg"):
    """Marks of a cat and a bird on a picture of :func:`make_folder`, whose class 1 is dog and 2 is cat."""
    bird = [[20, 4, 30, 4, 30, 13, 20, 13]]
    content = coco_content([an_object(0, 0, SQUARE), an_object(0, 9, bird)], (name,))
    content["categories"].append({"id": 9, "name": "bird"})
    file = tmp_path / "marks.json"
    file.write_text(json.dumps(content))
    return file


def test_marks_are_merged_into_a_folder_with_masks_of_indices(tmp_path):
    out = make_folder(tmp_path / "own")
    before = {name: (out / name).read_bytes() for name in files_of(out)}
    assert imported(new_marks(tmp_path), out) == 0
    found = read_folder(out)
    assert found.problems == []
    assert found.listing.class_names == ("dog", "cat", "bird")
    row = found.listing.ids.tolist().index("p4.jpg")
    assert found.splits.tolist() == ["train", "train", "train", "val", "test", "night"]
    assert found.listing.labels[row].tolist() == [0, 1, 1]
    mask = found.listing.index_mask(row, SIZE)
    assert (mask[4:13, 3:13] == 2).all()
    assert (mask[4:13, 20:30] == 3).all()
    changed = {name for name in files_of(out) if before.get(name) != (out / name).read_bytes()}
    assert changed == {"labels.csv", "classes.txt", "masks/p4.png"}


def test_a_class_that_is_marked_anew_takes_the_place_of_what_was_marked(tmp_path):
    file = make_coco(tmp_path / "set", OBJECTS)
    assert imported(file, tmp_path / "out") == 0
    again = [an_object(0, 7, [[20, 4, 30, 4, 30, 13, 20, 13]], [20, 4, 10, 9]), an_object(1, 0, SQUARE)]
    file.write_text(json.dumps(coco_content(again)))
    assert imported(file, tmp_path / "out", "--unannotated", "leave_out") == 0
    listing = read_folder(tmp_path / "out").listing
    cat, dog = listing.class_masks(0, SIZE).mask
    assert dog[4:13, 20:30].all()
    assert dog.sum() == 90
    assert cat[5:20, 5:30].all()
    assert not (listing.class_masks(1, SIZE).mask == VOID).any()
    boxes = listing.boxes(0)
    assert boxes.corners[boxes.class_idx == 1].tolist() == [[20, 4, 30, 13]]
    assert boxes.corners[boxes.class_idx == 0].tolist() == [[5, 5, 30, 20]]


def test_another_picture_of_the_same_name_is_refused(tmp_path):
    file = make_coco(tmp_path / "set", OBJECTS)
    assert imported(file, tmp_path / "out", "--pictures", "copy") == 0
    picture(tmp_path / "set" / "p1.jpg", 99)
    assert imported(file, tmp_path / "out", "--images", str(tmp_path / "set")) == 1


def test_names_that_a_table_cannot_hold_are_changed_and_said(tmp_path, capsys):
    content = coco_content(OBJECTS)
    content["categories"] = [{"id": 7, "name": "dog/hound;x"}, {"id": 0, "name": "кот, чёрный"}]
    file = make_coco(tmp_path / "set", [])
    file.write_text(json.dumps(content))
    assert imported(file, tmp_path / "out") == 0
    assert "note: class 'dog/hound;x' is written as 'dog_hound_x'" in capsys.readouterr().out
    found = read_folder(tmp_path / "out")
    assert found.problems == []
    assert found.listing.class_names == ("кот, чёрный", "dog_hound_x")


def test_what_check_refuses_is_not_written(tmp_path, capsys):
    file = make_coco(tmp_path / "set", OBJECTS[:2])
    assert imported(file, tmp_path / "out") == 1
    assert "2 of 3 pictures have no annotation" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_splits_takes_no_pictures_with_splits(tmp_path):
    out = make_folder(tmp_path / "own")
    file = make_coco(tmp_path / "set", [an_object(0, 7, SQUARE)], ("q.jpg",))
    contents = reader_of(file).read(file)
    with pytest.raises(ValueError, match="the pictures that come in have no split"):
        write_folder(contents, out)
