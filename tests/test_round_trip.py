"""Marks go out to a tool and come home: the way of docs/annotate.md, with a person who marks what is true."""

import csv
import shutil

import numpy as np
import pytest
from benchmark_scripts import load
from marked import iou
from small_run import EXPERIMENTS
from untrained_run import untrained_run

from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule
from gain_lightning.datasets.readers.folder import read_folder
from gain_lightning.datasets.shapes.boat import CLASSES
from gain_lightning.runs.summary import read_summary

TRIP = load("round_trip")
SIZES = {"train": 12, "val": 4}


@pytest.fixture(scope="module")
def boats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trip") / "boats"
    TRIP.make_folder(folder, SIZES)
    return folder


def masks_of(folder):
    """The masks of a folder's training pictures by name and class, those that are drawn."""
    listing = read_folder(folder).listing
    found = {}
    for row in np.flatnonzero(listing.is_drawn).tolist():
        masks = listing.class_masks(row, tuple(listing.size[row].tolist()))
        named = zip(masks.class_idx.tolist(), masks.mask, strict=True)
        found[str(listing.ids[row])] = {listing.class_names[idx]: mask for idx, mask in named}
    return {name: masks for name, masks in found.items() if name.startswith("train/")}


@pytest.mark.parametrize(
    ("tool", "least"), [("coco", 1.0), ("labelstudio", 1.0), ("cvat", 1.0), ("labelme", 0.99)]
)
def test_marks_of_every_tool_come_home(boats, tmp_path, tool, least):
    """Chosen, marked, imported, trained with; and a second round chooses others."""
    root = tmp_path / "boats"
    shutil.copytree(boats, root)
    data = {"class_path": "FolderDataModule", "init_args": {"root": str(root), "image_size": 96}}
    run, first, second = untrained_run(tmp_path / "run", CLASSES, 96, data), tmp_path / "1", tmp_path / "2"
    assert main(["next", str(run), "-n=3", f"--out={first}", "--export", tool, "--device=cpu"]) == 0
    true = TRIP.true_masks(first)
    marks = TRIP.mark(tool, first, tmp_path / "marks", true)
    assert main(["data", "import", str(marks), "--out", str(root), *TRIP.ASKED.get(tool, [])]) == 0

    home = masks_of(root)
    assert home.keys() == true.keys()
    for name, mask in true.items():
        labels = [CLASSES[idx] for idx in np.flatnonzero(TRIP.picture_of(name).label)]
        assert sorted(home[name]) == sorted(labels)
        for class_name in labels:
            assert iou(home[name][class_name] == 1, mask == CLASSES.index(class_name) + 1) >= least
    with (root / "labels.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == sum(SIZES.values())
    module = FolderDataModule(root=str(root), image_size=96, mask_budget=str(first / "mask_list.txt"))
    module.setup("fit")
    assert set(module.masked_ids) == true.keys()

    assert main(["next", str(run), "-n=3", f"--out={second}", "--device=cpu"]) == 0
    assert not true.keys() & set((second / "to_mark.txt").read_text().split())


@pytest.mark.slow
def test_the_whole_way_is_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    words = ["round_trip.py", f"--out={tmp_path}", "--num_train=40", "--num_test=8", "--count=4"]
    quick = ["--trainer.max_epochs=1", "--model.warmup=0", "--trainer.accelerator=cpu"]
    monkeypatch.setattr("sys.argv", [*words, *quick])
    TRIP.main()
    assert [read_summary(tmp_path / run)["method"] for run in ("gradcam", "gain_ext")] == [
        "gradcam",
        "gain_ext",
    ]
    first, second = ((tmp_path / name / "to_mark.txt").read_text().split() for name in ("next1", "next2"))
    assert sorted((tmp_path / "gain_ext" / "masked_ids.txt").read_text().split()) == sorted(first)
    assert len(set(first) | set(second)) == 8
    assert (tmp_path / "next2" / "mask_list.txt").read_text().split()[-4:] == second
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "round_trip.png").is_file()
