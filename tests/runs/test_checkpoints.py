"""Checkpoints are written whole or not at all. Kills: test_resume.py; unfit ones: test_bad_input.py."""

import json
import resource
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from finished_run import again, assert_refused

from gain_lightning.cli import main
from gain_lightning.runs.checkpoints import WholeCheckpoints, newest_checkpoint
from gain_lightning.training.resume import ExactResume

CONFIG = Path(__file__).parents[2] / "experiments" / "shapes" / "gradcam.yaml"


@pytest.fixture
def disk(monkeypatch):
    """Called with bytes: no file can become larger, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_full_disk_leaves_the_old_checkpoint(tmp_path, disk):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)
    disk(5000)
    with pytest.raises(OSError, match=r"a checkpoint of 0\.4 MiB cannot be written .*last\.ckpt"):
        WholeCheckpoints().save_checkpoint({"step": 2, "weight": torch.zeros(100_000)}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_a_kill_left_is_cleared_by_the_next(tmp_path):
    (tmp_path / "last.ckpt.123.part").write_bytes(b"half")
    (tmp_path / "other.ckpt.123.part").write_bytes(b"half")
    WholeCheckpoints().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "other.ckpt.123.part"]


def test_a_training_whose_disk_fills_up_says_so_and_goes_on_later(tmp_path, disk, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gain"])
    words = ["fit", f"--config={CONFIG}", f"--run_dir={tmp_path / 'run'}", "--trainer.max_epochs=3"]
    words += [
        "--data.num_train=16",
        "--data.batch_size=8",
        "--data.num_val=8",
        "--data.num_test=8",
        "--data.num_biased=4",
    ]
    words += ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--model.warmup=0"]

    def fill(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            disk(50_000)

    monkeypatch.setattr(ExactResume, "on_validation_epoch_end", fill, raising=False)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "cannot be written (File too large); earlier ones are still there" in error
    monkeypatch.delattr(ExactResume, "on_validation_epoch_end")
    disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert main([*words, "--ckpt_path=last"]) == 0


def test_paths_in_the_folder_of_a_checkpoint_move_with_it(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    callbacks = {
        "ModelCheckpoint": {
            "dirpath": str(before),
            "best_k_models": {f"{before}/epoch_3.ckpt": torch.tensor(0.5)},
        },
        "Other": {
            "paths": [f"{before}/a", f"{before}hand/b", "/elsewhere", 3],
            "own": (".", "./a", f"{before}/b"),
        },
    }
    WholeCheckpoints().save_checkpoint({"callbacks": callbacks}, before / "last.ckpt")
    assert f"{before}/".encode() not in (before / "last.ckpt").read_bytes()
    before.rename(after)
    found = WholeCheckpoints().load_checkpoint(after / "last.ckpt", weights_only=True)["callbacks"]
    assert found["ModelCheckpoint"]["dirpath"] == str(after)
    assert list(found["ModelCheckpoint"]["best_k_models"]) == [f"{after}/epoch_3.ckpt"]
    assert found["Other"]["own"] == (".", "./a", f"{after}/b")
    assert found["Other"]["paths"] == [f"{after}/a", f"{before}hand/b", "/elsewhere", 3]


@pytest.mark.parametrize(
    ("steps", "newest"),
    [
        ({"last": 12, "epoch_001": 12}, "last"),
        ({"last": 2, "epoch_001": 12}, "epoch_001"),  # a ModelCheckpoint of the user's, after a SIGTERM
        ({"epoch_000": 6, "epoch_001": 12}, "epoch_001"),
        ({"epoch_000": 6, "a/epoch_001": 12}, "a/epoch_001"),  # a ModelCheckpoint that writes below
        ({"last": 12, "a/b/epoch_001": 12}, "last"),
        ({}, "last"),
    ],
)
def test_last_means_the_newest(tmp_path, steps, newest):
    for name, step in steps.items():
        state = {"state_dict": {}, "hyper_parameters": {}, "global_step": step}
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, tmp_path / f"{name}.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / f"{newest}.ckpt"
    (tmp_path / "epoch_009.ckpt").write_bytes(b"cut")
    assert newest_checkpoint(tmp_path) == tmp_path / (f"{newest}.ckpt" if steps else "epoch_009.ckpt")
    (tmp_path / "last.ckpt").write_bytes(b"cut")
    assert newest_checkpoint(tmp_path) == tmp_path / "last.ckpt"  # and is refused by name


def test_scores_of_another_checkpoint_do_not_replace_a_run_s(run, trained, tmp_path, capsys):
    words = [f"--ckpt_path={trained / 'checkpoints' / 'last.ckpt'}"]
    assert_refused(run, words, "whose scores would be replaced", capsys, "test")
    elsewhere = [f"--config={run / 'config.yaml'}", f"--run_dir={tmp_path / 'scores'}", *words]
    assert main(["test", *elsewhere, "--data.num_test=3"]) == 0
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["state"] == "finished"


def _weights_alone(path):
    whole = torch.load(path, weights_only=True)
    torch.save({key: whole[key] for key in ("state_dict", "hyper_parameters")}, path)


def _nan(path):
    whole = torch.load(path, weights_only=True)
    next(iter(whole["state_dict"].values())).fill_(torch.nan)
    torch.save(whole, path)


def _zeros_inside(path):
    """In the largest part's data."""
    with zipfile.ZipFile(path) as parts:
        part = max(parts.infolist(), key=lambda info: info.file_size)
    data = bytearray(path.read_bytes())
    middle = part.header_offset + part.file_size // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message", "verbs"),
    [
        (_weights_alone, "has weights but no global_step, so that no training can go on", ["fit"]),
        (_nan, "are not finite", ["fit", "test", "validate"]),
        (_zeros_inside, "damaged, the checksum of its part", ["fit", "test", "validate"]),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(run, spoil, message, verbs, capsys):
    for path in (run / "checkpoints").glob("epoch*.ckpt"):
        path.unlink()
    spoil(run / "checkpoints" / "last.ckpt")
    for verb in verbs:
        assert_refused(run, ["--ckpt_path=last", "--trainer.max_epochs=4"], message, capsys, verb)


def test_other_files_beside_the_checkpoints_are_passed_over(run):
    folder = run / "checkpoints"
    (folder / "best.ckpt").symlink_to("nowhere")
    (folder / "folder.ckpt").mkdir()
    torch.save({"state_dict": {}, "hyper_parameters": {}}, folder / "exported.ckpt")
    assert again(run, "--ckpt_path=last", verb="validate") == 0
