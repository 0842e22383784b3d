"""The benchmarks say what they are before they start."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.stem in ("bench", "startup")])
@pytest.mark.parametrize(("word", "status"), [("--help", 0), ("--no_such_option", 2)])
def test_a_benchmark_asked_for_help_measures_nothing(script, word, status):
    process = subprocess.run(
        [sys.executable, str(script), word], capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == status
    assert "usage: " in process.stdout + process.stderr
