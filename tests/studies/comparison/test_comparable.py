import json
import shutil
from pathlib import Path

import pytest
from comparing import compared

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import read_run


@pytest.mark.parametrize(
    "key",
    [
        "data.class_path",
        "data.init_args.image_size",
        "data.init_args.split",
        "model.backbone",
        "trainer.max_epochs",
    ],
)
def test_compare_refuses_keys_that_decide_what_is_measured(make_run, key):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", config={key: "another"})]
    short = key.replace("init_args.", "")

    with pytest.raises(RunError) as error:
        compared(paths)

    assert f"  {short}\n" in str(error.value)
    assert f"    another: {paths[1]}" in str(error.value)
    assert f"    {read_run(paths[0]).config.get(short)}: {paths[0]}" in str(error.value)
    (note,) = (note for note in compared(paths, allow=[key]).notes if note.startswith("Allowed"))
    assert short in note
    assert "another" in note


@pytest.mark.parametrize(
    "key", ["batch_size", "masked_batch_size", "mask_budget", "mask_seed", "num_workers", "mask_folder"]
)
def test_compare_accepts_other_masks_and_batches(make_run, key):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", config={f"data.init_args.{key}": 77})]

    comparison = compared(paths)

    assert f"data.{key}" in dict(comparison.config)


def test_allow_of_a_key_that_is_not_compared_is_an_error(make_run):
    with pytest.raises(RunError, match=r"--allow model\.sigma: no such key is compared"):
        compared([make_run("a")], allow=["model.sigma"])


def test_config_shows_only_keys_that_differ(make_study):
    comparison = compared(make_study(seeds=(0, 1)))  # seeds, run_dir and the logger's folder differ too

    assert comparison.config == [("model.am_weight", ["0", "1", "1"])]


def test_config_notes_settings_mixed_within_a_method(make_run):
    paths = [make_run("a", seed=0), make_run("b", seed=1, config={"model.am_weight": 0.1})]

    comparison = compared(paths)

    assert comparison.config == [("model.am_weight", ["1, 0.1"])]
    assert "Runs of one method differ in model.am_weight (gain)" in comparison.notes[0]


def test_runs_that_repeat_each_other_without_a_common_score_compare(make_run):
    paths = [make_run("a"), make_run("b")]
    for path, key in zip(paths, ("test/x", "test/y"), strict=True):
        content = json.loads(Path(path, "summary.json").read_text())
        Path(path, "summary.json").write_text(json.dumps({**content, "metrics": {key: 0.5}}))

    assert not [note for note in compared(paths).notes if "equal settings" in note]


def test_runs_of_the_same_config_and_seed_have_no_difference(make_run):
    first, second = make_run("a"), make_run("b")

    comparison = compared([first, second])

    assert comparison.notes == [
        f"{first} and {second} have equal settings and seed: no difference in any score."
    ]
    assert all(stat.std == 0 for stat in comparison.groups[0].metrics.values())
    assert comparison.config == []


def test_runs_of_the_same_config_and_seed_that_differ_are_named(make_run):
    first, second = make_run("a"), make_run("b", metrics={"test/seed_miou": 0.36})
    other_seed = make_run("c", seed=1)

    (note, *_) = compared([first, second, other_seed]).notes

    assert note == f"{first} and {second} have equal settings and seed: test/seed_miou differs by 0.0100."


def test_copied_run_with_its_old_run_dir_still_compares(make_run, tmp_path):
    path = make_run("a", "gradcam")
    shutil.move(path, tmp_path / "elsewhere")

    comparison = compared([str(tmp_path / "elsewhere"), make_run("b", "gain")])

    assert comparison.config == [("model.am_weight", ["0", "1"])]
