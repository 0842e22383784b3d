# ruff: noqa: E501, one case a line
"""Label Studio's JSON, as it is exported from projects of all kinds."""

import base64
import io

import numpy as np
import pytest
from annotated import (
    HEIGHT,
    WIDTH,
    brush,
    brush_rle,
    choices,
    disc,
    inside,
    object_of,
    percent,
    polygon,
    rectangle,
    region,
    task,
    turned_picture,
    write_json,
    write_pictures,
)
from PIL import Image
from read_back import assert_says, iou, mask_of, read, read_well

from gain_lightning.constants import VOID

SIZE = (HEIGHT, WIDTH)
CAT = object_of("cat", [(10, 10), (50, 10), (50, 60), (10, 60)])
DOG = object_of("dog", [(30, 20), (90, 20), (90, 100), (30, 100)])


def read_tasks(folder, *tasks, names=("a.png",)):
    """Write pictures and tasks, and read them; nothing may be wrong."""
    write_pictures(folder, names)
    return read_well(write_json(folder / "export.json", list(tasks)))


def test_strokes_of_one_label_are_one_mask_and_labels_their_union(tmp_path):
    far = object_of("cat", [(100, 70), (140, 70), (140, 110), (100, 110)])
    listing, _ = read_tasks(
        tmp_path, task("a.png", brush(CAT), brush(far), rectangle(DOG), choices("indoors"))
    )
    assert listing.class_names == ("cat", "dog", "indoors")
    assert listing.labels.tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(mask_of(listing, "cat"), CAT.mask | far.mask)
    assert listing.boxes(0).corners.round(9).tolist() == [[30, 20, 90, 100]]


def test_overlapping_objects_each_have_their_mask_and_the_smaller_lies_in_front(tmp_path):
    listing, _ = read_tasks(tmp_path, task("a.png", brush(CAT), polygon(DOG)))
    np.testing.assert_array_equal(mask_of(listing, "cat"), CAT.mask)
    index = listing.mask(0, SIZE)
    assert (index[CAT.mask] == 1).all()
    assert (index[DOG.mask & ~CAT.mask] == 2).all()


def test_submitted_without_a_mark_is_a_negative_and_not_submitted_is_not_annotated(tmp_path):
    empty = {"annotations": [{"result": [], "was_cancelled": False}]}
    skipped = {"annotations": [{"result": [brush(DOG)], "was_cancelled": True}]}
    guessed = {"predictions": [{"result": [brush(DOG)], "score": 0.9}]}
    names = ("a.png", "b.png", "c.png", "d.png")
    tasks = [
        task("a.png", brush(CAT)),
        task("b.png", **empty),
        task("c.png", **skipped),
        task("d.png", **guessed),
    ]
    listing, contents = read_tasks(tmp_path, *tasks, names=names)
    assert listing.ids.tolist() == ["a.png", "b.png"]
    assert listing.labels.tolist() == [[1], [0]]
    assert [change.partition(",")[0] for change in contents.changes] == [
        "2 pictures without annotation are left out"
    ]


def test_ground_truth_counts_alone_and_else_all_annotators_together(tmp_path):
    both = [{"result": [brush(CAT)]}, {"result": [brush(DOG)], "ground_truth": True}]
    listing, contents = read_tasks(tmp_path / "truth", task("a.png", annotations=both))
    assert listing.class_names == ("dog",)
    assert contents.changes == ()
    both[1]["ground_truth"] = False
    listing, contents = read_tasks(tmp_path / "all", task("a.png", annotations=both))
    assert listing.labels.tolist() == [[1, 1]]
    assert "1 pictures have several annotations, which are taken together" in contents.changes[0]


