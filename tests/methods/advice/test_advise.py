"""``gain next`` on runs whose networks are as they were made: what is chosen, written, and refused."""

import csv
import json

import numpy as np
import pytest
from marked import masks_of_coco
from PIL import Image
from small_run import make_folder
from untrained_run import untrained_run

from gain_lightning.cli import main
from gain_lightning.datasets.mask_budget import read_mask_list
from gain_lightning.datasets.shapes import Shapes
from gain_lightning.datasets.shapes.boat import CLASSES
from gain_lightning.methods.advice import POLICIES
from gain_lightning.methods.load import load_classifier

MARKED = ["train_00001", "train_00003\tboat", "train_00008\t\tselect"]
NUM_TRAIN = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = {"class_path": "ShapesDataModule", "init_args": {"num_train": NUM_TRAIN, "mask_budget": 3}}
    return untrained_run(tmp_path_factory.mktemp("advice") / "run", CLASSES, 96, data, MARKED)


@pytest.fixture
def folder_run(tmp_path):
    """Six cats and dogs, of which cat 0 and cat 2 have masks, and a run that had none of them."""
    root = make_folder(tmp_path / "pets", ["cat", "dog", "cat", "dog", "dog", "cat", "cat", "dog"])
    (root / "masks").mkdir()
    for name in ("0", "2"):
        mask = np.zeros((40, 60), np.uint8)
        mask[:20, :30] = 1
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    table = (root / "labels.csv").read_text().splitlines()
    splits = ["split", *["train"] * 6, "val", "val"]
    text = "".join(f"{row},{split}\n" for row, split in zip(table, splits, strict=True))
    (root / "labels.csv").write_text(text)
    data = {"class_path": "FolderDataModule", "init_args": {"root": str(root), "image_size": 32}}
    return untrained_run(tmp_path / "run", ["cat", "dog"], 32, data)


def advise(run, out, *more):
    return main(["next", str(run), f"--out={out}", "--device=cpu", *more])


