# ruff: noqa: E501, one case a line
"""COCO's JSON, as it is published and as people and tools write it."""

import json

import numpy as np
import pytest
from fake_coco import SQUARE, an_image, an_object, coco_content, make_coco
from fake_folder import SIZE, picture
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from gain_lightning.cli import main
from gain_lightning.constants import VOID
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.annotations import Asked

LEFT_OUT, NEGATIVE = Asked(unannotated="leave_out"), Asked(unannotated="negative")


def read(root, asked=LEFT_OUT):
    """Read annotations; the one listing of a set without splits, and all that was said of it."""
    contents = reader_of(root, asked=asked).read(root)
    return contents.listings[""], contents


def masks_of(listing, row):
    masks = listing.class_masks(row, tuple(listing.size[row]))
    return dict(zip(masks.class_idx.tolist(), masks.mask, strict=True))


def blobs(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 2, (size[0] // 5, size[1] // 5)), np.ones((5, 5))).astype(np.uint8)


def runs_of(mask):
    """COCO's compressed runs of a mask, as a file has them."""
    runs = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def counts_of(mask):
    """COCO's plain runs of a mask, counted here one by one."""
    counts, value = [0], 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def test_masks_are_those_of_pycocotools_pixel_for_pixel(tmp_path):
    rng = np.random.default_rng(0)
    objects = []
    for number in range(60):
        rings = [
            rng.uniform(-3, 42, 2 * rng.integers(3, 12)).round(1).tolist() for _ in range(rng.integers(1, 4))
        ]
        shape = (rings, runs_of(blobs(number)), counts_of(blobs(number)))[number % 3]
        objects.append(an_object(number % 3, (0, 7)[number % 2], shape, id=number + 1))
    file = make_coco(tmp_path, objects)
    listing, contents = read(file)
    assert contents.problems == []
    theirs = COCO(str(file))
    for row, number in enumerate(listing.ids.tolist()):
        image = int(number[1])
        for class_idx, category in enumerate((0, 7)):
            ids = theirs.getAnnIds(imgIds=image, catIds=category)
            expected = np.any([theirs.annToMask(one) for one in theirs.loadAnns(ids)], 0)
            np.testing.assert_array_equal(masks_of(listing, row)[class_idx] == 1, expected)


def test_ids_have_gaps_and_begin_at_nought_and_classes_come_by_id(tmp_path):
    listing, contents = read(
        make_coco(tmp_path, [an_object(0, 7, SQUARE), an_object(1, 0, SQUARE), an_object(2, 7, SQUARE)])
    )
    assert contents.problems == []
    assert listing.class_names == ("cat", "dog")
    assert listing.labels.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_ids_may_be_texts(tmp_path):
    content = coco_content([an_object("a", "x", SQUARE)])
    content["images"] = [an_image("a", "p0.jpg")]
    content["categories"] = [{"id": "x", "name": "cat"}]
    picture(tmp_path / "p0.jpg")
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert read(tmp_path / "c.json")[0].labels.tolist() == [[1]]


def test_a_label_is_the_union_of_what_is_annotated(tmp_path):
    objects = [an_object(0, 7, SQUARE), an_object(0, 0, None, [1, 2, 3, 4]), an_object(0, 7, SQUARE)]
    listing, _ = read(make_coco(tmp_path, objects))
    assert listing.ids.tolist() == ["p0.jpg"]
    assert listing.labels.tolist() == [[1, 1]]


def test_pictures_without_annotation_are_refused_until_somebody_says_what_they_are(tmp_path, capsys):
    file = make_coco(tmp_path, [an_object(0, 7, SQUARE)])
    assert main(["data", "check", str(file)]) == 1
    expected = f"{file}: 2 of 3 pictures have no annotation, the first images[1].file_name (p1.jpg): expected --unannotated"
    assert expected in capsys.readouterr().out
    with pytest.raises(ValueError, match="2 of 3 pictures have no annotation"):
        FolderDataModule(root=str(file))


def test_they_are_negatives_or_left_out(tmp_path):
    file = make_coco(tmp_path, [an_object(0, 7, SQUARE)])
    listing, contents = read(file, NEGATIVE)
    assert contents.problems == []
    assert listing.labels.tolist() == [[0, 1], [0, 0], [0, 0]]
    listing, contents = read(file, LEFT_OUT)
    assert contents.problems == []
    assert listing.ids.tolist() == ["p0.jpg"]
    assert contents.changes == (
        f"2 pictures without annotation are left out, the first at {file}: images[1].file_name",
    )


def test_another_word_for_them_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.unannotated is 'none', expected one of negative, leave_out"):
        read(make_coco(tmp_path, []), Asked(unannotated="none"))


def test_a_crowd_is_a_label_and_its_pixels_are_void(tmp_path):
    crowd = np.zeros(SIZE, np.uint8)
    crowd[:, 20:30] = 1
    objects = [an_object(0, 7, SQUARE), an_object(0, 7, counts_of(crowd), iscrowd=1)]
    objects += [an_object(1, 0, counts_of(crowd), [20, 0, 10, 30], iscrowd=1)]
    listing, _ = read(make_coco(tmp_path, objects))
    mask = masks_of(listing, 0)[1]
    np.testing.assert_array_equal(mask == VOID, crowd == 1)
    assert (mask == 1).sum() == 90
    assert listing.labels.tolist() == [[0, 1], [1, 0]]
    assert listing.has_mask.tolist() == [[False, True], [False, False]]
    np.testing.assert_array_equal(masks_of(listing, 1)[0], np.where(crowd, VOID, 0))
    np.testing.assert_array_equal(listing.mask(1, SIZE), np.where(crowd, VOID, 0))
    assert len(listing.box_row) == 0


def test_an_ignored_region_is_void_for_all_and_no_label(tmp_path):
    right = [[20, 0, 40, 0, 40, 30, 20, 30]]
    objects = [an_object(0, 7, SQUARE), an_object(0, 99, right, ignore=1), an_object(1, 0, SQUARE)]
    listing, contents = read(make_coco(tmp_path, objects))
    assert contents.problems == []
    assert listing.labels.tolist() == [[0, 1], [1, 0]]
    mask = masks_of(listing, 0)[1]
    assert ((mask == VOID) == (np.arange(40) >= 20)).all()
    assert (listing.mask(0, SIZE)[:, 20:] == VOID).all()


def test_an_object_of_which_only_the_box_is_known_is_void_beside_drawn_ones(tmp_path):
    objects = [an_object(0, 7, SQUARE, [3, 4, 10, 9]), an_object(0, 7, [], [20, 10, 5, 5])]
    objects += [an_object(1, 0, None, [20, 10, 5, 5])]
    listing, _ = read(make_coco(tmp_path, objects))
    mask = masks_of(listing, 0)[1]
    assert np.argwhere(mask == VOID).min(0).tolist() == [10, 20]
    assert (mask == VOID).sum() == 25
    assert (mask == 1).sum() == 90
    assert listing.is_drawn.tolist() == [True, False]
    assert listing.class_masks(1, SIZE) is None
    assert listing.box_row.tolist() == [0, 0, 1]
    assert listing.box_corners[0].tolist() == [3, 4, 13, 13]


def test_of_overlapping_objects_the_smaller_lies_in_front(tmp_path):
    """One dog before the cat and a large one elsewhere: all dogs together are larger than the cat."""
    cat, dog, far = (
        [x, y, x + w, y, x + w, y + w, x, y + w] for x, y, w in ((0, 0, 10), (2, 2, 4), (20, 0, 18))
    )
    listing, _ = read(
        make_coco(tmp_path, [an_object(0, 7, [dog]), an_object(0, 7, [far]), an_object(0, 0, [cat])])
    )
    mask = listing.mask(0, SIZE)
    assert (mask[2:6, 2:6] == 2).all()
    assert (mask[:10, :10] == 1).sum() == 100 - 16
    masks = masks_of(listing, 0)
    assert masks[0][:10, :10].all()
    assert masks[1][2:6, 2:6].all()


def test_holes_are_holes(tmp_path):
    """As runs, or as an outline that goes in along a seam and out again."""
    ring = np.zeros(SIZE, np.uint8)
    ring[2:22, 2:22] = 1
    ring[8:16, 8:16] = 0
    seam = [2, 2, 22, 2, 22, 22, 2, 22, 2, 2, 8, 8, 8, 16, 16, 16, 16, 8, 8, 8]
    listing, _ = read(make_coco(tmp_path, [an_object(0, 7, runs_of(ring)), an_object(1, 7, [seam])]))
    np.testing.assert_array_equal(masks_of(listing, 0)[1], ring)
    drawn = masks_of(listing, 1)[1]
    assert (drawn & ring).sum() / (drawn | ring).sum() > 0.95
    assert not drawn[9:15, 9:15].any()


def test_outlines_of_fewer_than_three_points_are_left_out_and_said(tmp_path):
    rings = [[3, 4, 13, 4, 13, 13], [1, 1, 9, 9], [1, 1, 9, 9, 1, 1]]
    file = make_coco(tmp_path, [an_object(0, 7, rings), an_object(1, 7, [[5, 5]], [1, 1, 5, 5])])
    listing, contents = read(file)
    assert contents.problems == []
    assert contents.changes == (
        f"3 outlines have fewer than 3 points and are left out, the first at {file}: annotations[0]",
        f"1 pictures without annotation are left out, the first at {file}: images[2].file_name",
    )
    assert listing.labels.tolist() == [[0, 1], [0, 1]]
    assert listing.is_drawn.tolist() == [True, False]


def test_boxes_are_clipped_to_their_picture_and_one_outside_is_left_out(tmp_path):
    boxes = [[-5, -5, 20, 20], [30, 20, 50, 50], [60, 60, 5, 5], [1, 1, 0, 5]]
    file = make_coco(tmp_path, [an_object(0, 7, None, box) for box in boxes])
    listing, contents = read(file)
    assert listing.box_corners.tolist() == [[0, 0, 15, 15], [30, 20, 40, 30]]
    assert listing.labels.tolist() == [[0, 1]]
    assert sorted(change.split(",")[0] for change in contents.changes) == [
        "1 boxes have no area and are left out",
        "1 boxes show no part of their picture and are left out",
        "2 boxes reach beyond their picture and are clipped to it",
        "2 pictures without annotation are left out",
    ]


def test_names_may_be_in_any_script(tmp_path):
    names = ("海/船.jpg", "Ba\u0308r.png", "корабль 1.jpg")
    content = coco_content([an_object(number, 0, SQUARE) for number in range(3)], names)
    content["images"][1]["file_name"] = "B\u00e4r.png"
    content["categories"] = [{"id": 0, "name": "कुत्ता"}]
    for number, name in enumerate(names):
        picture(tmp_path / name, number)
    (tmp_path / "c.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8-sig")
    listing, contents = read(tmp_path / "c.json")
    assert contents.problems == []
    assert listing.ids.tolist() == list(names)
    assert listing.class_names == ("कुत्ता",)


def test_a_folder_of_one_file_for_each_split_is_read_by_split(tmp_path):
    """As Roboflow exports: names of pictures are the same in every folder."""
    for split in ("train", "valid", "test"):
        make_coco(tmp_path / split, [an_object(number, 7, SQUARE) for number in range(3)])
        (tmp_path / split / "coco.json").rename(tmp_path / split / "_annotations.coco.json")
    contents = reader_of(tmp_path).read(tmp_path)
    assert contents.problems == []
    assert {split: listing.ids.tolist()[0] for split, listing in contents.listings.items()} == {
        "train": "train/p0.jpg",
        "val": "valid/p0.jpg",
        "test": "test/p0.jpg",
    }


def test_pictures_lie_elsewhere_as_in_coco_itself(tmp_path):
    for split in ("train", "val"):
        names = tuple(f"{split}{number}.jpg" for number in range(3))
        for number, name in enumerate(names):
            picture(tmp_path / f"{split}2017" / name, number)
        file = tmp_path / "annotations" / f"instances_{split}2017.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            json.dumps(coco_content([an_object(number, 7, SQUARE) for number in range(3)], names))
        )
    contents = reader_of(tmp_path).read(tmp_path)
    assert contents.problems == []
    assert {split: len(listing) for split, listing in contents.listings.items()} == {"train": 3, "val": 3}
    one = tmp_path / "annotations" / "instances_val2017.json"
    listing, contents = read(one)
    assert contents.problems == []
    assert listing.ids.tolist()[0] == "val2017/val0.jpg"
    asked = Asked(images=tmp_path / "val2017")
    assert reader_of(one, asked=asked).read(one).listings[""].ids.tolist()[0] == "val0.jpg"


def test_two_files_of_the_same_pictures_are_named(tmp_path):
    file = make_coco(tmp_path, [an_object(number, 7, SQUARE) for number in range(3)])
    (tmp_path / "more.json").write_text(file.read_text())
    contents = reader_of(tmp_path).read(tmp_path)
    assert f"'p0.jpg' is p0.jpg, a duplicate of {file}: images[0].file_name" in str(contents.problems[0])


def test_of_coco_s_own_files_the_instances_are_read(tmp_path):
    file = make_coco(tmp_path, [an_object(number, 7, SQUARE) for number in range(3)])
    (tmp_path / "person_keypoints_train2017.json").write_text(file.read_text())
    (tmp_path / "captions_train2017.json").write_text(
        json.dumps({"images": [], "annotations": [{"image_id": 1}]})
    )
    file.rename(tmp_path / "instances_train2017.json")
    contents = reader_of(tmp_path).read(tmp_path)
    assert contents.problems == []
    assert len(contents.listings[""]) == 3
    assert contents.changes == (
        f"2 files of other tasks than instances are not read, the first at {tmp_path}/captions_train2017.json",
    )


def test_a_set_without_an_annotated_picture_is_a_problem(tmp_path):
    file = make_coco(tmp_path, [])
    contents = reader_of(file, asked=LEFT_OUT).read(file)
    assert list(map(str, contents.problems)) == [f"{file}: no picture is annotated"]
    with pytest.raises(ValueError, match="no picture is annotated"):
        FolderDataModule(root=str(file), unannotated="leave_out")
    file.write_text(json.dumps(coco_content([]) | {"categories": []}))
    contents = reader_of(file, asked=NEGATIVE).read(file)
    assert list(map(str, contents.problems)) == [f"{file}: names no class: every picture is a negative"]


def test_a_training_takes_a_file_and_makes_masks_of_its_marks(tmp_path):
    file = make_coco(tmp_path, [an_object(number, 7, SQUARE) for number in range(3)])
    data = FolderDataModule(root=str(file), image_size=60, mask_budget=1.0, num_workers=0)
    data.setup("fit")
    sample = data.masked_set[0]
    assert sample["mask_class"].tolist() == [1]
    assert 0.06 < sample["mask"].float().mean() < 0.09
    assert data.val_set.truth(0).max() == 2


@pytest.mark.parametrize("what", ["check", "show"])
def test_verbs_take_a_file(tmp_path, what, capsys):
    file = make_coco(tmp_path, [an_object(number, 7, SQUARE) for number in range(3)])
    out = ["--out", str(tmp_path / "grid.png")] if what == "show" else []
    assert main(["data", what, str(file), *out]) == 0
    assert "3 pictures" in capsys.readouterr().out


def test_a_folder_with_labels_of_its_own_needs_no_word_on_annotations(tmp_path):
    with pytest.raises(ValueError, match="a folder of pictures has pictures and labels of its own"):
        reader_of(tmp_path, asked=LEFT_OUT)


def changed(path, value):
    """A file of three annotated pictures, of which one place is changed; None takes it out."""
    content = coco_content([an_object(number, 7, SQUARE, [1, 2, 3, 4]) for number in range(3)])
    at = content
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(content)


PLAIN = {"size": [30, 40], "counts": [600, 300, 300]}
BAD = {
    "no pictures": (changed(["images"], None), "Object missing required field `images`"),
    "no classes": (changed(["categories"], None), "Object missing required field `categories`"),
    "a picture without name": (changed(["images", 1, "file_name"], None), "images[1]: Object missing required field `file_name`"),
    "a name that is none": (changed(["images", 1, "file_name"], 3), "images[1].file_name: Expected `str`, got `int`"),
    "a class without name": (changed(["categories", 0, "name"], " "), "categories[0].name: is empty"),
    "a class twice": (changed(["categories", 0, "name"], "cat"), "categories[1].name: 'cat' is a duplicate"),
    "an id of a class twice": (changed(["categories", 0, "id"], 0), "categories[1].id: 0 is a duplicate"),
    "an id of a picture twice": (changed(["images", 1, "id"], 0), "images[1].id: 0 is a duplicate"),
    "no such picture": (changed(["annotations", 2, "image_id"], 99), "annotations[2].image_id: 99 is the id of none of images"),
    "no such class": (changed(["annotations", 2, "category_id"], 1), "annotations[2].category_id: 1 is the id of none of categories"),
    "a missing picture": (changed(["images", 1, "file_name"], "q.jpg"), "images[1].file_name: 'q.jpg' is missing"),
    "another size": (changed(["images", 1, "width"], 99), "images[1].file_name: 99 x 30 pixels, but the picture has 40 x 30"),
    "half a point": (changed(["annotations", 0, "segmentation"], [[1, 2, 3, 4, 5, 6, 7]]), "annotations[0]: an outline of 7 numbers, expected x, y, x, y, ..."),
    "a text in an outline": (changed(["annotations", 0, "segmentation"], [[1, "2"]]), "annotations[0].segmentation[0][1]: Expected `float`, got `str`"),
    "an outline far away": (changed(["annotations", 0, "segmentation"], [[1, 2, 1e9, 4, 5, 6]]), "annotations[0]: an outline that lies far from its picture"),
    "a box of three": (changed(["annotations", 0, "bbox"], [1, 2, 3]), "annotations[0].bbox: [1.0, 2.0, 3.0], expected x, y, width, height"),
    "a box turned over": (changed(["annotations", 0, "bbox"], [1, 2, -3, 4]), "annotations[0]: a box of (1.0, 2.0, -2.0, 6.0), whose right or lower side lies before the other"),
    "a text for a shape": (changed(["annotations", 0, "segmentation"], "x"), "annotations[0].segmentation: Expected `object | array | null`, got `str`"),
    "runs that are too short": (changed(["annotations", 0, "segmentation"], PLAIN | {"counts": [1, 2]}), "annotations[0]: runs that cover 3 pixels, expected 30 x 40 = 1200"),
    "runs below nought": (changed(["annotations", 0, "segmentation"], PLAIN | {"counts": [1300, -100]}), "annotations[0]: runs that cover 1200 pixels"),
    "runs of vast numbers": (changed(["annotations", 0, "segmentation"], PLAIN | {"counts": [10**25]}), "annotations[0]: runs with a number that is too large"),
    "runs of another size": (changed(["annotations", 0, "segmentation"], PLAIN | {"size": [40, 30]}), "annotations[0]: runs of 30 x 40 pixels, but the picture has 40 x 30"),
    "letters that are no runs": (changed(["annotations", 0, "segmentation"], PLAIN | {"counts": "\u00e9"}), "annotations[0]: compressed runs with letters that are none of COCO's"),
    "runs that break off": (changed(["annotations", 0, "segmentation"], PLAIN | {"counts": "PPP"}), "annotations[0]: compressed runs with letters that are none of COCO's"),
    "half a file": (changed(["images", 0, "id"], 0)[:-100], "Input data was truncated"),
    "no number": ('{"images": [], "categories": [], "annotations": [NaN]}', "JSON is malformed: invalid character (byte "),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, case):
    text, expected = BAD[case]
    file = make_coco(tmp_path, [])
    file.write_text(text, encoding="utf-8")
    contents = reader_of(file, asked=LEFT_OUT).read(file)
    assert [str(problem) for problem in contents.problems if str(problem).startswith(f"{file}: {expected}")]
