# ruff: noqa: E501, one case a line
"""CVAT's XML for images, as tasks and projects are exported."""

import numpy as np
import pytest
from annotated import (
    HEIGHT,
    WIDTH,
    cvat_box,
    cvat_image,
    cvat_mask,
    cvat_polygon,
    inside,
    object_of,
    turned_picture,
    write_cvat,
    write_pictures,
)
from read_back import LEFT_OUT, NEGATIVE, assert_says, iou, mask_of, read, read_well

from gain_lightning.datasets.readers import reader_of

SIZE = (HEIGHT, WIDTH)
CAT = object_of("cat", [(10, 10), (50, 10), (50, 60), (10, 60)])
DOG = object_of("dog", [(30, 20), (90, 20), (90, 100), (30, 100)])


def read_images(folder, *images, names=("a.png",), labels=(), asked=NEGATIVE):
    """Write pictures and a file, and read it; nothing may be wrong."""
    write_pictures(folder, names)
    return read_well(write_cvat(folder / "annotations.xml", *images, labels=labels), asked)


def test_labels_are_the_union_of_tags_and_shapes_and_classes_in_the_order_of_meta(tmp_path):
    elements = [cvat_polygon(CAT), cvat_mask(DOG), "<tag label='indoors' source='manual'></tag>"]
    labels = ("indoors", "dog", "bird", "cat")
    listing, _ = read_images(tmp_path, cvat_image("a.png", *elements), labels=labels)
    assert listing.class_names == labels
    assert listing.labels.tolist() == [[1, 1, 0, 1]]
    np.testing.assert_array_equal(mask_of(listing, "dog"), DOG.mask)


def test_the_joints_of_a_skeleton_are_no_classes(tmp_path):
    file = tmp_path / "annotations.xml"
    skeleton = "<skeleton label='body'><points label='knee' points='1,2'/></skeleton>"
    write_pictures(tmp_path, ["a.png"])
    write_cvat(file, cvat_image("a.png", skeleton, cvat_box(CAT)), labels=("body", "cat"))
    joint = "<label><name>knee</name><attributes><attribute><name>side</name></attribute></attributes><parent>body</parent></label></labels>"
    file.write_text(file.read_text().replace("</labels>", joint))
    listing, contents = read_well(file)
    assert listing.class_names == ("body", "cat")
    assert listing.labels.tolist() == [[1, 1]]
    assert "1 points, lines and cuboids give their class and mark no pixel" in contents.changes[0]


def test_pictures_without_a_shape_are_what_a_person_says(tmp_path):
    images = cvat_image("a.png", cvat_box(CAT)), cvat_image("b.png")
    names = ("a.png", "b.png")
    listing, _ = read_images(tmp_path, *images, names=names, asked=NEGATIVE)
    assert listing.labels.tolist() == [[1], [0]]
    listing, _ = read_images(tmp_path, *images, names=names, asked=LEFT_OUT)
    assert listing.ids.tolist() == ["a.png"]
    _, contents = read(tmp_path / "annotations.xml")
    assert "1 of 2 pictures have no annotation, the first image[1] (b.png)" in str(contents.problems[0])


def test_boxes_and_ellipses_are_turned_about_their_centres(tmp_path):
    box = "<box label='cat' xtl='60' ytl='50' xbr='100' ybr='70' rotation='90.00'/>"
    oval = "<ellipse label='dog' cx='80' cy='60' rx='40' ry='12' rotation='30.00'/>"
    listing, _ = read_images(tmp_path, cvat_image("a.png", box, oval))
    np.testing.assert_allclose(listing.boxes(0).corners, [[70, 40, 90, 80]])
    y, x = np.indices(SIZE) + 0.5 - np.array([60, 80])[:, None, None]
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    oval = ((x * cosine + y * sine) / 40) ** 2 + ((y * cosine - x * sine) / 12) ** 2 < 1
    mask = mask_of(listing, "dog") == 1
    assert iou(mask, oval) > 0.98


def test_a_mask_may_reach_beyond_its_picture_and_two_are_joined(tmp_path):
    """CVAT itself cuts them off."""
    out = "<mask label='cat' rle='0, 200' left='150' top='-5' width='20' height='10'/>"
    listing, _ = read_images(tmp_path, cvat_image("a.png", cvat_mask(CAT), out))
    expected = CAT.mask.copy()
    expected[:5, 150:] = True
    np.testing.assert_array_equal(mask_of(listing, "cat"), expected)


