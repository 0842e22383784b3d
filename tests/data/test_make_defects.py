"""`data/make_defects.py`: a folder that the folder presets take as it is."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule

PATH = Path(__file__).parents[2] / "data" / "make_defects.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_defects", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_folder_has_no_problem_and_equal_seeds_make_equal_pictures(script, tmp_path, capsys):
    sizes = {"train": 40, "val": 6, "test": 6}
    script.make(tmp_path / "a", sizes=sizes)
    script.make(tmp_path / "b", sizes=sizes)
    assert main(["data", "check", str(tmp_path / "a")]) == 0
    assert "0 problems" in capsys.readouterr().out
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    data = FolderDataModule(root=str(tmp_path / "a"), image_size=64)
    data.setup("fit")
    assert data.class_names == ("scratch", "hole", "stain")
    with pytest.raises(FileExistsError, match="is not empty"):
        script.make(tmp_path / "a", sizes=sizes)


def test_a_mask_lies_on_what_was_changed(script):
    rng = np.random.default_rng(3)
    for kind in script.CLASSES:
        before = script.texture(rng)
        after, area = script.add_defect(before, kind, rng)
        change = np.abs(after - before).mean(2)
        assert change[area].mean() > 10 * change[~area].mean(), kind


def test_every_mask_shows_what_the_label_says(script, tmp_path):
    script.make(tmp_path, sizes={"test": 12})
    rows = (tmp_path / "labels.csv").read_text().splitlines()[1:]
    for name, classes, _ in (row.split(",") for row in rows):
        path = tmp_path / "masks" / name.replace(".jpg", ".png")
        shown = set(np.unique(np.array(Image.open(path)))) - {0} if path.is_file() else set()
        assert {script.CLASSES[index - 1] for index in shown} == set(filter(None, classes.split(";")))