def test_a_label_may_stand_in_a_result_of_its_own(tmp_path):
    """Tags ``Labels`` and ``Brush`` make two results with one id; the first may repeat the shape."""
    made = brush(CAT)
    shape = {**made, "type": "brush", "value": {key: made["value"][key] for key in ("format", "rle")}}
    for value in ({"labels": ["cat"]}, {**shape["value"], "labels": ["cat"]}):
        label = {**made, "type": "labels", "value": value}
        listing, _ = read_tasks(tmp_path / str(len(value)), task("a.png", shape, label))
        np.testing.assert_array_equal(mask_of(listing, "cat"), CAT.mask)


def test_a_box_is_turned_about_its_corner_and_an_ellipse_about_its_centre(tmp_path):
    box = region("rectangle", "cat", {"x": 50, "y": 50, "width": 25, "height": 10, "rotation": 90})
    oval = region("ellipse", "dog", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 10, "rotation": 30})
    listing, _ = read_tasks(tmp_path, task("a.png", box, oval))
    # 40 x 12 pixels from (80, 60), turned clockwise, reach 12 to the left and 40 down
    np.testing.assert_allclose(listing.boxes(0).corners, [[68, 60, 80, 100]])
    y, x = np.indices(SIZE) + 0.5 - np.array([60, 80])[:, None, None]
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    along, across = x * cosine + y * sine, y * cosine - x * sine
    oval = (along / 40) ** 2 + (across / 12) ** 2 < 1
    mask = mask_of(listing, "dog") == 1
    assert iou(mask, oval) > 0.98


def test_a_region_of_two_labels_is_a_mark_of_both(tmp_path):
    made = brush(CAT)
    made["value"]["brushlabels"] = ["cat", "pet"]
    listing, _ = read_tasks(tmp_path, task("a.png", made))
    assert listing.class_names == ("cat", "pet")
    np.testing.assert_array_equal(mask_of(listing, "pet"), CAT.mask)


def test_what_marks_no_pixel_is_said(tmp_path):
    point = region("keypoint", "nose", {"x": 10, "y": 10, "width": 0.5})
    nameless = region("polygon", "cat", {"points": percent(CAT.outline)})
    nameless["value"]["polygonlabels"] = []
    line = region("polygon", "tail", {"points": [[1, 1], [9, 9]]})
    text = {"type": "textarea", "value": {"text": ["a note"]}}
    of_region = {
        **choices("hidden"),
        "value": {"choices": ["hidden"], "x": 1, "y": 2, "width": 3, "height": 4},
    }
    listing, contents = read_tasks(
        tmp_path, task("a.png", brush(CAT), point, nameless, line, text, of_region)
    )
    assert listing.class_names == ("cat", "nose", "tail")
    assert listing.labels.tolist() == [[1, 1, 1]]
    assert [change.partition(", the first at ")[0] for change in contents.changes] == [
        "1 points and lines give their class and mark no pixel",
        "1 regions without a label are left out",
        "1 outlines have fewer than 3 points and are left out",
    ]


def test_boxes_are_clipped_to_their_picture(tmp_path):
    box = region("rectangle", "cat", {"x": -10, "y": 50, "width": 30, "height": 80, "rotation": 0})
    listing, contents = read_tasks(tmp_path, task("a.png", box))
    np.testing.assert_allclose(listing.boxes(0).corners, [[0, 60, 32, 120]])
    assert "boxes reach beyond their picture and are clipped" in contents.changes[0]


@pytest.mark.parametrize(
    "written",
    [
        "/data/upload/12/0a1b2c3d-été 猫.png",
        "http://host:8080/data/upload/12/0a1b2c3d-%C3%A9t%C3%A9%20%E7%8C%AB.png",
        "/data/local-files/?d=x%5Cdeep/%C3%A9t%C3%A9%20%E7%8C%AB.png",
        "s3://bucket/deep/été 猫.png",
        "C:\\Users\\x\\deep\\été 猫.png",
        "/home/somebody/deep/e\u0301te\u0301 猫.png",
    ],
)
def test_pictures_are_found_however_they_are_written(tmp_path, written):
    listing, _ = read_tasks(tmp_path, task(written, brush(CAT)), names=("deep/été 猫.png",))
    assert listing.ids.tolist() == ["deep/été 猫.png"]


