"""XML of PASCAL VOC, with classes of its own."""

import pytest
from fake_folder import picture
from fake_voc import make_voc

from gain_lightning.cli import main
from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.annotations import Asked

SIZE_TEXT = "<size><width>40</width><height>30</height><depth>3</depth></size>"
CAT = "<object><name>Mieze</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object>"


def write(root, name, body=CAT, *, xml="Annotations", image="JPEGImages", filename=None, size=SIZE_TEXT):
    """Write a file of XML and its picture of 40 x 30 pixels."""
    picture(root / image / f"{name}.jpg", len(body))
    path = root / xml / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = f"<filename>{filename or name + '.jpg'}</filename>"
    path.write_text(f"<annotation>{said}{size}{body}</annotation>", encoding="utf-8")
    return path


def read(root, asked=Asked()):  # noqa: B008, immutable
    return reader_of(root, asked=asked).read(root)


def boxed(xmin, ymin, xmax, ymax, name="Mieze"):
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def test_boxes_count_from_one_and_a_file_without_object_is_a_negative(tmp_path):
    write(tmp_path, "a", boxed(1, 1, 40, 30) + boxed(11, 6, 20, 15, "船"))
    write(tmp_path, "b", "")
    contents = read(tmp_path)
    assert contents.problems == []
    listing = contents.listings[""]
    assert listing.ids.tolist() == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]
    assert listing.class_names == ("Mieze", "船")
    assert listing.labels.tolist() == [[1, 1], [0, 0]]
    assert listing.box_corners.tolist() == [[0, 0, 40, 30], [10, 5, 20, 15]]


def test_boxes_of_a_tool_that_counts_from_nought_stay(tmp_path):
    write(tmp_path, "a", boxed(0, 4, 20, 10))
    write(tmp_path, "b", boxed(5, 5, 20, 10))
    assert read(tmp_path).listings[""].box_corners.tolist() == [[0, 4, 20, 10], [5, 5, 20, 10]]


def test_files_beside_pictures_as_labelimg_writes_them(tmp_path):
    for split in ("train", "test"):
        write(tmp_path, f"{split}/a", xml=".", image=".")
    contents = read(tmp_path)
    assert contents.problems == []
    assert {split: one.ids.tolist() for split, one in contents.listings.items()} == {
        "train": ["train/a.jpg"],
        "test": ["test/a.jpg"],
    }


def test_a_picture_that_was_renamed_is_found_by_what_the_file_is_called(tmp_path):
    write(tmp_path, "a", filename=r"C:\\old\\IMG_1.jpg")
    write(tmp_path, "b", filename="IMG_1.jpg")
    assert read(tmp_path).listings[""].ids.tolist() == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]


def test_or_by_what_the_file_says(tmp_path):
    path = write(tmp_path, "a", filename="a.jpg")
    path.rename(path.with_name("0001.xml"))
    assert read(tmp_path).listings[""].ids.tolist() == ["JPEGImages/a.jpg"]


def test_lists_divide_the_pictures(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path, name)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in {"train": "a\nc\n", "val": "b\n", "Mieze_train": "a 1\nc -1\n"}.items():
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    contents = read(tmp_path)
    assert contents.problems == []
    assert {split: len(one) for split, one in contents.listings.items()} == {"train": 2, "val": 1}


def test_a_picture_without_a_file_is_what_somebody_says(tmp_path):
    write(tmp_path, "a")
    picture(tmp_path / "JPEGImages" / "b.jpg")
    assert "1 of 2 pictures have no annotation" in str(read(tmp_path).problems[0])
    assert read(tmp_path, Asked(unannotated="negative")).listings[""].labels.tolist() == [[1], [0]]


def test_voc_2012_itself_is_read_as_before(tmp_path, capsys):
    root = make_voc(tmp_path / "voc")
    assert reader_of(root).name == "PASCAL VOC 2012"


def test_verbs_take_one_file(tmp_path, capsys):
    file = write(tmp_path, "a")
    # one picture has no second for val
    assert main(["data", "check", str(file)]) == 1
    assert "1 pictures, 1 classes" in capsys.readouterr().out


def test_an_object_without_box_is_a_label(tmp_path):
    write(tmp_path, "a", "<object><name>Mieze</name></object>")
    listing = read(tmp_path).listings[""]
    assert listing.labels.tolist() == [[1]]
    assert len(listing.box_row) == 0


def test_a_size_of_nought_says_nothing(tmp_path):
    write(tmp_path, "a", size="<size><width>0</width><height>0</height></size>")
    assert read(tmp_path).problems == []


BAD = {
    "a class without name": ("<object><name> </name></object>", "object[0].name: is empty"),
    "a side that is missing": (
        "<object><name>a</name><bndbox><xmin>1</xmin></bndbox></object>",
        "object[0].bndbox: could not convert string to float: ''",
    ),
    "a box turned over": (
        boxed(20, 1, 10, 5),
        "object[0]: a box of (19.0, 0.0, 10.0, 5.0), whose right or lower side lies before the other",
    ),
    "an endless box": (
        boxed(1, 1, "inf", 5),
        "object[0]: a box of (0.0, 0.0, inf, 5.0), expected four finite numbers",
    ),
    "a tag that stays open": ("<object>", "not an XML annotation (mismatched tag"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, case):
    body, expected = BAD[case]
    file = write(tmp_path, "a", body)
    write(tmp_path, "b")
    problems = list(map(str, read(tmp_path, Asked(unannotated="leave_out")).problems))
    assert [one for one in problems if one.startswith(f"{file}: {expected}")], problems


def test_a_size_that_is_not_the_picture_s_is_named(tmp_path):
    file = write(tmp_path, "a", size=SIZE_TEXT.replace("40", "99"))
    assert str(read(tmp_path).problems[0]) == f"{file}: 99 x 30 pixels, but the picture has 40 x 30"


def test_entities_are_refused(tmp_path):
    write(tmp_path, "b")
    file = write(tmp_path, "a")
    file.write_text(f'<!DOCTYPE x [<!ENTITY a "b">]>{file.read_text()}')
    problems = list(map(str, read(tmp_path, Asked(unannotated="leave_out")).problems))
    assert problems == [f"{file}: declares a document type or entities, which no annotation does"]
