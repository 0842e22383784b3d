"""What ``gain data check`` counts and notes, and what ``gain data show`` draws."""

from fake_folder import mask, picture
from PIL import Image

from gain_lightning.cli import main


def test_check_counts(folder, capsys):
    assert main(["data", "check", str(folder)]) == 0
    lines = {line.split("  ")[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["class"] == ["train", "val", "test", "night"]
    assert lines["dog"] == ["1", "1", "0", "1"]
    assert lines["pictures"][-4:] == ["3", "1", "1", "1"]
    assert lines["with masks"][-4:] == ["1", "1", "0", "0"]
    assert "0 problems" in lines


def test_notes_say_what_may_not_be_meant(folder, capsys):
    picture(folder / "images" / "spare.jpg")
    (folder / "classes.txt").write_text("dog\ncat\nCat\ncow\n")
    main(["data", "check", str(folder)])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: class 'Cat' has no training picture",
        "note: class 'cow' has no training picture",
        "note: classes 'cat' and 'Cat' are two: is one a slip?",
        "note: further test sets, scored by their accuracy alone: 'night'",
        "note: a run is supervised by masks or by boxes: --data.supervision mask, or box",
        f"note: not in labels.csv and not used: 1 of images/, the first {folder}/images/spare.jpg",
    ]


def test_notes_say_which_splits_are_judged_by_boxes(folder, capsys):
    """Of val and test; a split with a mask is judged by it, though it has boxes too."""

    def said():
        assert main(["data", "check", str(folder)]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if "box" in line and "note: " in line]

    with (folder / "boxes.csv").open("a") as file:
        file.write("p3.jpg,dog,0,0,8,8\np4.jpg,cat,5,5,40,30\n")
    both = "note: a run is supervised by masks or by boxes: --data.supervision mask, or box"
    assert said() == [both, "note: boxes judge the maps of 'test', by scores with names of their own"]
    for path in (folder / "masks").iterdir():
        path.unlink()
    assert said() == [
        "note: boxes alone: train with --data.supervision box",
        "note: boxes judge the maps of 'val', 'test', by scores with names of their own",
    ]


def test_notes_name_splits_of_another_spelling(folder, capsys):
    text = (folder / "labels.csv").read_text().replace(",train", ",trian").replace(",val", ",valid")
    (folder / "labels.csv").write_text(text)
    assert main(["data", "check", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "note: further test sets, scored by their accuracy alone: 'night', 'trian', 'valid'" in printed
    assert "note: neither split 'train' nor 'val': of use as one of --data.test_folders alone" in printed


def test_a_class_without_an_object_is_noted(tmp_path, capsys):
    for name in ("crack", "Good"):
        for number in range(3):
            picture(tmp_path / "images" / name / f"{number}.jpg")
    hint = "note: nothing is drawn of Good: --data.no_object_classes [Good] gives such a class no maps"
    main(["data", "check", str(tmp_path)])
    assert hint not in capsys.readouterr().out
    mask(tmp_path / "masks" / "crack" / "0.png", {2: (2, 3)})
    main(["data", "check", str(tmp_path)])
    assert hint in capsys.readouterr().out
    mask(tmp_path / "masks" / "Good" / "0.png", {1: (2, 3)})
    main(["data", "check", str(tmp_path)])
    assert hint not in capsys.readouterr().out


def test_notes_of_a_class_a_folder(tmp_path, capsys):
    for name in ("cat", "dog"):
        for number in range(3):
            picture(tmp_path / "images" / name / f"{number}.jpg")
    assert main(["data", "check", str(tmp_path)]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: one label each: train with --model.task single_label",
        "note: no test split: test scores will be those of val",
    ]


def test_show_draws_a_grid(folder, capsys, tmp_path):
    assert main(["data", "show", str(folder), "--out", str(tmp_path / "a" / "grid.png")]) == 0
    with Image.open(tmp_path / "a" / "grid.png") as grid:
        # a legend of two classes and void, then labels, pictures of 200 x 150 and their names
        assert grid.size == (6 * 206 + 6, 6 + 18 + 6 + 18 + 150 + 18 + 6)


def test_show_names_classes_by_number_that_no_font_has(folder, capsys, tmp_path):
    for table in ("labels.csv", "classes.txt", "boxes.csv"):
        text = (folder / table).read_text(encoding="utf-8")
        (folder / table).write_text(text.replace("cat", "\ue123"), encoding="utf-8")
    assert main(["data", "show", str(folder), "--out", str(tmp_path / "grid.png")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "note: class 2 is \ue123: no font of this machine has its letters",
        f"6 pictures: {tmp_path / 'grid.png'}",
    ]
