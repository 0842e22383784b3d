# ruff: noqa: E501, one case a line
"""LabelMe's JSON, a file for every picture."""

import base64

import numpy as np
import pytest
from annotated import (
    HEIGHT,
    WIDTH,
    inside,
    labelme,
    mask_shape,
    object_of,
    shape,
    turned_picture,
    write_json,
    write_pictures,
)
from read_back import LEFT_OUT, NEGATIVE, assert_says, iou, mask_of, read, read_well

from gain_lightning.constants import VOID

SIZE = (HEIGHT, WIDTH)
CAT = object_of("cat", [(10, 10), (50, 10), (50, 60), (10, 60)])
DOG = object_of("dog", [(30, 20), (90, 20), (90, 100), (30, 100)])
POLYGON = shape("polygon", "cat", CAT.outline)


def read_shapes(folder, *shapes, **more):
    """Write a picture and its file, and read them; nothing may be wrong."""
    write_pictures(folder, ["a.png"])
    write_json(folder / "a.json", labelme("a.png", *shapes, **more))
    return read_well(folder)


def test_labels_are_the_union_of_flags_and_shapes(tmp_path):
    far = object_of("cat", [(100, 70), (140, 70), (140, 110), (100, 110)])
    shapes = [POLYGON, shape("polygon", "cat", far.outline), mask_shape(DOG)]
    listing, _ = read_shapes(tmp_path, *shapes, flags={"indoors": True, "blurred": False})
    assert listing.class_names == ("cat", "dog", "indoors")
    assert listing.labels.tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(mask_of(listing, "cat"), CAT.mask | far.mask)
    index = listing.mask(0, SIZE)
    assert (index == VOID).any()
    assert not (index == 0).any()


def test_ignored_regions_are_void_and_background_is_no_class(tmp_path):
    ignored = shape("polygon", "__ignore__", [(100, 0), (160, 0), (160, 120), (100, 120)])
    ground = shape("polygon", "_background_", [(0, 90), (90, 90), (90, 120)])
    listing, contents = read_shapes(tmp_path, POLYGON, ignored, ground)
    assert listing.class_names == ("cat",)
    mask = mask_of(listing, "cat")
    assert (mask[:, 100:] == VOID).all()
    assert not (mask[:, :100] == VOID).any()
    assert (mask[:, :100] == CAT.mask[:, :100]).all()
    assert "1 shapes are labelled _background_ and are left out" in contents.changes[0]


def test_circles_and_turned_boxes(tmp_path):
    circle = shape("circle", "cat", [(60, 60), (60, 20)])
    box = shape("oriented_rectangle", "dog", [(80, 10), (120, 50), (100, 70), (60, 30)])
    listing, _ = read_shapes(tmp_path, circle, box)
    y, x = np.indices(SIZE) + 0.5
    disc = np.hypot(x - 60, y - 60) < 40
    mask = mask_of(listing, "cat") == 1
    assert iou(mask, disc) > 0.985
    mask = mask_of(listing, "dog") == 1
    turned = inside(np.array([(80, 10), (120, 50), (100, 70), (60, 30)], float), SIZE)
    assert iou(mask, turned) > 0.95


def test_a_box_may_be_drawn_from_any_corner_and_beyond_the_picture(tmp_path):
    listing, contents = read_shapes(tmp_path, shape("rectangle", "cat", [(200, 90), (30, -20)]))
    assert listing.boxes(0).corners.tolist() == [[30, 0, 160, 90]]
    assert "boxes reach beyond their picture" in contents.changes[0]


def test_masks_reach_beyond_the_picture_and_lie_between_pixels(tmp_path):
    made = mask_shape(CAT)
    made["points"] = np.add(made["points"], (-20, -15)).tolist()
    listing, _ = read_shapes(tmp_path / "out", made)
    np.testing.assert_array_equal(mask_of(listing, "cat"), np.pad(CAT.mask, ((0, 15), (0, 20)))[15:, 20:])
    made = mask_shape(CAT)
    made["points"] = np.add(made["points"], (0.4, 0.6)).tolist()
    listing, _ = read_shapes(tmp_path / "between", made)
    np.testing.assert_array_equal(mask_of(listing, "cat"), np.pad(CAT.mask, ((1, 0), (0, 0)))[:-1])


def test_points_and_lines_are_labels(tmp_path):
    listing, contents = read_shapes(
        tmp_path,
        POLYGON,
        shape("linestrip", "crack", [(1, 1), (9, 9)]),
        shape("polygon", "cat", [(1, 1), (5, 5)]),
    )
    assert listing.labels.tolist() == [[1, 1]]
    assert listing.class_names == ("cat", "crack")
    assert len(contents.changes) == 2