def test_the_same_name_in_two_folders(tmp_path):
    tasks = [
        task("/data/local-files/?d=x/a.png", brush(CAT)),
        task("/data/local-files/?d=y/a.png", brush(DOG)),
    ]
    listing, _ = read_tasks(tmp_path, *tasks, names=("x/a.png", "y/a.png"))
    assert dict(zip(listing.ids.tolist(), listing.labels.tolist(), strict=True)) == {
        "x/a.png": [1, 0],
        "y/a.png": [0, 1],
    }


def test_the_picture_is_found_under_any_key(tmp_path):
    made = {**task("", brush(CAT)), "data": {"id": "1.2", "page": "http://x/y", "photo_url": "/upload/a.png"}}
    listing, _ = read_tasks(tmp_path, made)
    assert listing.ids.tolist() == ["a.png"]


def test_one_task_and_the_old_word_for_annotations(tmp_path):
    write_pictures(tmp_path, ["a.png"])
    made = task("a.png", brush(CAT))
    made["completions"] = made.pop("annotations")
    listing, _ = read_well(write_json(tmp_path / "one.json", made))
    assert listing.labels.tolist() == [[1]]


def test_marks_are_of_the_picture_as_the_browser_turns_it(tmp_path):
    """Where the size that is given is that of the stored picture, an old browser did not turn it."""
    turned_picture(tmp_path / "a.jpg", 6)
    corner = object_of("cat", [(0, 0), (40, 0), (40, 30), (0, 30)], (160, 120))
    turned = {"original_width": 120, "original_height": 160}
    mark = {"format": "rle", "rle": brush_rle(corner.mask)}
    file = write_json(tmp_path / "x.json", [task("a.jpg", region("brush", "cat", mark, **turned))])
    listing, _ = read_well(file)
    assert listing.size.tolist() == [[160, 120]]
    np.testing.assert_array_equal(mask_of(listing, "cat"), corner.mask)
    corner = object_of("cat", [(0, 0), (40, 0), (40, 30), (0, 30)])
    listing, contents = read(
        write_json(tmp_path / "x.json", [task("a.jpg", brush(corner), rectangle(corner))])
    )
    assert contents.problems == []
    # what is left in the stored picture is on top of the shown one, and its top is on the right
    np.testing.assert_array_equal(
        mask_of(listing, "cat"), inside(np.array([(90, 0), (120, 0), (120, 40), (90, 40)]), (160, 120))
    )
    np.testing.assert_allclose(listing.boxes(0).corners, [[90, 0, 120, 40]], atol=1e-9)


def test_a_bitmask_is_where_it_is_not_transparent(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.stack([np.zeros(SIZE), CAT.mask * 255], -1).astype(np.uint8), "LA").save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    listing, _ = read_tasks(tmp_path, task("a.png", region("bitmask", "cat", {"imageDataURL": address})))
    np.testing.assert_array_equal(mask_of(listing, "cat"), CAT.mask)


def test_background_is_known_only_where_all_labels_are_drawn(tmp_path):
    listing, _ = read_tasks(tmp_path, task("a.png", brush(CAT), choices("dog")))
    assert (listing.mask(0, SIZE)[~CAT.mask] == VOID).all()


def bad(*results, image="a.png", **more):
    return [task(image, *results, **more)]


def changed(made, **value):
    return {**made, "value": {**made["value"], **value}}


