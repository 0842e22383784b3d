"""A folder is filled by commands of `gain`: each in its turn, once, and none left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gain_lightning.constants import REQUEUE
from gain_lightning.runs.making import (
    Making,
    config_folder,
    digest,
    digest_of_configs,
    is_tested,
    run_until_saved,
)

SAVES_FOR_A_WHILE = """
import pathlib, signal, sys, time
def save(signum, frame):
    while not pathlib.Path(sys.argv[1] + " enough").exists():
        time.sleep(0.01)
    open(sys.argv[1], "a").write("saved")
    sys.exit()
signal.signal(signal.SIGTERM, save)
open(sys.argv[1], "w").close()
time.sleep(100)
"""


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def heard():
    """Signals that are not ignored, as whoever began the tests may have it."""
    earlier = {signum: signal.signal(signum, signal.default_int_handler) for signum in STOPS}
    yield
    for signum, handler in earlier.items():
        signal.signal(signum, handler)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("told", STOPS)
@pytest.mark.parametrize("when", ["before it starts", "as it starts", "while it works", "while it saves"])
def test_no_stop_leaves_a_stage_behind(tmp_path, monkeypatch, told, when):
    file, enough, processes, popen = tmp_path / "file", tmp_path / "file enough", [], subprocess.Popen

    def start(*args, **kwargs):
        if when == "before it starts":
            os.kill(os.getpid(), told)
        processes.append(popen(*args, **kwargs))
        if when == "as it starts":
            os.kill(os.getpid(), told)
        if when.startswith("while"):
            threading.Thread(target=tell).start()
        else:
            enough.touch()
        return processes[-1]

    def tell():
        while not file.is_file():
            time.sleep(0.01)
        for _ in range(1 + (when == "while it saves")):
            os.kill(os.getpid(), told)
            time.sleep(0.1)
        enough.touch()

    monkeypatch.setattr(subprocess, "Popen", start)
    handlers = [signal.getsignal(signum) for signum in STOPS]
    raised_then = KeyboardInterrupt if told == signal.SIGINT else SystemExit
    with (tmp_path / "log").open("w") as log, pytest.raises(raised_then) as raised:
        run_until_saved([sys.executable, "-c", SAVES_FOR_A_WHILE, str(file)], log)
    assert getattr(raised.value, "code", REQUEUE) == REQUEUE
    assert processes[0].poll() is not None
    assert handlers == [signal.getsignal(signum) for signum in STOPS]
    if when.startswith("while"):
        assert file.read_text() == "saved"


@pytest.mark.usefixtures("heard")
def test_a_stop_that_is_ignored_stays_so(tmp_path):
    """As `nohup` has it of SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    kill = f"import os, signal; os.kill({os.getpid()}, signal.SIGHUP)"
    with (tmp_path / "log").open("w") as log:
        assert run_until_saved([sys.executable, "-c", kill], log) == 0


@pytest.fixture
def making(tmp_path):
    return Making(tmp_path / "made")


def test_a_command_is_printed_and_logged(making, capfd):
    making.do("runs", "--help")
    words = f"gain runs --help >> {making.folder / 'log.txt'}"
    first, last = capfd.readouterr().out.splitlines()
    assert first == words
    assert last.endswith(" min")
    assert (making.folder / "log.txt").read_text()


def test_a_command_that_fails_is_named_with_its_last_line_and_its_log(making):
    with pytest.raises(
        RuntimeError, match=r"compare of .*made failed \(.*nowhere.*\); all of it: .*log\.txt"
    ):
        making.do("compare", "nowhere")


def test_a_command_that_was_told_to_stop_is_no_failure(making, monkeypatch):
    monkeypatch.setattr("gain_lightning.runs.making.run_until_saved", lambda *_: REQUEUE)
    with pytest.raises(RuntimeError, match=r"fit of .*made was told to stop; the same command goes on"):
        making.do("fit")


@pytest.fixture
def begun(monkeypatch):
    """The commands that would be run."""
    begun = []
    monkeypatch.setattr(Making, "do", lambda self, *words: begun.append(words))
    return begun


def test_a_training_begins_goes_on_and_is_done(making, begun):
    run = making.folder / "run"
    making.fit(run, 3, "--config", "a.yaml")
    words = ("fit", "--config", "a.yaml", "--seed_everything", "3", "--run_dir", str(run))
    assert begun.pop()[: len(words)] == words
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    making.fit(run, 3)
    assert begun.pop()[-1] == "--ckpt_path=last"
    (run / "summary.json").write_text(json.dumps({"state": "finished", "metrics": {"test/accuracy": 0.5}}))
    making.fit(run, 3)
    assert begun == []


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"state": "finished", "metrics": {"test/accuracy": 0.5}}, True),
        ({"state": "finished", "metrics": {"val/accuracy": 0.5}}, False),
        ({"state": "killed", "metrics": {"test/accuracy": 0.5}}, False),
        ({}, False),
    ],
)
def test_tested_is_finished_with_scores_of_the_test(tmp_path, summary, expected):
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert is_tested(tmp_path) is expected


def test_what_was_made_of_something_else_is_refused_and_the_note_stays(making):
    making.folder.mkdir()
    assert not making.is_of({"images": "1"})
    making.keep({"images": "1"})
    making.keep({"images": "1", "configs": "2"})
    assert making.is_of({"images": "1", "configs": "2"})
    with pytest.raises(ValueError, match="what is here was made of other configs: expected another --out"):
        making.keep({"cues": "4", "configs": "3"})
    assert json.loads((making.folder / "made_of.json").read_text()) == {"images": "1", "configs": "2"}
    assert not making.is_of({"configs": "3"})


def test_a_digest_depends_on_settings_and_their_order_alone(tmp_path):
    one, same, other = (tmp_path / f"{name}.yaml" for name in ("one", "same", "other"))
    one.write_text("model: {sigma: 0.5, omega: 10}")
    same.write_text("# a remark\nmodel:\n  omega: 10\n  sigma: 0.5\n")
    other.write_text("model: {sigma: 0.5, omega: 11}")
    assert digest_of_configs(one) == digest_of_configs(same) != digest_of_configs(other)
    assert digest_of_configs(one, other) != digest_of_configs(other, one)
    assert digest(b"ab") != digest(b"a", b"b")


def test_a_folder_of_configs_that_is_missing_is_named(tmp_path):
    assert config_folder(tmp_path) == tmp_path
    with pytest.raises(
        FileNotFoundError, match="nowhere: no such folder, expected the configs of a checkout"
    ):
        config_folder(tmp_path / "nowhere")
