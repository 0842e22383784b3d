"""``gain fit --keep best``: the checkpoint of the best validation is kept and tested."""

import csv
import json
import re
import shutil

import pytest
import torch
from resuming import assert_equal, fit, tell, what_is_left
from small_run import make_folder

from gain_lightning.cli import main
from gain_lightning.runs.checkpoints import newest_checkpoint, tested_checkpoint
from gain_lightning.training.keep import metric_to_keep_by

# Rates so high that the last epoch is seldom the best one.
WORDS = ["--keep=best", "--model.optimizer.lr=0.03", "--trainer.max_epochs=4"]
EVERY = [
    "--trainer.callbacks=ModelCheckpoint",
    "--trainer.callbacks.save_top_k=-1",
    "--trainer.callbacks.save_last=true",
    "--trainer.callbacks.filename=each_{epoch}",
    "--trainer.callbacks.auto_insert_metric_name=false",
]


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def curve(run, metric):
    """Return the score of every epoch's validation."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["epoch"]): float(row[metric]) for row in csv.DictReader(file) if row[metric]}


@pytest.mark.parametrize(("score", "best"), [("mean_ap", max), ("energy", max)])
def test_the_best_epoch_is_kept_and_tested(tmp_path, score, best):
    run = tmp_path / "run"
    assert fit(run, *WORDS, *EVERY, f"--keep_score={score}") == 0
    values = curve(run, f"val/{score}")
    assert len(values) == 4
    epoch = best(values, key=values.get)
    kept, of_epoch = (
        torch.load(run / "checkpoints" / name, weights_only=True)
        for name in ("best.ckpt", f"each_{epoch}.ckpt")
    )
    assert (kept["epoch"], kept["global_step"]) == (epoch, 6 * (epoch + 1))
    for key, tensor in of_epoch["state_dict"].items():
        assert torch.equal(kept["state_dict"][key], tensor), key
    summary = summary_of(run)
    tested = summary["tested"]
    assert tested == {
        "checkpoint": "best.ckpt",
        "epoch": epoch,
        "step": 6 * (epoch + 1),
        "score": f"val/{score}",
        "value": pytest.approx(values[epoch], abs=1e-6),
    }
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3
    assert newest_checkpoint(run / "checkpoints").name == "last.ckpt"
    assert tested_checkpoint(run).name == "best.ckpt"
    # The scores are those of this file's weights.
    words = ["test", "--config", str(run / "config.yaml")]
    assert main([*words, "--ckpt_path", str(run / "checkpoints" / f"each_{epoch}.ckpt")]) == 0
    again = summary_of(run)
    assert "tested" not in again
    of_test = {key: value for key, value in summary["metrics"].items() if key.startswith("test/")}
    assert {key: again["metrics"][key] for key in of_test} == of_test
    assert main([*words, "--ckpt_path", "best"]) == 0
    assert summary_of(run)["tested"] == tested


def test_a_resumed_training_keeps_the_best_so_far(tmp_path, monkeypatch, capsys):
    assert fit(tmp_path / "whole", *WORDS) == 0
    with monkeypatch.context() as context:
        tell(context, at_step=20)
        with pytest.raises(SystemExit):
            fit(tmp_path / "stopped", *WORDS)
    # A run may be moved before it goes on.
    shutil.move(tmp_path / "stopped", tmp_path / "moved")
    assert fit(tmp_path / "moved", *WORDS, "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "moved"), what_is_left(tmp_path / "whole"))
    assert summary_of(tmp_path / "moved")["tested"] == summary_of(tmp_path / "whole")["tested"]
    best = [
        torch.load(tmp_path / run / "checkpoints" / "best.ckpt", weights_only=True)
        for run in ("moved", "whole")
    ]
    assert all(
        torch.equal(best[0]["state_dict"][key], tensor) for key, tensor in best[1]["state_dict"].items()
    )
    assert fit(tmp_path / "moved", *WORDS, "--ckpt_path=best") == 1
    assert "a training goes on from its last checkpoint, expected last" in capsys.readouterr().err


def test_runs_of_the_last_and_the_best_epoch_do_not_compare(tmp_path, capsys):
    runs = [tmp_path / "last", tmp_path / "best"]
    assert fit(runs[0], "--trainer.max_epochs=1") == 0
    assert fit(runs[1], "--trainer.max_epochs=1", "--keep=best") == 0
    assert "tested" not in summary_of(runs[0])
    words = ["compare", *map(str, runs), "--out", str(tmp_path / "report")]
    assert main(words) == 1
    assert "  keep\n    last: " in capsys.readouterr().err
    assert main([*words, "--allow", "keep"]) == 0
    # A run from before the key tested its last epoch.
    config = runs[0] / "config.yaml"
    config.write_text(
        "".join(line for line in config.read_text().splitlines(True) if not line.startswith("keep"))
    )
    assert main(words) == 1
    assert "  keep\n    last: " in capsys.readouterr().err


@pytest.mark.parametrize("test", [True, False])
def test_a_choice_on_the_images_of_the_test_is_said(tmp_path, test, recwarn):
    root = make_folder(tmp_path / "data", ["cat", "dog"] * 6, masks=True)
    splits = ["train"] * 6 + ["val"] * 3 + ["test" if test else "val"] * 3
    rows = (root / "labels.csv").read_text().splitlines()[1:]
    lines = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    (root / "labels.csv").write_text("\n".join(["filename,classes,split", *lines]))
    words = [
        *(
            "fit",
            "--data=FolderDataModule",
            f"--data.root={root}",
            "--data.image_size=32",
            "--data.batch_size=4",
        ),
        *(
            "--data.num_workers=0",
            "--trainer.max_epochs=1",
            "--trainer.accelerator=cpu",
            "--trainer.logger=false",
        ),
        *("--trainer.enable_progress_bar=false", "--keep=best", f"--run_dir={tmp_path / 'run'}"),
    ]
    assert main(words) == 0
    said = [str(warning.message) for warning in recwarn]
    assert sum("its scores are of the images that it was chosen on" in line for line in said) == (not test)


def test_the_lower_error_is_the_better(tmp_path):
    words = [
        *("fit", "--data=ShapesDataModule", "--data.scene=count", "--data.num_train=16", "--data.num_val=8"),
        *("--data.num_test=8", "--data.num_biased=4", "--data.num_workers=0", "--model.task=regression"),
        *(
            "--trainer.max_epochs=4",
            "--trainer.accelerator=cpu",
            "--trainer.logger=false",
            "--data.batch_size=4",
        ),
        *("--trainer.enable_progress_bar=false", "--keep=best", f"--run_dir={tmp_path / 'run'}"),
    ]
    assert main([*words, "--model.optimizer=torch.optim.AdamW", "--model.optimizer.lr=0.03"]) == 0
    values, tested = curve(tmp_path / "run", "val/mae"), summary_of(tmp_path / "run")["tested"]
    epoch = min(values, key=values.get)
    assert (tested["score"], tested["epoch"], tested["value"]) == (
        "val/mae",
        epoch,
        pytest.approx(values[epoch]),
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--keep_score=mean_app"],
            "keep_score names 'mean_app', expected names among .*; did you mean 'mean_ap'",
        ),
        (["--keep_score=mae"], "keep_score names 'mae', expected names among mean_ap, seed_miou"),
        (["--keep_score=zero_maps"], "keep_score names 'zero_maps'"),
        (["--keep_score=select/energy"], "keep_score names 'select/energy'"),
        (["--trainer.enable_checkpointing=false"], "keep is best, but trainer.enable_checkpointing is false"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path, capsys, words, message):
    assert fit(tmp_path / "run", "--keep=best", *words) == 1
    assert re.search(message, capsys.readouterr().err)


def test_scores_of_held_out_masks_may_choose():
    known = ["mean_ap", "seed_miou", "seed_miou_best", "energy"]
    for score in ("select/energy", "select/seed_miou_best"):
        assert metric_to_keep_by(score, known, has_select=True) == score
    with pytest.raises(ValueError, match="select/mean_ap"):
        metric_to_keep_by("select/mean_ap", known, has_select=True)
    with pytest.raises(ValueError, match="no score of a validation"):
        metric_to_keep_by(None, [], has_select=False)


def test_best_alone_is_no_end_of_a_run(tmp_path):
    """A training killed between the best checkpoint and the epoch's end goes on from the last one."""
    run = tmp_path / "run"
    assert fit(run, "--keep=best", "--trainer.max_epochs=2") == 0
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save({**best, "global_step": 99}, run / "checkpoints" / "best.ckpt")
    assert newest_checkpoint(run / "checkpoints").name == "last.ckpt"