MIN = {
    "id": 1,
    "image": "a.png",
    "label": [{"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["cat"]}],
}
BAD = {
    "min": ([MIN], "[0]: has no data, expected tasks as the export JSON has them (JSON_MIN has not)"),
    "no picture": (bad(brush(CAT), data={"text": "hello"}), "[0].data: names no picture"),
    "a list of pictures": (bad(brush(CAT), data={"image": ["a.png", "b.png"]}), "[0].data: names no picture"),
    "a missing picture": (bad(brush(CAT), image="/data/q.png"), "[0].data: none of 1 pictures is there, the first '/data/q.png'"),
    "twice": (bad(brush(CAT)) * 2, "[1].data: 'a.png' is a.png, a duplicate of"),
    "no result": (bad(annotations=[{"result": None}]), "[0].annotations[0].result: Expected `array`, got `null`"),
    "no type": (bad({"value": {}}), "[0].annotations[0].result[0]: Object missing required field `type`"),
    "a number for a label": (bad(changed(brush(CAT), brushlabels=[3])), "[0].annotations[0].result[0].value.brushlabels[0]: Expected `str`, got `int`"),
    "an empty label": (bad(changed(brush(CAT), brushlabels=[" "])), "[0].annotations[0].result[0]: an empty label"),
    "no shape": (bad(region("brush", "cat", {})), "[0].annotations[0].result[0]: value: has no rle, points, or x and y"),
    "half a box": (bad(region("rectangle", "cat", {"x": 1, "y": 2, "width": 3})), "[0].annotations[0].result[0]: value: has x and y, expected width and height"),
    "a vast box": (bad(changed(rectangle(CAT), x=10**25)), "[0].annotations[0].result[0]: 1e+25, expected a number of pixels or degrees"),
    "a box turned over": (bad(changed(rectangle(CAT), width=-5)), "[0].annotations[0].result[0]: a box of -5 x "),
    "a text for a point": (bad(changed(polygon(CAT), points=[[1, "2"]])), "[0].annotations[0].result[0].value.points[0][1]: Expected `float`, got `str`"),
    "half a point": (bad(changed(polygon(CAT), points=[[1]])), "[0].annotations[0].result[0].value.points[0]: Expected `array` of length 2"),
    "far away": (bad(changed(polygon(CAT), points=[[1, 1], [9e9, 1], [9, 9]])), "[0].annotations[0].result[0]: an outline that lies far from its picture: expected shares of it"),
    "short runs": (bad(changed(brush(CAT), rle=brush_rle(CAT.mask)[:20])), "[0].annotations[0].result[0]: value.rle: ends at value"),
    "runs of another size": (bad(changed(brush(CAT), rle=brush_rle(CAT.mask[1:]))), "[0].annotations[0].result[0]: value.rle: of 76160 values, expected 76800: 4 for each of 160 x 120 pixels"),
    "no byte": (bad(changed(brush(CAT), rle=[1, 256])), "[0].annotations[0].result[0]: value.rle: bytes must be in range(0, 256)"),
    "no size": (bad({**brush(CAT), "original_width": None}), "[0].annotations[0].result[0]: original_width, original_height: 0 x 120 pixels"),
    "another picture's size": (bad({**polygon(CAT), "original_width": 99}), "[0].data: 99 x 120 pixels, but the picture has 160 x 120"),
    "turned in the tool": (bad({**brush(CAT), "image_rotation": 90}), "[0].annotations[0].result[0]: image_rotation: marked on a picture turned by 90 degrees, expected 0"),
    "no bitmask": (bad(region("bitmask", "cat", {"imageDataURL": "data:,x"})), "[0].annotations[0].result[0]: value.imageDataURL: not a PNG in base64"),
    "a task that is a text": (["x", *bad(brush(CAT))], "[0]: Expected `object`, got `str`"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, case):
    content, expected = BAD[case]
    write_pictures(tmp_path, ["a.png"])
    file = write_json(tmp_path / "export.json", content)
    _, contents = read(file)
    assert_says(file, contents, expected)


def test_the_other_tasks_of_a_file_are_read(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    content = bad(changed(brush(CAT), rle=[]), image="b.png") + bad(brush(disc("cat", (60, 60), 30)))
    listing, contents = read(write_json(tmp_path / "export.json", content))
    assert len(contents.problems) == 1
    assert "a.png" in listing.ids.tolist()