def chosen(out):
    return (out / "to_mark.txt").read_text().split()


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_chooses_what_is_not_marked(run, tmp_path, policy):
    assert advise(run, tmp_path, "--simulated", "-n", "6", "--policy", policy) == 0
    ids = chosen(tmp_path)
    assert len(set(ids)) == 6
    assert not set(ids) & {line.split("\t")[0] for line in MARKED}
    with (tmp_path / "next.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ids
    images = Shapes("boat", "train", range(NUM_TRAIN))
    for row in rows:
        label = images.labels[images.ids.index(row["id"])]
        assert label[CLASSES.index(row["class"])]
        assert row["why"]
    note = json.loads((tmp_path / "next.json").read_text())
    assert (note["policy"], note["num_marked"]) == (policy, 3)
    # a picture without a class has nothing to mark
    assert note["num_candidates"] == sum(images.labels.any(1)) - 3


def test_the_mask_list_is_what_a_training_takes(run, tmp_path):
    """It holds what the run was trained with, as it was written there, and the new images."""
    assert advise(run, tmp_path, "--simulated", "-n", "4") == 0
    lines = (tmp_path / "mask_list.txt").read_text().splitlines()
    assert lines == MARKED + chosen(tmp_path)
    images = Shapes("boat", "train", range(NUM_TRAIN))
    drawn = read_mask_list(tmp_path / "mask_list.txt", images.ids, images.labels > 0, CLASSES)
    assert drawn.any(1).sum() == 7


def test_the_same_command_chooses_the_same(run, tmp_path):
    options = ["--simulated", "-n", "5", "--policy", "random"]
    seeds = [["--seed=1"], ["--seed=1"], ["--seed=2"]]
    for number, seed in enumerate(seeds):
        assert advise(run, tmp_path / str(number), *options, *seed) == 0
    ids = [chosen(tmp_path / str(number)) for number in range(3)]
    assert ids[0] == ids[1] != ids[2]


def test_exports_hold_the_pictures_and_their_maps(run, tmp_path):
    options = [
        "--simulated",
        "-n",
        "3",
        "--threshold=0.5",
        "--export",
        "coco",
        "labelstudio",
        "cvat",
        "labelme",
    ]
    assert advise(run, tmp_path, *options) == 0
    ids = chosen(tmp_path)
    found = masks_of_coco(tmp_path / "coco.json")
    assert list(found) == [f"{name}.png" for name in ids]
    images = Shapes("boat", "train", range(NUM_TRAIN))
    model = load_classifier(run / "checkpoints" / "last.ckpt").eval()
    for name in ids:
        row = images.ids.index(name)
        picture = np.array(Image.open(tmp_path / "images" / f"{name}.png"))
        np.testing.assert_array_equal(picture, images.picture(row))
        sample = images[row]
        image = model.backbone.normalize(sample["image"][None])
        _, maps, pairs = model.attend(image, sample["label"][None])
        placed = model.place(maps, (96, 96))[:, 0].numpy()
        expected = {
            (CLASSES[class_idx], False): attention > 0.5 * attention.max()
            for attention, class_idx in zip(placed, pairs.label.tolist(), strict=True)
            if attention.max() > 1e-6
        }
        assert found[f"{name}.png"].keys() == expected.keys()
        for key, mask in expected.items():
            # a value may lie on the threshold
            assert (found[f"{name}.png"][key] != mask).mean() < 1e-3
    assert len(json.loads((tmp_path / "labelstudio.json").read_text())) == 3
    assert (tmp_path / "cvat.xml").read_text().count("<image ") == 3
    assert len(list((tmp_path / "labelme").glob("*.json"))) == 3


def test_the_grid_shows_each_picture_beside_its_map(run, tmp_path):
    assert advise(run, tmp_path, "--simulated", "-n", "4") == 0
    grid = np.array(Image.open(tmp_path / "next.png"))
    images = Shapes("boat", "train", range(NUM_TRAIN))
    row = images.ids.index(chosen(tmp_path)[0])
    first = Image.fromarray(images.picture(row)).resize((180, 180))
    found = [
        top
        for top in range(16, 100)
        if grid[top : top + 180, 8 : 8 + 180].shape == (180, 180, 3)
        and (grid[top : top + 180, 8 : 8 + 180] == np.asarray(first)).all()
    ]
    assert len(found) == 1
    over = grid[found[0] : found[0] + 180, 8 + 180 + 4 : 8 + 2 * 180 + 4]
    assert over.shape == (180, 180, 3)
    # half of the picture's colour shines through the map
    assert np.corrcoef(over.ravel(), np.asarray(first).ravel())[0, 1] > 0.3


def test_what_has_a_mask_in_the_data_is_marked(folder_run, tmp_path):
    """Also where the run had none; and what a list excludes is not chosen."""
    (tmp_path / "others.txt").write_text("1.png\n")
    options = ["-n", "3", "--exclude", str(tmp_path / "others.txt"), "--export", "coco"]
    assert advise(folder_run, tmp_path / "out", *options) == 0
    assert sorted(chosen(tmp_path / "out")) == ["3.png", "4.png", "5.png"]
    assert (tmp_path / "out" / "mask_list.txt").read_text().split() == chosen(tmp_path / "out")
    copied = (tmp_path / "out" / "images" / "3.png").read_bytes()
    assert copied == (tmp_path / "pets" / "images" / "3.png").read_bytes()
    assert set(masks_of_coco(tmp_path / "out" / "coco.json")) == {"3.png", "4.png", "5.png"}


def test_marks_in_the_data_teach(folder_run, tmp_path):
    assert advise(folder_run, tmp_path / "out", "-n", "1", "--policy=unlike_marked") == 0
    with (tmp_path / "out" / "next.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    # no dog is marked, so a dog is least like what is
    assert (row["class"], row["value"]) == ("dog", "2")


def test_strata_are_classes_and_groups_or_none(folder_run, tmp_path):
    for words, strata in (
        ([], ["class"]),
        (["--stratify"], []),
        (["--stratify", "class", "group"], ["class"]),
    ):
        out = tmp_path / "-".join(words or ["none"])
        assert advise(folder_run, out, "-n", "2", *words) == 0
        assert json.loads((out / "next.json").read_text())["strata"] == strata


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "all 40 training images have marks"),
        (["--simulated", "-n", "38"], "asked for 38 images, but"),
        (["--simulated", "--exclude", "nowhere.txt"], "--exclude nowhere.txt: no such file"),
    ],
)
def test_what_cannot_be_is_refused(run, tmp_path, capsys, options, message):
    assert advise(run, tmp_path / "out", *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_earlier_choice_stays(run, tmp_path, capsys):
    assert advise(run, tmp_path, "--simulated", "-n", "2") == 0
    before = chosen(tmp_path)
    assert advise(run, tmp_path, "--simulated", "-n", "2", "--seed=5") == 1
    assert "holds to_mark.txt of an earlier choice" in capsys.readouterr().err
    assert chosen(tmp_path) == before
