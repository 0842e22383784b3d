"""A finished run that several test files look at."""

from pathlib import Path

import pytest
from small_run import CONFIG, SMALL

from gain_lightning.cli import main


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory) -> Path:
    """A finished small run of GAIN_ext."""
    folder = tmp_path_factory.mktemp("run") / "ext"
    assert main(["fit", *CONFIG, *SMALL, "--run_dir", str(folder)]) == 0
    return folder
