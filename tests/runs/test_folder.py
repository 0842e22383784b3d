"""One folder, one run: a second writer and a second training are refused, and nothing is touched."""

import errno
import subprocess
import sys

import pytest
import torch
from finished_run import again, assert_refused, contents
from resuming import STEPS, fit

from gain_lightning.runs.folder import lock


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


def test_a_file_system_without_locks_does_not_stop_anyone(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with lock(tmp_path / "run") as file:
        assert file.name == str(tmp_path / "run" / ".lock")


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
