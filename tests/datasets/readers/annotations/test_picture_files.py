"""Pictures are found however a tool wrote their paths."""

import json

import pytest
from fake_coco import SQUARE, an_object, coco_content
from fake_folder import NFC, NFD, picture

from gain_lightning.datasets.readers import reader_of
from gain_lightning.datasets.readers.annotations import Asked
from gain_lightning.datasets.readers.annotations.picture_files import PictureFiles

FILES = (
    "a/1.jpg",
    "b/1.jpg",
    "train/x y.png",
    "val/only.jpg",
    f"{NFD}/海.jpg",
    "50%/c+d.jpg",
    "deep/er/2.JPG",
)


@pytest.fixture
def files(tmp_path):
    for name in FILES:
        picture(tmp_path / name.replace("JPG", "jpg"))
    (tmp_path / "deep" / "er" / "2.jpg").rename(tmp_path / "deep" / "er" / "2.JPG")
    return PictureFiles(tmp_path)


FOUND = {
    "a/1.jpg": ["a/1.jpg"],
    "./b//1.jpg": ["b/1.jpg"],
    "x/../b/1.jpg": ["b/1.jpg"],
    r"b\1.jpg": ["b/1.jpg"],
    r"C:\Users\me\set\b\1.jpg": ["b/1.jpg"],
    r"\\server\share\b\1.jpg": ["b/1.jpg"],
    "/home/me/set/b/1.jpg": ["b/1.jpg"],
    "file:///home/me/a/1.jpg": ["a/1.jpg"],
    "https://host:8080/data/a/1.jpg?token=x": ["a/1.jpg"],
    "https://host/train/x%20y.png": ["train/x y.png"],
    "train/x%20y.png": ["train/x y.png"],
    "x y.png": ["train/x y.png"],
    "s3://bucket/train/x y.png": ["train/x y.png"],
    "/data/local-files/?d=train/x%20y.png": ["train/x y.png"],
    "http://localhost:8080/data/local-files/?d=b%2F1.jpg": ["b/1.jpg"],
    "50%/c+d.jpg": ["50%/c+d.jpg"],
    "50%25/c%2Bd.jpg": ["50%/c+d.jpg"],
    f"{NFC}/海.jpg": [f"{NFD}/海.jpg"],
    "%E6%B5%B7.jpg": [f"{NFD}/海.jpg"],
    "er/2.JPG": ["deep/er/2.JPG"],
    "b/1": ["b/1.jpg"],
    "set/x y": ["train/x y.png"],
    "1.jpg": ["a/1.jpg", "b/1.jpg"],
    "c/1.jpg": ["a/1.jpg", "b/1.jpg"],
    "train/only.jpg": [],
    "2.jpg": [],
    "": [],
    "..": [],
    "../../etc/passwd": [],
}  # fmt: skip


@pytest.mark.parametrize("written", FOUND)
def test_a_path_means_the_picture_that_it_leads_to_or_shares_most_of_its_end_with(files, written):
    assert files.find(written, files.folder) == FOUND[written]


def test_the_folder_of_the_annotations_comes_first(files):
    assert files.find("1.jpg", files.folder / "b") == ["b/1.jpg"]
    assert files.find("../a/1.jpg", files.folder / "b") == ["a/1.jpg"]


def write(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco_content([an_object(n, 7, SQUARE) for n in range(len(names))], names)))
    return path


def test_the_same_name_in_two_folders_is_two_pictures(files):
    file = write(files.folder / "set.json", "a/1.jpg", "b/1.jpg")
    contents = reader_of(file).read(file)
    assert contents.problems == []
    assert contents.listings[""].ids.tolist() == ["a/1.jpg", "b/1.jpg"]


def test_a_name_that_may_be_either_is_a_problem(files):
    file = write(files.folder / "set.json", "1.jpg")
    (problem,) = reader_of(file).read(file).problems
    assert str(problem) == f"{file}: images[0].file_name: '1.jpg' may be a/1.jpg or b/1.jpg"


def test_two_names_of_one_picture_are_a_problem(files):
    file = write(files.folder / "set.json", "a/1.jpg", "/home/me/a/1.jpg")
    (problem,) = reader_of(file).read(file).problems
    assert str(problem) == (
        f"{file}: images[1].file_name: '/home/me/a/1.jpg' is a/1.jpg, a duplicate of {file}: images[0].file_name"
    )


def test_where_no_picture_is_found_one_problem_says_so(files):
    file = write(files.folder / "set.json", "x.jpg", "y.jpg")
    (problem,) = reader_of(file).read(file).problems
    assert str(problem) == (
        f"{file}: images[0].file_name: none of 2 pictures is there, the first 'x.jpg': expected a picture below "
        f"{files.folder}, or --images (data.image_folder) to name their folder"
    )


def test_without_any_picture_the_folder_is_named(tmp_path):
    file = write(tmp_path / "far" / "set.json", "x.jpg")
    with pytest.raises(
        FileNotFoundError, match=r"holds no picture, expected those of .*set\.json there, or --images"
    ):
        reader_of(file).read(file)
    (tmp_path / "empty").mkdir()
    asked = Asked(images=tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="empty: holds no picture"):
        reader_of(file, asked=asked).read(file)


def test_pictures_that_no_annotation_names_are_noted(files):
    file = write(files.folder / "set.json", "a/1.jpg")
    expected = f"named by no annotation and not used: 6 of the pictures below {files.folder}"
    assert expected in reader_of(file).read(file).notes