def test_overlapping_objects_the_smaller_in_front(tmp_path):
    listing, _ = read_images(tmp_path, cvat_image("a.png", cvat_mask(CAT), cvat_mask(DOG)))
    index = listing.mask(0, SIZE)
    assert (index[CAT.mask] == 1).all()
    assert (index[DOG.mask & ~CAT.mask] == 2).all()


def test_a_polygon_goes_round_a_hole_along_a_seam(tmp_path):
    outline = [
        (10, 10),
        (150, 10),
        (150, 110),
        (10, 110),
        (10, 10),
        (50, 40),
        (50, 80),
        (110, 80),
        (110, 40),
        (50, 40),
    ]
    listing, _ = read_images(tmp_path, cvat_image("a.png", cvat_polygon(object_of("cat", outline))))
    ring = inside(np.array(outline[:4], float), SIZE) & ~inside(np.array(outline[5:9], float), SIZE)
    mask = mask_of(listing, "cat") == 1
    assert iou(mask, ring) > 0.98


def test_few_points_and_boxes_beyond_the_picture_are_said(tmp_path):
    line = "<polygon label='dog' points='1.00,2.00;3.00,4.00'/>"
    box = "<box label='cat' xtl='-10.00' ytl='50.00' xbr='500.00' ybr='60.00'/>"
    listing, contents = read_images(tmp_path, cvat_image("a.png", line, box))
    assert listing.boxes(0).corners.tolist() == [[0, 50, 160, 60]]
    assert len(contents.changes) == 2


def test_subsets_of_a_project_are_splits(tmp_path):
    size = f"width='{WIDTH}' height='{HEIGHT}'"
    subsets = ("Train", "Validation", "Test")
    images = [
        cvat_image(f"{name}.png", cvat_box(CAT), more=f"subset='{name}' task_id='1' {size}")
        for name in subsets
    ]
    write_pictures(tmp_path / "images", [f"{name}/{name}.png" for name in subsets])
    write_cvat(tmp_path / "annotations.xml", *images)
    contents = reader_of(tmp_path).read(tmp_path)
    assert contents.problems == []
    assert {split: listing.ids.tolist() for split, listing in contents.listings.items()} == {
        "train": ["images/Train/Train.png"],
        "val": ["images/Validation/Validation.png"],
        "test": ["images/Test/Test.png"],
    }


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_marks_are_of_the_picture_whose_size_the_file_gives(tmp_path, orientation):
    """CVAT shows pictures as EXIF turns them; until release 2.1 it showed them as they are stored."""
    turned_picture(tmp_path / "a.jpg", orientation)
    size = (WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH)
    corner = object_of("cat", [(0, 0), (40, 0), (40, 30), (0, 30)], size)
    more = f"width='{size[1]}' height='{size[0]}'"
    listing, contents = read(
        write_cvat(tmp_path / "x.xml", cvat_image("a.jpg", cvat_mask(corner), more=more))
    )
    assert contents.problems == []
    assert tuple(listing.size[0]) == size
    np.testing.assert_array_equal(mask_of(listing, "cat"), corner.mask)
    if orientation == 6:
        stored = object_of("cat", [(0, 0), (40, 0), (40, 30), (0, 30)])
        listing, _ = read_well(write_cvat(tmp_path / "x.xml", cvat_image("a.jpg", cvat_mask(stored))))
        expected = inside(np.array([(90, 0), (120, 0), (120, 40), (90, 40)], float), size)
        np.testing.assert_array_equal(mask_of(listing, "cat"), expected)


def test_names_in_any_script(tmp_path):
    cat = CAT._replace(class_name="кошка & 猫")
    listing, _ = read_images(tmp_path, cvat_image("深い/été.png", cvat_box(cat)), names=("深い/été.png",))
    assert listing.class_names == ("кошка & 猫",)
    assert listing.ids.tolist() == ["深い/été.png"]


