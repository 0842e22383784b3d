# ruff: noqa: E501, one case a line
"""Files that other tools write, in a form as small as each can be."""

import json

import pytest
from fake_folder import make_folder, picture

from gain_lightning.cli import main
from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.readers.annotations import FORMATS, formats_of
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.readers.foreign import recognise

COCO = {
    "info": {},
    "images": [{"id": 1, "file_name": "0.png", "width": 40, "height": 30}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "cat"}],
}
VIA = {"0.png123": {"filename": "0.png", "size": 123, "regions": [{"shape_attributes": {"name": "rect"}}]}}
VIA_TABLE = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
)
LABELME = {"version": "5.0", "shapes": [{"label": "cat", "points": []}], "imagePath": "0.png"}
LABEL_STUDIO = [{"id": 1, "annotations": [{"result": [{"from_name": "label"}]}], "data": {"image": "0.png"}}]
FILES = {  # where it lies, what it holds, what it is called
    "YOLO's data.yaml": ("data.yaml", "train: images/train\nval: images/val\nnc: 1\nnames: ['cat']\n", "YOLO's list of classes"),
    "YOLO's data.yaml, names first": ("set.yml", "names:\n  0: cat\npath: .\n", "YOLO's list of classes"),
    "YOLO's labels": ("labels/train/0.txt", "0 0.5 0.5 0.25 0.1\n1 .5 0.25 1 1e-3\n", "YOLO's labels"),
    "YOLO's polygons beside the pictures": ("images/train/0.txt", "3 0.1 0.2 0.3 0.4 0.5 0.6", "YOLO's labels"),
    "COCO in annotations/": ("annotations/instances.json", json.dumps(COCO), "a COCO file"),
    "COCO beside the pictures": ("images/train/_annotations.coco.json", json.dumps(COCO, indent=1), "a COCO file"),
    "large COCO": ("coco.json", json.dumps({"images": [], "x": "y" * 100_000}), "a COCO file"),
    "VIA": ("via_region_data.json", json.dumps(VIA), "a VIA project"),
    "VIA's project": ("images/via_project.json", json.dumps({"_via_settings": {}, "_via_img_metadata": {}}), "a VIA project"),
    "VIA's table": ("via_region_data.csv", VIA_TABLE, "a VIA table"),
    "LabelMe": ("images/train/0.json", json.dumps(LABELME), "LabelMe's JSON"),
    "LabelMe, sorted keys": ("images/train/0.json", json.dumps({"imageData": "A" * 100_000, **LABELME}), "LabelMe's JSON"),
    "LabelMe in masks/": ("masks/0.json", json.dumps(LABELME), "LabelMe's JSON"),
    "Label Studio": ("export.json", json.dumps(LABEL_STUDIO), "Label Studio's JSON"),
    "CVAT": ("annotations.xml", '<?xml version="1.0"?>\n<annotations><version>1.1</version></annotations>', "CVAT's XML"),
    "VOC's XML beside the pictures": ("images/train/0.xml", "<annotation><object/></annotation>", "XML of PASCAL VOC"),
    "a table of boxes": ("images/_annotations.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n", "a table of boxes"),
}  # fmt: skip


@pytest.fixture
def split_folders(tmp_path):
    for split in ("train", "valid", "test"):
        for number in range(2):
            picture(tmp_path / "images" / split / f"{number}.png", number)
    return tmp_path


READ = {tool for one in FORMATS for tool in (one.tool, *one.also)}


@pytest.mark.parametrize("case", [case for case, (_, _, tool) in FILES.items() if tool not in READ])
def test_annotations_that_are_not_read_are_a_problem_that_says_what_is_expected(split_folders, case, capsys):
    name, text, tool = FILES[case]
    (split_folders / name).parent.mkdir(parents=True, exist_ok=True)
    (split_folders / name).write_text(text)
    assert main(["data", "check", str(split_folders)]) == 1
    expected = (
        f"{split_folders / name}: looks like {tool}, which is not read: expected labels.csv beside images/"
    )
    assert sum(line.startswith(expected) for line in capsys.readouterr().out.splitlines()) == 1
    with pytest.raises(ValueError, match=f"looks like {tool}"):
        FolderDataModule(root=str(split_folders))


@pytest.mark.parametrize("case", [case for case, (_, _, tool) in FILES.items() if tool in READ])
def test_annotations_that_are_read_are_found_by_their_content(split_folders, case):
    name, text, tool = FILES[case]
    (split_folders / name).parent.mkdir(parents=True, exist_ok=True)
    (split_folders / name).write_text(text)
    for root in (split_folders, split_folders / name):
        ((kind, file),) = formats_of(root)
        assert tool in (kind.tool, *kind.also)
        assert file == split_folders / name


@pytest.mark.parametrize("case", FILES)
def test_beside_labels_and_masks_of_its_own_they_are_a_note(tmp_path, case):
    name, text, tool = FILES[case]
    root = make_folder(tmp_path)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    contents = read_folder(root)
    assert contents.problems == []
    assert f"{root / name} looks like {tool}, which is not read" in contents.notes


def test_beside_labels_of_its_own_a_folder_without_masks_gets_a_note(tmp_path):
    """Who trains on labels alone is not stopped by a file; a run that wants masks is, for there are none."""
    picture(tmp_path / "images" / "0.png")
    (tmp_path / "labels.csv").write_text("filename,classes\n0.png,cat\n")
    (tmp_path / "coco.json").write_text(json.dumps(COCO))
    contents = read_folder(tmp_path)
    assert contents.problems == []
    assert any("coco.json looks like a COCO file, which is not read" in note for note in contents.notes)


OTHERS = {
    "notes.txt": "0 pictures are missing\n",
    "list.txt": "images/0.png\nimages/1.png\n",
    "numbers.txt": "12 640 480 3 4\n",
    "config.yaml": "model: {names: 1}\ntrain: 3\n",
    "summary.json": '{"state": "finished", "class_names": ["a"]}',
    "more.csv": "filename,classes\n",
    "empty.json": "",
    "drawing.xml": "<svg/>",
}


def test_files_of_no_tool_are_not_taken_for_one(tmp_path):
    for name, text in OTHERS.items():
        (tmp_path / name).write_text(text)
    assert recognise(tmp_path / name for name in OTHERS) == []


def test_empty_labels_of_yolo_do_not_hide_the_others(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text("" if number < 19 else "0 0.5 0.5 0.25 0.1\n")
    (found,) = recognise(tmp_path.iterdir())
    assert (found.file.name, found.tool) == ("19.txt", "YOLO's labels")


def test_a_long_line_of_numbers_is_told_at_once(tmp_path):
    """Backtracking over every way to split it would take for ever."""
    (tmp_path / "a.txt").write_text("0 " + "0.123456789 " * 5_000 + "x")
    assert recognise([tmp_path / "a.txt"]) == []


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("data.yaml", "names: [cat]\ntrain: train/images\n", r"data\.yaml looks like YOLO's list of classes"),
        ("train/_annotations.coco.json", json.dumps(COCO), r"_annotations\.coco\.json looks like a COCO file"),
        ("cat/a.txt", "none", r"1 pictures lie elsewhere, the first .*train/images/0\.png: move them into images/"),
    ],
)  # fmt: skip
def test_a_folder_without_images_says_what_it_may_be(tmp_path, name, text, hint):
    picture(tmp_path / "train" / "images" / "0.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(FileNotFoundError, match=f"no folder of pictures here, expected .*images; .*{hint}"):
        read_folder(tmp_path)
