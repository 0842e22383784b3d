# ruff: noqa: E501, one case a line
"""Units and order of the numbers in ``boxes.csv``."""

import re

import pytest
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers.folder import read_folder


def boxed(root, rows, sizes=(48, 64), exif=None):
    """Pictures of a size, each with a box."""
    (root / "images").mkdir(parents=True)
    for number in range(len(rows)):
        grey = Image.new("RGB", sizes[::-1], (number, 99, 99))
        grey.save(root / "images" / f"{number}.png", **({"exif": exif} if exif else {}))
    names = range(len(rows))
    (root / "labels.csv").write_text("filename,classes\n" + "".join(f"{name}.png,cat\n" for name in names))
    table = "".join(f"{name}.png,cat,{row}\n" for name, row in zip(names, rows, strict=True))
    (root / "boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n" + table)
    return root


@pytest.mark.parametrize(
    ("rows", "lines", "words"),
    [
        (["0.2,0.3,0.5,0.8"] * 3, [2, 3, 4], "relative"),
        (["10,12,30,40", "0.2,0.3,0.5,0.8", "5,5,9,9"], [3], "relative"),
        (["0.5,0.5,0.2,0.3", "0.2,0.2,0.9,1.0"], [2, 3], "relative"),
        (["0,0,1,1"] * 3, [2, 3, 4], "relative"),
        (["10,12,30,40", "10,12,10.4,40"], [3], "is less than a pixel wide or high"),
        (["30,12,10,20", "10,30,8,9", "3,4,20,30"], [2], "2 of 3 boxes have xmax <= xmin or ymax <= ymin.* fit their pictures as x,y,width,height"),
        (["30,12,10,20", "3,4,60,47"], [2], "is empty, expected xmin < xmax"),
        (["30,12,10,20", "3,4,70,40"], [2, 3], "is empty, expected xmin < xmax|reaches beyond"),
    ],
)  # fmt: skip
def test_numbers_that_are_no_corners_in_pixels_are_named_with_their_line(
    tmp_path, rows, lines, words, capsys
):
    root = boxed(tmp_path / "own", rows)
    found = read_folder(root).problems
    assert [problem.line for problem in found] == lines
    assert {problem.file for problem in found} == {root / "boxes.csv"}
    for problem in found:
        assert re.search(words, problem.what)
    assert main(["data", "check", str(root)]) == 1
    with pytest.raises(ValueError, match=r"boxes\.csv:"):
        FolderDataModule(root=str(root))


def test_boxes_that_may_be_percent_are_a_problem_or_at_least_a_note(tmp_path):
    corners = [f"{x},{y},{x + 20},{y + 30}" for x in (2, 40, 78) for y in (1, 35, 65)]
    (problem,) = read_folder(boxed(tmp_path / "spread", corners, (480, 640))).problems
    assert "percent" in problem.what
    contents = read_folder(boxed(tmp_path / "corner", ["2,3,90,60"] * 9, (480, 640)))
    assert contents.problems == []
    assert (
        "all boxes lie within 0..100 of larger pictures: they must be pixels, not percent" in contents.notes
    )
    contents = read_folder(boxed(tmp_path / "beyond", ["2,3,90,60", "2,3,101,60"], (480, 640)))
    assert (contents.problems, contents.notes) == ([], [])


def test_boxes_that_may_be_thousandths_are_a_problem(tmp_path):
    corners = [f"{x},{y},{x + 200},{y + 300}" for x in (20, 400, 780) for y in (10, 350, 650)]
    (problem,) = read_folder(boxed(tmp_path / "spread", corners, (3000, 4000))).problems
    assert "all 9 boxes lie within 0..1000 of larger pictures: thousandths? expected pixels" in problem.what
    contents = read_folder(boxed(tmp_path / "beyond", [*corners[1:], "20,10,1001,300"], (3000, 4000)))
    assert contents.problems == []


def test_boxes_of_pictures_that_exif_turns_are_said(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    root = boxed(tmp_path / "own", ["1,2,40,60", "1,2,60,40"], exif=exif.tobytes())  # shown 48 wide, 64 high
    contents = read_folder(root)
    assert contents.listing.size.tolist() == [[64, 48], [64, 48]]
    assert [problem.line for problem in contents.problems] == [3]
    assert contents.notes == [
        "2 of 2 pictures with boxes are turned or mirrored by EXIF, the first 0.png: boxes are in pixels of the picture "
        "as it is shown, not as it is stored"
    ]
