"""`data/prepare_waterbirds.py`, on a made miniature, and on the real set where there is one."""

import collections
import csv
import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_run import EXPERIMENTS

from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule

PATH = Path(__file__).parents[2] / "data" / "prepare_waterbirds.py"
WIDTH, HEIGHT = 60, 40
# y, place and split of each picture: 8 for training, wholly biased, and each group once for val and twice for test.
BIRDS = [(k % 2, k % 2, 0) for k in range(8)]
BIRDS += [(y, place, split) for y in (0, 1) for place in (0, 1) for split in (1, 2, 2)]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("prepare_waterbirds", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path):
    """A miniature as it is published; the box of picture 3 begins left of it, that of the last ends below it."""
    root = tmp_path / "waterbirds"
    rows, boxes = ["img_id,img_filename,y,split,place,place_filename"], []
    for number, (y, place, split) in enumerate(BIRDS, start=1):
        name = f"{number % 3:03d}.Bird/Bird_{number}.jpg"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / name)
        rows.append(f"{number},{name},{y},{split},{place},/o/ocean/0.jpg")
        x, height = -2.5 if number == 3 else 10.25, 35.0 if number == len(BIRDS) else 20.0
        boxes.append(f"{number} {x} 8.0 30.0 {height}")
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    (root / "bounding_boxes.txt").write_text("\n".join(boxes) + "\n")
    return root


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_has_no_problem_and_the_groups_are_further_test_sets(script, source, tmp_path, capsys):
    assert script.main([str(source), str(tmp_path / "own")]) == 0
    assert "20 pictures, 2 boxes clipped" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "own")]) == 0
    said = capsys.readouterr().out
    assert "0 problems" in said
    # The options that the sweep of "do no harm" gives are those that the check names.
    assert "--model.task single_label" in said
    assert "--data.supervision mask, or box" in said
    data = FolderDataModule(root=str(tmp_path / "own"), image_size=32, supervision="box", mask_budget=0.5)
    data.setup("fit")
    assert data.class_names == ("landbird", "waterbird")
    assert (len(data.train_set), len(data.masked_set), len(data.val_set)) == (8, 4, 4)
    groups = [f"{bird}_on_{ground}" for bird in ("landbird", "waterbird") for ground in ("land", "water")]
    assert {name: len(images) for name, images in data.test_sets.items()} == {
        "test": 8,
        **dict.fromkeys(groups, 2),
    }
    for name in groups:
        label = data.test_sets[name].labels
        assert (label.argmax(1) == ["landbird", "waterbird"].index(name.split("_")[0])).all()
    for row in table(tmp_path / "own" / "labels.csv"):
        number = int(row["filename"].rpartition("_")[2].removesuffix(".jpg"))
        y, place, split = BIRDS[number - 1]
        group = f"{('landbird', 'waterbird')[y]}_on_{('land', 'water')[place]}"
        assert row["split"] in {("train", "val", "test")[split], group}


