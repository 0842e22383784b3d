"""The drawn ``val``: alike in its classes, whole groups together, and as folds."""

import json
from pathlib import Path

import numpy as np
import pytest
from fake_folder import picture
from sklearn.model_selection import StratifiedGroupKFold

from gain_lightning.cli import main
from gain_lightning.datasets import FolderDataModule
from gain_lightning.datasets.contents import Contents, by_split
from gain_lightning.datasets.listing import Attributes, Listing, empty_boxes
from gain_lightning.datasets.run_data import open_run_data
from gain_lightning.datasets.val_draw import ValDraw, draw_folds, draw_randomly, with_val
from gain_lightning.runs.settings import refuse_other_settings


def contents(labels, splits=None, **columns) -> Contents:
    """Pictures p0, p1, ... with these labels, ``(n, C)``, in the splits of a table, if it names some."""
    labels = np.array(labels, np.uint8)
    num = len(labels)
    listing = Listing(
        root=Path("root"),
        class_names=tuple(f"class {idx}" for idx in range(labels.shape[1])),
        ids=np.array([f"p{n}" for n in range(num)]),
        labels=labels,
        image_pattern="{id}.png",
        mask_pattern="{id}.png",
        has_mask=np.zeros(labels.shape, bool),
        is_drawn=np.zeros(num, bool),
        **empty_boxes(),
        size=np.ones((num, 2), int),
        attributes=Attributes(
            np.arange(2, num + 2), {key: np.array(cells) for key, cells in columns.items()}
        ),
    )
    listings = by_split(listing, np.array(splits or [""] * num))
    return Contents(listings, [], [], Path("labels.csv"))


def of_one_class(numbers):
    """Labels of pictures that show one class each, by its number; None shows none."""
    classes = np.arange(1 + max(number for number in numbers if number is not None))
    return [(classes == (-1 if number is None else number)).astype(int) for number in numbers]


def many_labels(num=400, seed=0):
    """Labels of pictures with 0 to 8 of 8 classes, from the most frequent to one of a few pictures."""
    return np.random.default_rng(seed).random((num, 8)) < [0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01]


def shares(labels, part, k):
    return np.array([labels[part == place].sum(0) for place in range(k)])


@pytest.mark.parametrize("size", [2, 3, 7, 8, 100])
def test_val_is_a_fifth_and_at_least_one_where_train_keeps_one(size):
    drawn = with_val(contents([[1]] * size), ValDraw()).listings
    assert len(drawn["val"]) == max(1, round(size / 5))
    assert sorted(np.concatenate([each.ids for each in drawn.values()])) == sorted(
        f"p{n}" for n in range(size)
    )
    again = with_val(contents([[1]] * size), ValDraw()).listings
    assert again["val"].ids.tolist() == drawn["val"].ids.tolist()


def test_a_single_picture_is_for_training():
    assert list(with_val(contents([[1]]), ValDraw()).listings) == ["train"]


def test_val_has_its_share_of_every_class_and_of_the_negatives():
    labels = of_one_class([0] * 60 + [1] * 30 + [2] * 5 + [None] * 10 + [3] * 2 + [4])
    drawn = with_val(contents(labels), ValDraw()).listings
    assert drawn["val"].labels.sum(0).tolist() == [12, 6, 1, 0, 0]
    assert (drawn["val"].labels.sum(1) == 0).sum() == 2


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5, 0.8])
def test_a_val_of_many_labels_has_its_share_of_each(share):
    labels = many_labels()
    drawn = with_val(contents(labels), ValDraw(val_fraction=share)).listings
    assert abs(len(drawn["val"]) - 400 * share) <= 1
    assert np.abs(drawn["val"].labels.sum(0) - share * labels.sum(0)).max() <= 1


