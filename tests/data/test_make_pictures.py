"""`data/make_pictures.py`: folders that the folder presets take as they are."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule

PATH = Path(__file__).parents[2] / "data" / "make_pictures.py"
SIZES = {"train": 40, "val": 6, "test": 6}
SCENES = {
    "defects": ("scratch", "hole", "stain"),
    "one_defect": ("scratch", "hole", "stain", "normal"),
    "small_objects": ("star", "cross", "crescent", "arrow"),
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_pictures", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(script, tmp_path_factory):
    """A small set of each scene."""
    root = tmp_path_factory.mktemp("made")
    for name in SCENES:
        script.make(root / name, name, sizes=SIZES)
    return root


def labels(root: Path) -> list[tuple[str, list[str], str]]:
    """Return the name, the classes and the split of every picture."""
    with (root / "labels.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return [(row["filename"], row["classes"].split(";"), row["split"]) for row in rows]


def shown(root: Path, name: str) -> dict[int, float]:
    """Return the share of its picture that each class covers in a mask, by index; empty without a mask."""
    path = root / "masks" / name.replace(".jpg", ".png")
    if not path.is_file():
        return {}
    mask = np.array(Image.open(path))
    return {int(index): float((mask == index).mean()) for index in np.unique(mask) if index}


@pytest.mark.parametrize("name", SCENES)
def test_the_folder_has_no_problem(name, made, capsys):
    assert main(["data", "check", str(made / name)]) == 0
    said = capsys.readouterr().out
    assert "0 problems" in said
    # The options that the sweeps of "do no harm" give are those that the check names.
    assert ("--model.task single_label" in said) == (name != "defects")
    assert ("--data.no_object_classes [normal]" in said) == (name == "one_defect")
    data = FolderDataModule(root=str(made / name), image_size=64)
    data.setup("fit")
    assert data.class_names == SCENES[name]


@pytest.mark.parametrize("name", SCENES)
def test_equal_seeds_make_equal_pictures(name, script, tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        script.make(tmp_path / folder, name, seed, {"train": 3})
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    first = Path("images", "train_0000.jpg")
    assert (tmp_path / "a" / first).read_bytes() != (tmp_path / "c" / first).read_bytes()


def test_a_folder_that_holds_something_is_left_alone(script, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        script.make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("kind", SCENES["defects"])
@pytest.mark.parametrize("contrast", [1.0, 0.5])
def test_a_mask_of_a_defect_lies_on_what_was_changed(kind, contrast, script):
    before = script.texture(np.random.default_rng(3))
    after, area = script.add_defect(before, kind, np.random.default_rng(4), contrast)
    change = np.abs(after - before).mean(2)
    assert change[area].mean() > 10 * change[~area].mean()
    whole = np.abs(script.add_defect(before, kind, np.random.default_rng(4))[0] - before).mean(2)
    assert change[area].mean() == pytest.approx(contrast * whole[area].mean(), rel=0.05)


@pytest.mark.parametrize("kind", [*SCENES["small_objects"], "disc", "square", "triangle", "bar", "half"])
def test_a_shape_covers_its_share_and_its_mask_lies_on_what_was_changed(kind, script):
    before = np.full((script.SIDE, script.SIDE, 3), 120.0)
    for seed in range(8):
        after, area = script.add_shape(before, kind, 0.03, np.random.default_rng(seed))
        assert area.mean() == pytest.approx(0.03, rel=0.15)
        rows, columns = np.nonzero(area)
        assert min(rows.min(), columns.min()) > 0
        assert max(rows.max(), columns.max()) < script.SIDE - 1
        change = np.abs(after - before).max(2)
        assert change[area].mean() > 20 * change[~area].mean()


def test_every_mask_shows_what_the_label_says(made):
    for name, classes in SCENES.items():
        for file, label, split in labels(made / name):
            seen = {classes[index - 1] for index in shown(made / name, file)}
            # A tenth of the defects' training pictures have masks, and a surface without a defect has none.
            if split != "train" or (name != "defects" and label != ["normal"]) or seen:
                assert seen == set(label) - {"", "normal"}, (name, file)


def test_a_tenth_of_the_training_pictures_with_defects_have_masks(script, made):
    with_defect = [
        file for file, label, split in labels(made / "defects") if split == "train" and label != [""]
    ]
    assert 0 < sum(bool(shown(made / "defects", file)) for file in with_defect) < len(with_defect) / 2


@pytest.mark.parametrize("name", ["one_defect", "small_objects"])
def test_single_labels_are_of_every_class(name, made):
    found = [label for _, label, _ in labels(made / name)]
    assert all(len(label) == 1 for label in found)
    assert {label[0] for label in found} == set(SCENES[name])


def test_the_object_is_small_and_nothing_lies_over_it(made):
    shares = [
        share
        for file, _, _ in labels(made / "small_objects")
        for share in shown(made / "small_objects", file).values()
    ]
    assert len(shares) == sum(SIZES.values())
    # The border of a polygon belongs to it, so that it covers a little more than its corners say.
    assert 0.019 < min(shares) < max(shares) < 0.046