def test_boxes_are_clipped_and_those_of_val_and_test_are_masks(script, source, tmp_path):
    script.prepare(source, tmp_path / "own")
    boxes = {
        int(row["filename"].rpartition("_")[2][:-4]): row for row in table(tmp_path / "own" / "boxes.csv")
    }
    assert len(boxes) == len(BIRDS)
    corners = {
        number: [float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")] for number, row in boxes.items()
    }
    assert corners.pop(3) == [0, 8, 27.5, 28]
    assert corners.pop(len(BIRDS)) == [10.25, 8, 40.25, HEIGHT]
    assert all(box == [10.25, 8, 40.25, 28] for box in corners.values())
    for number, (y, _, split) in enumerate(BIRDS, start=1):
        path = (tmp_path / "own" / "masks" / boxes[number]["filename"]).with_suffix(".png")
        assert path.is_file() == (split != 0)
        if split:
            expected = np.zeros((HEIGHT, WIDTH), np.uint8)
            expected[8 : HEIGHT if number == len(BIRDS) else 28, 10:40] = y + 1
            np.testing.assert_array_equal(np.array(Image.open(path)), expected)


@pytest.mark.parametrize("fails", [(), ("link",), ("link", "symlink")])
def test_pictures_are_linked_and_copied_where_links_fail(fails, script, source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    for name in fails:
        monkeypatch.setattr(os, name, refuse)
    before = {path: path.read_bytes() for path in source.rglob("*.*") if path.is_file()}
    script.prepare(source, tmp_path / "own")
    made = tmp_path / "own" / "images" / "001.Bird" / "Bird_1.jpg"
    assert made.is_symlink() == (fails == ("link",))
    assert made.samefile(source / "001.Bird" / "Bird_1.jpg") == (len(fails) < 2)
    assert made.read_bytes() == before[source / "001.Bird" / "Bird_1.jpg"]
    assert {path: path.read_bytes() for path in source.rglob("*.*") if path.is_file()} == before


NO_CLASS = "img_id,img_filename,y,split,place\n1,a.jpg,2,0,0\n"
# What is done to a file, and what is said; None deletes the file.
SPOILED = {
    "no table": ("metadata.csv", None, r"metadata\.csv"),
    "no column": ("metadata.csv", "img_id,y\n", r"metadata\.csv:1: no column 'img_filename'; got img_id,y"),
    "no class": ("metadata.csv", NO_CLASS, r"metadata\.csv:2: y is '2', expected one of 0, 1"),
    "no picture": ("001.Bird/Bird_1.jpg", None, r"Bird_1\.jpg"),
    "no boxes": ("bounding_boxes.txt", None, r"bounding_boxes\.txt"),
    "broken box": ("bounding_boxes.txt", "1 2 3\n", r"txt:1: got '1 2 3', expected img_id x y width height"),
    "a box missing": ("bounding_boxes.txt", "1 2 3 4 5\n", r"no box of 002\.Bird/Bird_2\.jpg, img_id 2"),
    "a box outside": (
        "bounding_boxes.txt",
        "1 90 3 4 5\n",
        r"box of img_id 1 is \[90\.0, 3\.0, 94\.0, 8\.0\]",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_missing_or_broken_is_named(name, script, source, tmp_path, capsys):
    file, text, message = SPOILED[name]
    (source / file).unlink()
    if text is not None:
        (source / file).write_text(text)
    assert script.main([str(source), str(tmp_path / "own")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("prepare_waterbirds: error: ")
    assert re.search(message, said), said


def test_a_folder_that_holds_something_is_left_alone(script, source, tmp_path, capsys):
    assert script.main([str(source), str(source)]) == 1
    assert "is not empty, expected a new folder" in capsys.readouterr().err


def test_gain_ext_trains_on_its_boxes_by_the_options_of_the_sweep(script, source, tmp_path):
    script.prepare(source, tmp_path / "own")
    options = ["--model.task=single_label", "--data.supervision=box", "--data.mask_budget=0.1"]
    options += ["--data.batch_size=2", "--data.num_workers=0", "--model.weights=none", "--model.warmup=0"]
    quiet = ["--trainer.fast_dev_run=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    config = ["--config", str(EXPERIMENTS / "folder" / "gain_ext.yaml"), f"--data.root={tmp_path / 'own'}"]
    assert main(["fit", *config, *options, *quiet, f"--run_dir={tmp_path / 'run'}"]) == 0


@pytest.mark.slow
def test_the_real_set_has_the_counts_of_its_table(script, tmp_path, waterbirds_root):
    # Eight boxes reach beyond their picture by 0.8 to 12 pixels; 45 do by at most 0.6, since scaling rounds.
    assert script.prepare(waterbirds_root, tmp_path / "own") == (11788, 53)
    count = collections.Counter(
        (row["split"], row["classes"]) for row in table(tmp_path / "own" / "labels.csv")
    )
    assert count == {
        ("train", "landbird"): 3694,
        ("train", "waterbird"): 1101,
        ("val", "landbird"): 461 + 460,
        ("val", "waterbird"): 139 + 139,
        ("test", "landbird"): 2255 + 2255,
        ("test", "waterbird"): 642 + 642,
        ("landbird_on_land", "landbird"): 2255,
        ("landbird_on_water", "landbird"): 2255,
        ("waterbird_on_land", "waterbird"): 642,
        ("waterbird_on_water", "waterbird"): 642,
    }
    assert sum(1 for _ in (tmp_path / "own" / "masks").rglob("*.png")) == 1199 + 5794
    boxes = table(tmp_path / "own" / "boxes.csv")
    assert len(boxes) == 11788
    # A box covers 32 % of its picture in the median.
    shares = []
    for row in boxes[::25]:
        with Image.open(tmp_path / "own" / "images" / row["filename"]) as image:
            width, height = image.size
        sides = [float(row[f"{axis}max"]) - float(row[f"{axis}min"]) for axis in "xy"]
        shares.append(sides[0] * sides[1] / (width * height))
    assert np.median(shares) == pytest.approx(0.32, abs=0.03)
