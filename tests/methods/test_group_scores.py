"""Scores of groups and of the worst class, in runs."""

import json

import numpy as np
import pytest
import torch
from fake_waterbirds import NAMES, make_waterbirds
from small_run import EXPERIMENTS, SMALL, rows

from gain_lightning.cli import main
from gain_lightning.runs.groups import read_groups

QUIET = [
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
]
TINY = [
    "--model.backbone=tiny_cnn",
    "--model.weights=none",
    "--model.output_stride=null",
    "--data.num_workers=0",
]
# y, place and split: a biased training, 11 of each group for val and 12 for test, but 3 of the last.
MANY = [(k % 2, k % 2, 0) for k in range(12)]
MANY += [(y, place, 1) for y in (0, 1) for place in (0, 1)] * 11
MANY += [(y, place, 2) for y in (0, 1) for place in (0, 1) for _ in range(3 if y and place else 12)]
GROUPS = ["landbird+land", "landbird+water", "waterbird+land", "waterbird+water"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on Waterbirds with groups; its best checkpoint is that of the best worst group."""
    folder = tmp_path_factory.mktemp("groups")
    root = make_waterbirds(folder / "waterbirds", MANY)
    config = ["--config", str(EXPERIMENTS / "folder" / "gradcam.yaml"), f"--data.root={root}"]
    groups = [
        f"--data.value_names={json.dumps(NAMES)}",
        "--data.group_by=[place]",
        "--model.task=single_label",
    ]
    small = [
        "--data.image_size=32",
        "--data.batch_size=6",
        "--data.min_steps_per_epoch=2",
        "--trainer.max_epochs=2",
    ]
    keep = ["--keep=best", "--keep_score=val/worst_group"]
    words = [*config, *groups, *small, *TINY, *QUIET, *keep, f"--run_dir={folder / 'run'}"]
    with pytest.warns(
        UserWarning, match=r"groups of test with fewer than 10 .* worst group: waterbird\+water \(3\)"
    ):
        assert main(["fit", *words]) == 0
    return folder / "run"


def right_by_group(run) -> dict[str, np.ndarray]:
    """Whether the likeliest class of each tested image is its own, by group, from ``per_image.csv``."""
    images: dict[str, list[dict[str, str]]] = {}
    for row in rows(run / "per_image.csv"):
        images.setdefault(row["id"], []).append(row)
    found: dict[str, list[bool]] = {}
    for of_image in images.values():
        likeliest = max(of_image, key=lambda row: float(row["score"]))
        found.setdefault(of_image[0]["group"], []).append(likeliest["present"] == "1")
    return {name: np.array(found[name]) for name in GROUPS}


def test_a_run_has_the_scores_of_its_groups(run):
    right = right_by_group(run)
    accuracy = [right[name].mean() for name in GROUPS]
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    of_test = {key.removeprefix("test/"): value for key, value in metrics.items() if key.startswith("test/")}
    assert [of_test[f"group/{name}"] for name in GROUPS] == pytest.approx(accuracy, abs=1e-6)
    # the last group has 3 images, so it is no worst one
    assert of_test["worst_group"] == pytest.approx(min(accuracy[:3]), abs=1e-6)
    assert of_test["group_mean"] == pytest.approx(np.mean(accuracy), abs=1e-6)
    assert of_test["test_average"] == pytest.approx(np.concatenate(list(right.values())).mean(), abs=1e-6)
    assert of_test["test_average"] == pytest.approx(of_test["accuracy"], abs=1e-6)
    # half of the training is landbirds on land, half waterbirds on water
    assert of_test["train_weighted_average"] == pytest.approx((accuracy[0] + accuracy[3]) / 2, abs=1e-6)
    assert {"val/worst_group", "val/group_mean", "val/group/waterbird+water"} <= metrics.keys()
    assert "val/test_average" not in metrics
    assert "worst_class" not in of_test


def test_the_table_of_groups_says_how_many_images_each_has(run):
    table = read_groups(run)
    assert table.names == GROUPS
    assert table.of("num_images") == dict(zip(GROUPS, (12, 12, 12, 3), strict=True))
    assert table.of("num_train") == dict(zip(GROUPS, (6, 0, 0, 6), strict=True))
    right = right_by_group(run)
    assert table.columns["accuracy"] == pytest.approx([right[name].mean() for name in GROUPS], abs=1e-9)


def test_the_best_checkpoint_is_that_of_the_worst_group(run):
    tested = json.loads((run / "summary.json").read_text())["tested"]
    assert tested["score"] == "val/worst_group"
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=False)
    (kept,) = [value for key, value in state["callbacks"].items() if key.startswith("KeepBest")]
    assert 0 <= float(kept["best_model_score"]) <= 1


def test_a_test_prints_each_group_with_its_number(run, capsys):
    with pytest.warns(UserWarning, match="fewer than 10"):
        assert main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", "best"]) == 0
    printed = capsys.readouterr().out
    assert "test group/landbird+water " in printed
    assert "(12 images)" in printed
    assert "(3 images, fewer than 10: left out of the worst group)" in printed


# The task, and the key of the worst class.
WITHOUT_GROUPS = {"single_label": "worst_class", "multi_label": "worst_class_ap", "regression": ""}


@pytest.mark.parametrize("task", WITHOUT_GROUPS)
def test_without_groups_the_worst_class_is_scored(task, tmp_path):
    key = WITHOUT_GROUPS[task]
    root = make_waterbirds(tmp_path / "waterbirds", MANY)
    config = ["--config", str(EXPERIMENTS / "folder" / "gradcam.yaml"), f"--data.root={root}"]
    small = [
        "--data.image_size=32",
        "--data.batch_size=6",
        "--data.min_steps_per_epoch=1",
        "--trainer.max_epochs=1",
    ]
    words = [*config, *small, *TINY, *QUIET, f"--model.task={task}", f"--run_dir={tmp_path / 'run'}"]
    words += ["--data.augmentation.scale=[1, 1]"] if task == "regression" else []
    assert main(["fit", *words]) == 0
    metrics = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert {name for name in metrics if "worst" in name} == ({f"val/{key}", f"test/{key}"} if key else set())
    assert not (tmp_path / "run" / "per_group.csv").exists()
    of_images = rows(tmp_path / "run" / "per_image.csv")
    assert "group" not in of_images[0]
    if key == "worst_class":
        score = np.array([float(row["score"]) for row in of_images]).reshape(-1, 2)
        present = np.array([row["present"] == "1" for row in of_images]).reshape(-1, 2)
        right = (score > score.mean(1, keepdims=True))[present]
        expected = min(right[present[:, column]].mean() for column in (0, 1))
        assert metrics["test/worst_class"] == pytest.approx(expected, abs=1e-6)
    if key == "worst_class_ap":
        classes = rows(tmp_path / "run" / "per_class.csv")
        assert metrics[f"test/{key}"] == pytest.approx(min(float(row["ap"]) for row in classes), abs=1e-6)


def test_shapes_score_the_groups_of_their_scene(tmp_path):
    config = ["--config", str(EXPERIMENTS / "shapes" / "gradcam.yaml")]
    assert main(["fit", *config, *SMALL, "--data.bias=0.5", f"--run_dir={tmp_path / 'run'}"]) == 0
    table = read_groups(tmp_path / "run")
    assert table.names == ["boat+water", "boat+no water", "no boat+water", "no boat+no water"]
    assert sum(table.columns["num_images"]) == 24
    assert sum(table.columns["num_train"]) == 64
