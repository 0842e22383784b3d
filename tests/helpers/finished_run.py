"""A finished run, a copy of it for a test alone, and what must not touch it."""

import pytest
from resuming import fit

from gain_lightning.cli import main


@pytest.fixture(scope="session")
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