def test_a_picture_without_file_is_not_annotated_and_one_with_flags_is(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png", "c.png", "x/d.png"])
    write_json(tmp_path / "a.json", labelme("a.png", POLYGON))
    write_json(tmp_path / "b.json", labelme("b.png", flags={"indoors": False}))
    write_json(tmp_path / "c.json", labelme("c.png"))
    listing, _ = read(tmp_path, LEFT_OUT)
    assert listing.ids.tolist() == ["a.png", "b.png"]
    assert listing.labels.tolist() == [[1], [0]]
    listing, _ = read(tmp_path, NEGATIVE)
    assert listing.ids.tolist() == ["a.png", "b.png", "c.png", "x/d.png"]
    _, contents = read(tmp_path)
    assert "2 of 4 pictures have no annotation" in str(contents.problems[0])


@pytest.mark.parametrize(
    "written", ["..\\pictures\\a.png", "C:\\x\\a.png", "../pictures/a.png", "a.png", "renamed.png"]
)
def test_paths_lead_from_the_file(tmp_path, written):
    write_pictures(tmp_path, ["pictures/a.png", "others/b.png"])
    write_json(tmp_path / "json" / "a.json", labelme(written, POLYGON))
    listing, _ = read_well(tmp_path, LEFT_OUT)
    assert listing.ids.tolist() == ["pictures/a.png"]


def test_the_same_name_in_two_folders_in_any_script(tmp_path):
    write_pictures(tmp_path, ["左/猫 1.png", "right/猫 1.png"])
    write_json(tmp_path / "左" / "猫 1.json", labelme("猫 1.png", POLYGON))
    write_json(tmp_path / "right" / "猫 1.json", labelme("猫 1.png", shape("polygon", "犬", DOG.outline)))
    listing, _ = read_well(tmp_path)
    assert dict(zip(listing.ids.tolist(), listing.labels.tolist(), strict=True)) == {
        "左/猫 1.png": [1, 0],
        "right/猫 1.png": [0, 1],
    }


def test_marks_are_of_the_picture_as_exif_turns_it(tmp_path):
    turned_picture(tmp_path / "a.jpg", 6)
    corner = object_of("cat", [(0, 0), (40, 0), (40, 30), (0, 30)], (160, 120))
    write_json(tmp_path / "a.json", labelme("a.jpg", mask_shape(corner), imageHeight=160, imageWidth=120))
    listing, _ = read_well(tmp_path)
    assert listing.size.tolist() == [[160, 120]]
    np.testing.assert_array_equal(mask_of(listing, "cat"), corner.mask)


def test_the_size_of_the_picture_is_needed_by_masks_alone(tmp_path):
    listing, _ = read_shapes(tmp_path, POLYGON, imageHeight=None, imageWidth=None)
    np.testing.assert_array_equal(mask_of(listing, "cat"), CAT.mask)


def bad(one=POLYGON, **more):
    return labelme("a.png", one, **more)


def without(content, key):
    return {name: value for name, value in content.items() if name != key}


NOT_PNG = base64.b64encode(b"GIF89a").decode()
BAD = {
    "no path": (without(bad(), "imagePath"), "Object missing required field `imagePath`"),
    "a missing picture": (labelme("q.jpg", POLYGON) | {"imagePath": "q.jpg"}, "imagePath: none of 1 pictures is there, the first 'q.jpg'"),
    "no shapes": (without(bad(), "shapes") | {"imageData": None}, "Object missing required field `shapes`"),
    "shapes that are none": (bad() | {"shapes": {}}, "shapes: Expected `array`, got `object`"),
    "flags that are none": (bad(flags={"cat": 1}), "flags[...]: Expected `bool`, got `int`"),
    "another size": (bad(imageWidth=99), "imagePath: 99 x 120 pixels, but the picture has 160 x 120"),
    "no size": (bad(mask_shape(CAT), imageWidth=None), "shapes[0].mask: of a picture without imageHeight and imageWidth"),
    "no label": (bad(without(POLYGON, "label")), "shapes[0]: Object missing required field `label`"),
    "a label that is none": (bad(POLYGON | {"label": 3}), "shapes[0].label: Expected `str`, got `int`"),
    "an empty label": (bad(POLYGON | {"label": " "}), "shapes[0].label: is empty"),
    "no points": (bad(without(POLYGON, "points")), "shapes[0]: Object missing required field `points`"),
    "half a point": (bad(POLYGON | {"points": [[1, 2], [3]]}), "shapes[0].points[1]: Expected `array` of length 2"),
    "a text for a number": (bad(POLYGON | {"points": [[1, "2"]]}), "shapes[0].points[0][1]: Expected `float`, got `str`"),
    "far away": (bad(POLYGON | {"points": [[1, 1], [1e9, 1], [5, 5]]}), "shapes[0]: an outline that lies far from its picture"),
    "an unknown shape": (bad(shape("star", "cat", [(1, 1)])), "shapes[0].shape_type: 'star', expected polygon, rectangle, circle, mask, ..."),
    "a box of three points": (bad(shape("rectangle", "cat", [(1, 1), (5, 5), (9, 9)])), "shapes[0].points: 3 of a rectangle, expected 2"),
    "a circle of a point": (bad(shape("circle", "cat", [(1, 1)])), "shapes[0].points: 1 of a circle, expected 2"),
    "a vast circle": (bad(shape("circle", "cat", [(1e308, 1), (-1e308, 1)])), "shapes[0].1e+308, expected a number of pixels"),
    "no mask": (bad(shape("mask", "cat", [(1, 1), (2, 2)])), "shapes[0].mask: not a PNG in base64 (0 bytes of another kind)"),
    "no base64": (bad(mask_shape(CAT) | {"mask": "%"}), "shapes[0].mask: not a PNG in base64"),
    "another kind": (bad(mask_shape(CAT) | {"mask": NOT_PNG}), "shapes[0].mask: not a PNG in base64 (6 bytes of another kind)"),
    "half a mask": (bad(mask_shape(CAT) | {"mask": mask_shape(CAT)["mask"][:60]}), "shapes[0].mask: not a PNG in base64 ("),
    "a mask of another size": (bad(mask_shape(CAT) | {"points": [[1, 1], [9, 9]]}), "shapes[0].mask: 40 x 50 pixels, but its points are 9 x 9 apart"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, case):
    content, expected = BAD[case]
    write_pictures(tmp_path, ["a.png"])
    name = "q.json" if content.get("imagePath") == "q.jpg" else "a.json"
    file = write_json(tmp_path / name, content)
    _, contents = read(file, NEGATIVE)
    assert_says(file, contents, expected)
