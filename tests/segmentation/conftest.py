"""A run, and its seeds, that several test files look at."""

import pytest
from fake_voc import make_voc
from making_seeds import seeds

from gain_lightning.cli import main


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run on made VOC images."""
    folder = tmp_path_factory.mktemp("run")
    make_voc(folder)
    arguments = [
        *(
            "fit",
            "--data=VOC12DataModule",
            f"--data.root={folder}",
            "--data.image_size=32",
            "--data.batch_size=4",
        ),
        *("--data.num_workers=0", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"),
        *("--test_after_fit=false", f"--run_dir={folder / 'run'}"),
    ]
    assert main(arguments) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def made(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("seeds") / "made"
    assert seeds(run, out) == 0
    return out
