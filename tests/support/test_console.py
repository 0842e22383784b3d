"""Printing ends no work: consoles of few letters, closed pipes, full disks."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gain_lightning.cli import main
from gain_lightning.support.console import forgiving_output

PRINTS = """
import sys
from gain_lightning.support.console import forgiving_output
with forgiving_output():
    for number in range(20000):
        print("é", number)
        print("é", number, file=sys.stderr)
open(sys.argv[1], "w").write("done")
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "ascii:strict"])
def test_a_letter_that_the_console_lacks_is_printed_as_its_code(encoding):
    code = "from gain_lightning.support.console import *\nwith forgiving_output(): print('a\\u2192\\udce9')"
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True
    )
    assert (result.returncode, result.stdout) == (0, rb"a\u2192\udce9" + os.linesep.encode())


@pytest.mark.parametrize("options", [[], ["-u"]])
def test_a_pipe_that_is_closed_ends_nothing(tmp_path, options):
    process = subprocess.Popen(
        [sys.executable, *options, "-c", PRINTS, str(tmp_path / "done")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert process.stdout.readline() == "é 0\n".encode()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_ends_nothing(tmp_path):
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-c", PRINTS, str(tmp_path / "done")]
        assert subprocess.run(words, stdout=full, stderr=full, check=False).returncode == 0
    assert (tmp_path / "done").read_text() == "done"


def test_runs_are_listed_to_whoever_reads_one_line(tmp_path):
    """As ``gain runs | head -1``: the shell sees no error."""
    for number in range(2000):
        (tmp_path / "runs" / f"é{number:04}").mkdir(parents=True)
        (tmp_path / "runs" / f"é{number:04}" / "summary.json").write_text(
            '{"state": "finished", "metrics": {}}'
        )
    process = subprocess.Popen(
        [sys.executable, "-m", "gain_lightning", "runs", str(tmp_path / "runs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert process.stdout.readline().startswith(b"run ")
    process.stdout.close()
    assert (process.wait(timeout=60), process.stderr.read()) == (0, b"")


def test_output_is_as_it_was_afterwards(capsys):
    before = sys.stdout, sys.stderr
    with forgiving_output():
        print("a")
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "a\n"


def test_no_console_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with forgiving_output():
        print("a")
    assert sys.stdout is None
    assert sys.stderr is closed


@pytest.mark.parametrize(
    ("words", "inner"),
    [
        (["fit", "--data=ShapesDataModule", "--trainer.logger=false", "--run_dir"], ""),
        (["fit", "--data=ShapesDataModule", "--trainer.logger=false", "--run_dir"], "below"),
        (["sweep", "SWEEP", "--out"], ""),
        (["sweep", "SWEEP", "--out"], "below"),
    ],
)
def test_a_file_where_a_folder_is_expected_is_named(words, inner, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text("{method: grid, command: ['true'], parameters: {a: {values: [1]}}}")
    path = tmp_path / "taken"
    path.write_text("notes")
    words = [str(tmp_path / "s.yaml") if word == "SWEEP" else word for word in words]
    assert main([*words, str(path / inner)]) == 1
    assert f"{path} is a file, expected a folder" in capsys.readouterr().err
    assert path.read_text() == "notes"
