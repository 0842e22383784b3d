"""One folder, one run: a second writer, other settings and other runs' scores are refused, and nothing is touched."""

import csv
import errno
import json
import signal
import subprocess
import sys
import zipfile

import pytest
import torch
import yaml
from resuming import STEPS, assert_equal, fit, tell, what_is_left

from gain_lightning.cli import main
from gain_lightning.constants import REQUEUE
from gain_lightning.runs.folder import lock
from gain_lightning.training.resume import ExactResume


@pytest.fixture(autouse=True)
def no_run_folder_of_another_test(monkeypatch):
    monkeypatch.delenv("GAIN_RUN_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["gain"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert fit(folder) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A finished run of the test's own."""
    folder = tmp_path / "run"
    for path in (path for path in trained.rglob("*") if path.is_file()):
        copy = folder / path.relative_to(trained)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return folder


def again(folder, *more, verb="fit"):
    return main([verb, f"--config={folder / 'config.yaml'}", f"--run_dir={folder}", *more])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def assert_refused(run, words, message, capsys, verb="fit"):
    before = contents(run)
    capsys.readouterr()
    assert again(run, *words, verb=verb) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"gain {verb}: error: ")
    assert message in error
    assert contents(run) == before


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_folder_has_one_writer(run, verb, capsys):
    """Locked by another process, and free once that is killed."""
    holder = f"import fcntl; file = open({str(run / '.lock')!r}, 'a'); fcntl.lockf(file, fcntl.LOCK_EX)"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{holder}; print('locked', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout.readline() == b"locked\n"
        assert_refused(run, ["--ckpt_path=last"], "is in use by another gain fit or gain test", capsys, verb)
        assert again(run, "--ckpt_path=last", verb="validate") == 0  # writes nothing
    finally:
        other.kill()
        other.wait()
    lock(run).close()


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--model.optimizer.lr=0.00001"], "model.optimizer.lr is 1e-05, but"),
        (["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.1"], "torch.optim.SGD"),
        (["--seed_everything=7"], "seed_everything is 7, but"),
        (["--data.num_train=48"], "data.num_train is 48, but"),
        (["--data.batch_size=8"], "data.batch_size is 8, but"),
        (["--model.am_weight=3"], "was trained with 0.5"),
        (["--seed_everything=false"], "seed_everything is False, but"),
        (["--data.mask_budget={boat: 3}"], "data.mask_budget is {'boat': 3}, but"),
        (
            ["--model.lr_scheduler=torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size=1"],
            "model.lr_scheduler",
        ),
    ],
)
def test_a_training_goes_on_as_it_began(run, words, key, capsys):
    assert_refused(run, ["--ckpt_path=last", "--trainer.max_epochs=4", *words], key, capsys)


def test_a_training_may_go_on_longer_and_with_other_loaders(run):
    assert again(run, "--ckpt_path=last", "--trainer.max_epochs=4", "--data.num_workers=1") == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4 * STEPS


@pytest.mark.parametrize("words", [["--data.num_test=3"], ["--data.bias=0.1"], ["--model.scaling=minmax"]])
def test_scores_of_other_settings_do_not_replace_a_run_s(run, words, capsys):
    assert_refused(
        run, ["--ckpt_path=last", *words], "expected the same, or another --run_dir", capsys, "test"
    )


def test_scores_of_another_checkpoint_do_not_replace_a_run_s(run, trained, tmp_path, capsys):
    words = [f"--ckpt_path={trained / 'checkpoints' / 'last.ckpt'}"]
    assert_refused(run, words, "whose scores would be replaced", capsys, "test")
    elsewhere = [f"--config={run / 'config.yaml'}", f"--run_dir={tmp_path / 'scores'}", *words]
    assert main(["test", *elsewhere, "--data.num_test=3"]) == 0
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["state"] == "finished"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"metrics": null}', "\xff"])
@pytest.mark.parametrize("words", [[], ["--ckpt_path=last"]], ids=["anew", "resumed"])
def test_a_broken_summary_is_named(run, text, words, capsys):
    (run / "summary.json").write_bytes(text.encode("latin-1"))
    assert_refused(run, words, f"{run / 'summary.json'}: not", capsys)


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


