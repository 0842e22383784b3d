"""`gain reproduce waterbirds`: runs in their turn, once, and their table."""

import csv
import json
import os
from pathlib import Path

import pytest
import yaml
from fake_waterbirds import BIRDS, NAMES, make_waterbirds
from small_run import EXPERIMENTS

from gain_lightning.cli import main
from gain_lightning.runs.making import Making
from gain_lightning.studies.waterbirds import METHODS, plan_runs
from gain_lightning.studies.waterbirds_table import COLUMNS

GROUPS = ["landbird+land", "landbird+water", "waterbird+land", "waterbird+water"]
SCORES = {f"test/group/{name}": 0.9 - number / 10 for number, name in enumerate(GROUPS)}
SCORES |= {"test/worst_group": 0.6, "test/group_mean": 0.75, "test/test_average": 0.8}


@pytest.fixture
def root(tmp_path):
    """Of each group ten pictures for the test, the fewest that can be the worst group."""
    birds = BIRDS + [(y, place, 2) for y in (0, 1) for place in (0, 1) for _ in range(8)]
    return make_waterbirds(tmp_path / "birds", birds)


@pytest.fixture
def configs(tmp_path):
    """Stand-ins of the configs, of a tiny network and a short training."""
    folder = tmp_path / "experiments" / "waterbirds"
    folder.mkdir(parents=True)
    data = {"root": "", "image_size": 32, "num_workers": 0, "batch_size": 4, "masked_batch_size": 1}
    data |= {"value_names": NAMES, "group_by": ["place"], "supervision": "box", "mask_budget": 0}
    weights = {"gradcam": (0, 0), "gain": (1, 0), "gain_ext": (0, 1)}
    for name, (am_weight, ext_weight) in weights.items():
        config = {
            "model": {"task": "single_label", "am_weight": am_weight, "ext_weight": ext_weight},
            "data": {"class_path": "FolderDataModule", "init_args": data},
            "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    for path in (EXPERIMENTS / "waterbirds").glob("with_*.yaml"):
        (folder / path.name).write_text(path.read_text())
    return folder


@pytest.fixture
def fits(monkeypatch):
    """Trainings that write what says that they are done, and nothing else; the words of those that were run."""
    begun = []

    def do(self, *words):
        begun.append(words)
        folder = Path(words[words.index("--run_dir") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps({"state": "finished", "metrics": SCORES}))

    monkeypatch.setattr(Making, "do", do)
    return begun


def reproduce(tmp_path, *more):
    paths = [f"--root={tmp_path / 'birds'}", f"--out={tmp_path / 'out'}"]
    return main(["reproduce", "waterbirds", *paths, f"--experiments={tmp_path / 'experiments'}", *more])


def table(tmp_path):
    with (tmp_path / "out" / "table.csv").open() as file:
        return {row["method"]: row for row in csv.DictReader(file) if row["source"] == "here"}


def names_of(fits):
    return [Path(words[words.index("--run_dir") + 1]).name for words in fits]


def configs_of(words):
    return [Path(words[place + 1]).stem for place, word in enumerate(words) if word == "--config"]


def test_every_method_and_seed_is_trained_once(tmp_path, root, configs, fits, capsys):
    assert reproduce(tmp_path, "--methods", "gradcam", "gain_ext_5", "--seeds", "0", "1") == 0
    assert names_of(fits) == ["gradcam-0", "gain_ext_5-0", "gradcam-1", "gain_ext_5-1"]
    assert reproduce(tmp_path, "--methods", "gain_ext_5", "gain", "gain", "--seeds", "1") == 0
    assert names_of(fits)[4:] == ["gain-1"]
    assert {method: row["runs"] for method, row in table(tmp_path).items()} == {
        "gradcam": "2",
        "gain": "1",
        "gain_ext_5": "2",
    }
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.txt").read_text() in printed


def test_all_methods_are_the_defaults(tmp_path, root, configs, fits):
    assert reproduce(tmp_path) == 0
    assert names_of(fits) == [f"{method}-0" for method in METHODS]
    assert len(METHODS) == 11
    # The table has them in the same order.
    assert list(table(tmp_path)) == list(METHODS)


@pytest.mark.parametrize(
    ("method", "options", "config", "budget"),
    [
        ("gradcam", [], ["gradcam"], None),
        ("gain", ["--reversed"], ["gain", "with_reversed"], None),
        ("gain_ext_1", [], ["gain_ext"], "0.01"),
        ("gain_ext_10_l1", [], ["gain_ext", "with_l1"], "0.1"),
        ("gain_ext_5_energy", ["--reversed"], ["gain_ext", "with_energy", "with_reversed"], "0.05"),
        ("gain_ext_100", [], ["gain_ext"], "1.0"),
    ],
)
def test_a_method_is_its_configs_and_its_budget(
    tmp_path, root, configs, fits, method, options, config, budget
):
    assert reproduce(tmp_path, "--methods", method, *options) == 0
    (words,) = fits
    assert configs_of(words) == config
    budgets = [word.partition("=")[2] for word in words if word.startswith("--data.mask_budget=")]
    assert budgets == ([] if budget is None else [budget])
    assert f"--data.root={root}" in words


def test_a_config_of_ones_own_is_a_method_too(tmp_path, root, configs, fits):
    (configs / "balanced.yaml").write_text((configs / "gradcam.yaml").read_text())
    assert reproduce(tmp_path, "--methods", "balanced", "gain_ext_1", "balanced_5_l1") == 0
    assert [configs_of(words) for words in fits] == [["balanced"], ["gain_ext"], ["balanced", "with_l1"]]
    assert list(table(tmp_path)) == ["gain_ext_1", "balanced", "balanced_5_l1"]


def test_scores_come_from_the_groups_of_the_task(tmp_path, root, configs, fits, monkeypatch):
    assert reproduce(tmp_path, "--methods", "gradcam") == 0
    row = table(tmp_path)["gradcam"]
    assert [float(row[f"{bird} on {ground}"]) for bird, ground in (name.split("+") for name in GROUPS)] == (
        pytest.approx([0.9, 0.8, 0.7, 0.6])
    )
    assert [float(row[name]) for name in ("worst_group", "group_mean", "test_average")] == [0.6, 0.75, 0.8]
    for name in GROUPS:
        bird, ground = name.split("+")
        monkeypatch.setitem(SCORES, f"test/group/{ground}+{bird}", SCORES[f"test/group/{name}"] / 2)
    assert reproduce(tmp_path, "--methods", "gain", "--reversed") == 0
    assert float(table(tmp_path)["gain"]["landbird on water"]) == pytest.approx(0.4)


def test_what_was_made_of_something_else_is_refused(tmp_path, root, configs, fits, capsys):
    """Another config, a change of it, another task, other boxes; a remark in a config is no change."""
    method = ["--methods", "gain_ext_1_energy"]
    assert reproduce(tmp_path, *method) == 0
    fits.clear()

    def refused(what, *options):
        assert reproduce(tmp_path, *method, *options) == 1
        assert f"what is here was made of other {what}: expected another --out" in capsys.readouterr().err

    for name in ("gain_ext", "with_energy"):
        path = configs / f"{name}.yaml"
        text = path.read_text()
        path.write_text(f"# a remark\n{text}")
        assert reproduce(tmp_path, *method) == 0
        path.write_text(text.replace("ext_weight: ", "ext_weight: 3"))
        refused("configs")
        path.write_text(text)
    refused("configs", "--reversed")
    path = root / "bounding_boxes.txt"
    path.write_text(path.read_text().replace("30.0", "29.0"))
    refused("images")
    assert fits == []
    assert reproduce(tmp_path, "--methods", "gradcam") == 0
    # The table leaves out what is of other images.
    assert list(table(tmp_path)) == ["gradcam"]


def test_a_run_that_was_interrupted_goes_on(tmp_path, root, configs, fits):
    checkpoints = tmp_path / "out" / "gain-3" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.ckpt").touch()
    assert reproduce(tmp_path, "--methods", "gain", "--seeds", "3") == 0
    assert "--ckpt_path=last" in fits[0]


@pytest.mark.parametrize(
    ("options", "folder"),
    [([], "waterbirds"), (["--reversed"], "waterbirds_reversed")],
)
def test_each_task_has_a_folder_of_its_own(tmp_path, root, configs, fits, monkeypatch, options, folder):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "waterbirds", "--root=birds", "--methods", "gain", *options]) == 0
    assert (tmp_path / "runs" / folder / "table.csv").is_file()