def test_folds_part_the_pictures_and_share_every_class():
    labels = many_labels()
    folds = [with_val(contents(labels), ValDraw(num_folds=5, fold=fold)).listings for fold in range(5)]
    assert sorted(np.concatenate([each["val"].ids for each in folds])) == sorted(f"p{n}" for n in range(400))
    for each in folds:
        assert not set(each["val"].ids) & set(each["train"].ids)
        assert len(each["val"]) in (79, 80, 81)
        assert np.abs(each["val"].labels.sum(0) - labels.sum(0) / 5).max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together_and_classes_are_shared_as_well_as_scikit_learn_does(seed):
    """Scikit-learn knows one class a picture and folds alone; of these it is the oracle."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 600)
    # a patient has mostly one disease
    disease = np.where(rng.random(600) < 0.8, rng.integers(0, 6, 40)[groups], rng.integers(0, 6, 600))
    labels = np.eye(6)[disease]
    part = draw_folds(labels, [0.2] * 5, groups)
    assert all(len(set(part[groups == group])) == 1 for group in range(40))
    theirs = np.zeros(600, int)
    for fold, (_, rows) in enumerate(StratifiedGroupKFold(5).split(labels, disease, groups)):
        theirs[rows] = fold
    wanted = labels.sum(0) / 5

    def chi_square(folds):
        return ((shares(labels, folds, 5) - wanted) ** 2 / wanted).sum()

    assert chi_square(part) <= 1.4 * chi_square(theirs)
    assert chi_square(part) < chi_square(rng.integers(0, 5, 40)[groups]) / 3


def test_pictures_of_one_value_are_in_one_split():
    patients = [f"patient {n // 4}" for n in range(40)]
    found = contents(of_one_class([0, 1] * 20), patient=patients)
    drawn = with_val(found, ValDraw(split_by="patient")).listings
    values = {split: set(each.attributes.values["patient"]) for split, each in drawn.items()}
    assert (len(values["train"]), len(values["val"])) == (8, 2)
    assert not values["train"] & values["val"]


def test_no_part_is_empty_where_groups_are_few():
    assert sorted(draw_folds(np.ones((10, 1)), [0.8, 0.2], np.arange(10) // 5)) == [0] * 5 + [1] * 5
    sizes = np.repeat(np.arange(3), [97, 2, 1])
    assert len(set(draw_folds(np.ones((100, 1)), [1 / 3] * 3, sizes))) == 3


@pytest.mark.parametrize(
    ("splits", "patients", "draw", "said"),
    [
        (None, "aabb", {"split_by": "patent"}, "data.split_by names 'patent', expected one of patient; did you mean"),
        (None, ["a", "", "b", "b"], {"split_by": "patient"}, "labels.csv:3: p1 has no patient, expected a value"),
        (None, "aaaa", {"split_by": "patient"}, "1 values of data.split_by patient make no 2 parts, expected at l"),
        (None, "aabb", {"num_folds": 3, "fold": 0, "split_by": "patient"}, "2 values of data.split_by patient make n"),
        (None, "abcd", {"num_folds": 5, "fold": 0}, "labels.csv: 4 pictures make no 5 parts, expected at least 5"),
        (
            ["train", "train", "val", "val"],
            "abcd",
            {"num_folds": 2, "fold": 0},
            "data.num_folds is 2, but the splits train, val are named here: expected none",
        ),
        (
            ["train", "train", "val", "test"],
            "abbc",
            {"split_by": "patient"},
            "labels.csv:4: patient 'b' is in train and in val, expected one split: data.split_by",
        ),
    ],
)  # fmt: skip
def test_draws_that_are_not_possible_are_problems(splits, patients, draw, said):
    found = with_val(contents(of_one_class([0, 1, 0, 1]), splits, patient=list(patients)), ValDraw(**draw))
    assert [str(problem).count(said) for problem in found.problems] == [1]


def test_named_splits_stay_where_groups_are_whole():
    named = contents(of_one_class([0, 1, 0]), ["train", "val", "train"], patient=["a", "b", "a"])
    assert with_val(named, ValDraw(split_by="patient")) == named
    assert with_val(named, ValDraw()) == named


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        ({"val_fraction": 1.0}, "data.val_fraction is 1.0, expected a share between 0 and 1"),
        ({"val_draw": "by class"}, "data.val_draw is 'by class', expected stratified or random"),
        ({"num_folds": 1, "fold": 0}, "data.num_folds is 1, expected at least 2, or null"),
        ({"num_folds": 5}, "data.fold is null and data.num_folds 5, expected both or none"),
        ({"fold": 0}, "data.fold is 0 and data.num_folds null, expected both or none"),
        ({"num_folds": 5, "fold": 5}, "data.fold is 5, expected 0..4, as data.num_folds is 5"),
        ({"val_draw": "random", "num_folds": 5, "fold": 1}, "random, which knows neither data.split_by nor"),
    ],
)
def test_settings_that_are_unfit_are_named(draw, said):
    with pytest.raises(ValueError, match=said):
        ValDraw(**draw).check()


# Runs of earlier versions -----------------------------------------------------------------------------------------


def folder(root, num=10):
    for number in range(num):
        picture(root / "images" / ("bad", "good")[number % 2] / f"{number}.png", number, size=(16, 16))
    return root


def test_a_run_of_an_earlier_version_keeps_its_val(tmp_path):
    """It drew the first of a permutation, whatever the labels, and its config has no word of it."""
    root, run = folder(tmp_path / "own"), tmp_path / "run"
    words = [f"--data.root={root}", "--data.image_size=16", "--data.batch_size=4", "--data.num_workers=0"]
    quick = [
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
        f"--run_dir={run}",
    ]
    fit = ["fit", "--data=FolderDataModule", *words, *quick, "--model.backbone=tiny_cnn"]
    assert main([*fit, "--data.val_draw=random", "--test_after_fit=false"]) == 0
    new = {"val_draw:", "split_by:", "num_folds:", "fold:"}
    text = (run / "config.yaml").read_text()
    lines = [
        line for line in text.splitlines(keepends=True) if line.split()[:1] and line.split()[0] not in new
    ]
    assert len(lines) == len(text.splitlines()) - 4
    (run / "config.yaml").write_text("".join(lines))

    names = sorted(path.relative_to(root / "images").as_posix() for path in (root / "images").glob("*/*"))
    theirs = sorted(names[row] for row in np.random.default_rng(0).permutation(10)[:2])
    assert sorted(np.array(names)[draw_randomly(10, 0.2) == "val"]) == theirs
    todays = FolderDataModule(root=str(root), image_size=16).contents.of("val").ids.tolist()
    assert todays != theirs
    assert open_run_data(run).contents.of("val").ids.tolist() == theirs
    assert main(["test", "--config", str(run / "config.yaml"), "--ckpt_path=last"]) == 0
    tested = {line.split(",")[1] for line in (run / "per_image.csv").read_text().splitlines()[1:]}
    assert sorted(tested) == theirs
    assert (
        main(["fit", "--config", str(run / "config.yaml"), "--ckpt_path=last", "--trainer.max_epochs=2"]) == 0
    )


def test_another_draw_than_that_of_the_run_is_refused(tmp_path):
    was = {"class_path": "FolderDataModule", "init_args": {"val_fraction": 0.2, "num_folds": 5, "fold": 0}}
    (tmp_path / "config.yaml").write_text(json.dumps({"data": was, "ckpt_path": None}))
    for key, value, old in (("fold", 1, 0), ("val_draw", "stratified", "random")):
        now = {"data": {**was, "init_args": {**was["init_args"], key: value}}}
        with pytest.raises(
            ValueError, match=f"^data.{key} is {value}, but {tmp_path} was trained with {old}: "
        ):
            refuse_other_settings(tmp_path, now, "test")