GOOD = cvat_image("a.png", cvat_mask(CAT))
BAD = {
    "a track": ("<track id='0' label='cat'></track>", "<track>: a file of CVAT for video, expected one of CVAT for images"),
    "no picture": ("", "has no <image>"),
    "no name": (GOOD.replace("'0' name=\"a.png\"", "'0'"), "image[0].name: is missing"),
    "a missing picture": (GOOD.replace("a.png", "q.png"), "image[0]: none of 1 pictures is there, the first 'q.png'"),
    "twice": (GOOD * 2, "image[1]: 'a.png' is a.png, a duplicate of"),
    "no width": (cvat_image("a.png", more="height='5'"), "image[0]: width: is missing, expected a number"),
    "no number": (cvat_image("a.png", more="height='5' width='x'"), "image[0]: width: 'x', expected a number"),
    "endless": (cvat_image("a.png", more="height='5' width='inf'"), "image[0]: width: 'inf', expected a number"),
    "no pixel": (cvat_image("a.png", more="height='0' width='9'"), "image[0]: a picture of 9 x 0 pixels"),
    "vast": (cvat_image("a.png", more="height='99999999' width='99999999'"), "image[0]: a picture of 99999999 x 99999999 pixels"),
    "another size": (cvat_image("a.png", cvat_box(CAT), more="height='9' width='9'"), "image[0]: 9 x 9 pixels, but the picture has 160 x 120"),
    "no label": (GOOD.replace('label="cat"', ""), "image[0].mask[0].label: is missing"),
    "no such label": (GOOD.replace('label="cat"', 'label="cow"'), "image[0].mask[0].label: 'cow' is none of the labels of meta"),
    "an unknown shape": (cvat_image("a.png", "<star label='cat'/>"), "image[0].star[0]: expected one of polygon, box, ellipse, mask, points"),
    "half a point": (cvat_image("a.png", "<polygon label='cat' points='1,2;3'/>"), "image[0].polygon[0]: points: '1,2;3', expected x,y;x,y;..."),
    "a letter": (cvat_image("a.png", "<polygon label='cat' points='1,2;3,x;4,5'/>"), "image[0].polygon[0]: points: could not convert string to float: 'x'"),
    "no points": (cvat_image("a.png", cvat_box(CAT), "<polygon label='cat'/>"), "image[0].polygon[0]: points: '', expected x,y;x,y;..."),
    "nowhere": (cvat_image("a.png", "<polygon label='cat' points='nan,2;3,1;4,5'/>"), "image[0].polygon[0]: an outline with a number that is not finite"),
    "far away": (cvat_image("a.png", "<polygon label='cat' points='1,2;9e9,1;4,5'/>"), "image[0].polygon[0]: an outline that lies far from its picture"),
    "three sides": (cvat_image("a.png", "<box label='cat' xtl='1' ytl='2' xbr='3'/>"), "image[0].box[0]: ybr: is missing, expected a number"),
    "turned over": (cvat_image("a.png", "<box label='cat' xtl='9' ytl='2' xbr='3' ybr='4'/>"), "image[0].box[0]: a box of (9.0, 2.0, 3.0, 4.0), whose right or lower side"),
    "short runs": (cvat_image("a.png", "<mask label='cat' rle='1, 2' left='0' top='0' width='2' height='2'/>"), "image[0].mask[0]: rle: covers 3 pixels, expected 2 x 2 = 4"),
    "runs below 0": (cvat_image("a.png", "<mask label='cat' rle='5, -1' left='0' top='0' width='2' height='2'/>"), "image[0].mask[0]: rle: covers 4 pixels"),
    "no runs": (cvat_image("a.png", "<mask label='cat' left='0' top='0' width='2' height='2'/>"), "image[0].mask[0]: rle: invalid literal for int() with base 10: ''"),
    "a vast mask": (cvat_image("a.png", "<mask label='cat' rle='1' left='0' top='0' width='9999999' height='9999999'/>"), "image[0].mask[0]: a mask of 9999999 x 9999999 pixels"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, case):
    images, expected = BAD[case]
    write_pictures(tmp_path, ["a.png"])
    file = write_cvat(tmp_path / "annotations.xml", images, labels=("cat",))
    _, contents = read(file, NEGATIVE)
    assert_says(file, contents, expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text[:-30], "not XML (unclosed token"),
        (lambda text: text.replace("</image>", "</picture>"), "not XML (mismatched tag"),
        (lambda text: text.replace("utf-8", "utf-99"), "not XML (unknown encoding"),
        (
            lambda text: text.replace("<annotations>", "<!DOCTYPE x [<!ENTITY a 'b'>]><annotations>"),
            "declares a document type or entities, which no file of CVAT does",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path, change, expected):
    write_pictures(tmp_path, ["a.png"])
    file = write_cvat(tmp_path / "annotations.xml", GOOD)
    file.write_text(change(file.read_text()))
    _, contents = read(file)
    assert_says(file, contents, expected)