@pytest.mark.parametrize("missing", ["metadata.csv", "bounding_boxes.txt"])
def test_missing_data_are_named_before_anything_runs(tmp_path, root, configs, fits, capsys, missing):
    (root / missing).unlink()
    assert reproduce(tmp_path) == 1
    assert f"{root}: no {missing} here, expected Waterbirds with CUB's boxes" in capsys.readouterr().err
    assert fits == []


@pytest.mark.parametrize(
    "method", ["gain_ext", "gain_ext_0", "gain_ext_101", "gain_ext_5_l2", "gains", "with_l1", "../a"]
)
def test_an_unknown_method_is_refused(tmp_path, root, configs, fits, capsys, method):
    assert reproduce(tmp_path, "--methods", "gradcam", method) == 1
    assert f"--methods is {method!r}, expected gradcam, gain, gain_ext_P" in capsys.readouterr().err
    assert fits == []


def test_missing_configs_are_named(tmp_path, root, configs, fits, capsys):
    assert reproduce(tmp_path, "--published") == 1
    assert (
        "waterbirds/resnet50: no such folder, expected the configs of a checkout" in capsys.readouterr().err
    )


def accuracies(run, root, asked):
    """Those of the table, from what a run said of every image and from the table of the data alone."""
    with (root / "metadata.csv").open() as file:
        truth = {row["img_filename"]: row for row in csv.DictReader(file) if row["split"] == "2"}
    logits = {}
    with (run / "per_image.csv").open() as file:
        for row in csv.DictReader(file):
            logits.setdefault(row["id"], {})[row["class"]] = float(row["logit"])
    assert set(logits) == set(truth)
    names = NAMES["classes" if asked == "y" else asked]
    is_right = {
        name: max(logits[name], key=logits[name].get) == names[int(row[asked])] for name, row in truth.items()
    }
    found = {}
    for y, bird in enumerate(NAMES["classes"]):
        for place, ground in enumerate(NAMES["place"]):
            of_group = [
                is_right[name]
                for name, row in truth.items()
                if (row["y"], row["place"]) == (f"{y}", f"{place}")
            ]
            assert len(of_group) == 10
            found[f"{bird} on {ground}"] = sum(of_group) / 10
    means = list(found.values())
    return found | {
        "worst_group": min(means),
        "group_mean": sum(means) / 4,
        "test_average": sum(is_right.values()) / 40,
    }


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--reversed"]])
def test_trainings_of_a_miniature_fill_the_table(tmp_path, root, configs, options, capfd):
    assert reproduce(tmp_path, "--methods", "gradcam", "gain_ext_10_energy", *options) == 0
    rows = table(tmp_path)
    assert list(rows) == ["gradcam", "gain_ext_10_energy"]
    for method, row in rows.items():
        expected = accuracies(tmp_path / "out" / f"{method}-0", root, "place" if options else "y")
        assert {column: float(row[column]) for column in COLUMNS} == pytest.approx(expected)
    run = tmp_path / "out" / "gain_ext_10_energy-0"
    assert json.loads((run / "summary.json").read_text())["num_masked"] == 1
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["ext_loss"] == "energy"
    supervision = config["data"]["init_args"]["supervision"]
    assert supervision == ("outside_box" if options else "box")
    capfd.readouterr()
    assert reproduce(tmp_path, "--methods", "gradcam", *options) == 0
    assert "gain fit" not in capfd.readouterr().out


@pytest.mark.skipif(
    "GAIN_WATERBIRDS_ROOT" not in os.environ, reason="GAIN_WATERBIRDS_ROOT names no Waterbirds"
)
@pytest.mark.parametrize("is_published", [False, True])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_real_folder_is_planned(tmp_path, is_reversed, is_published):
    runs = plan_runs(
        tmp_path / "out",
        root=Path(os.environ["GAIN_WATERBIRDS_ROOT"]),
        experiments=EXPERIMENTS,
        seeds=[0, 1, 2],
        is_reversed=is_reversed,
        is_published=is_published,
    )
    assert len(runs) == 3 * len(METHODS)
    for run in runs:
        assert all(path.is_file() for path in run.config_files())
        assert not run.is_finished
    assert not (tmp_path / "out").exists()
