import os
import subprocess
import sys
import time

import pytest

from gain_lightning import __version__, cli
from gain_lightning.cli import VERBS, main


def gain(*words: str, **env: str) -> subprocess.CompletedProcess:
    """Run ``gain`` as a user does, in a process of its own."""
    environment = {**os.environ, "WANDB_MODE": "disabled", **env}
    command = [sys.executable, "-m", "gain_lightning", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_help_lists_every_verb_in_under_a_second():
    started = time.perf_counter()
    result = gain("--help")
    assert time.perf_counter() - started < 1
    assert result.returncode == 0
    assert all(f"\n  {verb} " in result.stdout for verb in VERBS)
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_no_verb_prints_the_help_and_fails(capsys):
    assert main([]) == 2
    assert "usage: gain VERB" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gain_lightning {__version__}\n"


def test_unknown_verb_names_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "unknown verb 'trian'" in capsys.readouterr().err
    assert main(["fitt"]) == 2
    assert "did you mean 'fit'?" in capsys.readouterr().err


def test_error_is_one_line_without_traceback(capsys, tmp_path):
    assert main(["predict", "--images", str(tmp_path), "--ckpt_path", "no.ckpt", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "gain predict: error: --ckpt_path no.ckpt: no such file\n"


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [("compare", False), ("seeds RUN", True), ("seeds score", False), ("reproduce", True)],
)
def test_ctrl_c_is_one_line_without_traceback(capsys, monkeypatch, words, goes_on):
    def stop(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", stop)
    assert main(words.split()) == 130
    more = "; the same command goes on where it was" if goes_on else ""
    assert capsys.readouterr().err == f"gain {words.split()[0]}: stopped{more}\n"


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("GAIN_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["predict", "--images", str(tmp_path), "--ckpt_path", "no.ckpt", "--out", str(tmp_path)])


def test_exit_status_reaches_the_shell(tmp_path):
    arguments = ["--images", str(tmp_path), "--ckpt_path", "no.ckpt", "--out", str(tmp_path)]
    assert gain("predict", *arguments).returncode == 1
    assert gain("trian").returncode == 2