def test_a_finished_run_that_is_resumed_is_as_it_was(run):
    before = what_is_left(run)
    assert again(run, "--ckpt_path=last") == 0
    assert_equal(what_is_left(run), before)


@pytest.mark.parametrize("alone", [False, True], ids=["after the training", "alone"])
def test_a_test_ends_when_it_is_told(run, tmp_path, alone, monkeypatch):
    def told(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        signal.raise_signal(signal.SIGTERM)

    expected, before = what_is_left(run), contents(run)
    monkeypatch.setattr(ExactResume, "on_test_batch_start", told, raising=False)
    with pytest.raises(SystemExit) as stopped:
        again(run, "--ckpt_path=last", verb="test") if alone else fit(tmp_path / "told")
    assert stopped.value.code == (128 + signal.SIGTERM if alone else REQUEUE)
    if alone:
        assert contents(run) == before
        return
    assert json.loads((tmp_path / "told" / "summary.json").read_text())["state"] == "killed"
    monkeypatch.delattr(ExactResume, "on_test_batch_start")
    assert fit(tmp_path / "told", "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "told"), expected)


@pytest.mark.parametrize("stop", [{"at_step": 3 * STEPS - 1}, {"in_validation_of": 2}])
def test_a_training_told_at_its_very_end_leaves_the_test_for_the_next_time(run, tmp_path, monkeypatch, stop):
    expected = what_is_left(run)
    tell(monkeypatch, **stop)
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path / "told")
    assert stopped.value.code == REQUEUE
    assert not (tmp_path / "told" / "per_image.csv").exists()
    tell(monkeypatch)
    assert fit(tmp_path / "told", "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "told"), expected)


def test_a_test_that_was_stopped_in_its_own_folder_can_be_finished(run, tmp_path, monkeypatch):
    def told(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        signal.raise_signal(signal.SIGTERM)

    last = run / "checkpoints" / "last.ckpt"
    words = [
        "test",
        f"--config={run / 'config.yaml'}",
        f"--run_dir={tmp_path / 'scores'}",
        f"--ckpt_path={last}",
    ]
    monkeypatch.setattr(ExactResume, "on_test_batch_start", told, raising=False)
    with pytest.raises(SystemExit):
        main(words)
    monkeypatch.delattr(ExactResume, "on_test_batch_start")
    assert main(words) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert (summary["state"], "error" in summary) == ("finished", False)


def test_a_file_system_without_locks_does_not_stop_anyone(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with lock(tmp_path / "run") as file:
        assert file.name == str(tmp_path / "run" / ".lock")


def test_terms_that_not_every_step_has_are_logged_as_without_a_stop(tmp_path, monkeypatch):
    """L_am of every third step, and a stop between two of them."""
    options = ["--model.am_every=3"]
    assert fit(tmp_path / "whole", *options) == 0
    tell(monkeypatch, at_step=STEPS + 3)
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", *options)
    tell(monkeypatch)
    assert fit(tmp_path / "run", *options, "--ckpt_path=last") == 0
    assert_equal(what_is_left(tmp_path / "run"), what_is_left(tmp_path / "whole"))
    with (tmp_path / "whole" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert sum(bool(row["train/loss_am"]) for row in rows) == 2 * (STEPS - 2)


def test_a_run_without_seed_names_none(tmp_path):
    assert fit(tmp_path / "run", "--seed_everything=false", "--trainer.max_epochs=1") == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["seed"] is None


def test_weights_that_are_not_finite_end_no_training(tmp_path, capsys):
    """Where no checkpoint would have noticed."""
    options = ["--trainer.enable_checkpointing=false", "--trainer.max_steps=1", "--trainer.max_epochs=-1"]
    rate = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=.inf"]
    assert fit(tmp_path / "run", *options, *rate) == 1
    assert "are not finite after step 1" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["state"] == "failed"


BELOW = {  # a ModelCheckpoint of the user's, of which last.ckpt is none
    "in its name": ["--trainer.callbacks.filename=a/{epoch}"],
    "in its folder": ["--trainer.callbacks.dirpath=RUN/checkpoints/a/b"],
}


@pytest.mark.parametrize("where", BELOW)
def test_checkpoints_below_the_folder_are_checkpoints(tmp_path, where, capsys):
    """The run is not begun anew over them; ``last`` finds them; a killed run says how to go on."""
    run = tmp_path / "run"
    own = ["--trainer.callbacks=ModelCheckpoint", *(word.replace("RUN", str(run)) for word in BELOW[where])]
    assert fit(run, *own, "--trainer.max_epochs=1", "--test_after_fit=false") == 0
    (saved,) = (run / "checkpoints").rglob("*.ckpt")
    assert saved.parent != run / "checkpoints"
    (run / "summary.json").write_text('{"state": "killed"}')
    before = contents(run)
    assert fit(run, *own) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert contents(run) == before
    assert fit(run, *own, "--ckpt_path=last") == 0
    assert (
        torch.load(max((run / "checkpoints").rglob("*.ckpt")), weights_only=True)["global_step"] == 3 * STEPS
    )
    assert fit(run, *own, f"--ckpt_path={max((run / 'checkpoints').rglob('*.ckpt'))}") == 0  # of this run


def test_a_run_says_whether_it_was_guided(tmp_path, capsys):
    """For as long as the warm-up lasts it was not, and a resume keeps what was."""

    def guided(name, *options):
        assert fit(tmp_path / name, *options) == 0
        return json.loads((tmp_path / name / "summary.json").read_text()).get("guided")

    with pytest.warns(
        UserWarning, match="no step of this training was guided, so that it is no run of gain_ext"
    ):
        assert guided("a", "--trainer.max_epochs=1") is False
    assert main(["runs", str(tmp_path)]) == 0
    assert "gain_ext 5 (unguided)" in capsys.readouterr().out
    assert guided("a", "--trainer.max_epochs=2", "--ckpt_path=last") is True
    path = tmp_path / "a" / "summary.json"
    assert guided("a", "--trainer.max_epochs=2", "--ckpt_path=last") is True  # nothing left to train
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "guided"})
    )
    assert guided("a", "--trainer.max_epochs=2", "--ckpt_path=last") is None  # of a run from before
    assert main(["runs", str(tmp_path)]) == 0
    assert "unguided" not in capsys.readouterr().out
    plain = ["--model.am_weight=0", "--model.ext_weight=0", "--data.mask_budget=0", "--trainer.max_epochs=1"]
    assert guided("plain", *plain) is None
    masks_alone = ["--model.am_weight=0", "--model.warmup_epochs=0", "--trainer.max_epochs=1"]
    assert guided("masks", *masks_alone) is True


def test_runs_lists_no_copy_that_a_program_left(tmp_path, capsys):
    for name in ("a", ".ipynb_checkpoints", "__MACOSX", ".Trash"):
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / "summary.json").write_text('{"state": "finished"}')
    assert main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "a/run"]


def test_a_budget_of_one_mask_is_not_one_of_all(tmp_path):
    from gain_lightning.runs.settings import refuse_other_settings

    def config(budget):
        return {"data": {"class_path": "FolderDataModule", "init_args": {"mask_budget": budget}}, "model": {}}

    for before, now in [(1, 1.0), ({"boat": 1}, {"boat": 1.0})]:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(before)))
        refuse_other_settings(tmp_path, config(before), "fit")
        with pytest.raises(ValueError, match="mask_budget is"):
            refuse_other_settings(tmp_path, config(now), "fit")
