"""JTT: whose errors are drawn, and how often."""

import itertools

import numpy as np
import pytest
import torch
from rival_runs import fit, refused

from gain_lightning.cli import main
from gain_lightning.datasets.shapes import ShapesDataModule
from gain_lightning.methods.jtt import errors_of
from gain_lightning.methods.load import load_classifier


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A plain run of one epoch, which gets images wrong."""
    folder = tmp_path_factory.mktemp("jtt") / "plain-3"
    fit(folder, "--trainer.max_epochs=1", "--seed_everything=3")
    return folder


def shapes(**settings):
    data = ShapesDataModule(num_train=96, bias=0.5, num_val=4, **settings)
    data.setup("fit")
    return data


def test_errors_are_the_wrong_decisions_on_the_training_set(plain):
    """Boat or not, for shapes judge boats alone."""
    model, data = load_classifier(plain / "checkpoints" / "last.ckpt"), shapes()
    wrong = errors_of(model, data)
    images = torch.stack([data.train_set[row]["image"] for row in range(96)])
    with torch.no_grad():
        boat = model.eval()(model.backbone.normalize(images))[:, 0] > 0
    assert np.array_equal(wrong, boat.numpy() != data.train_set.labels[:, 0].astype(bool))
    assert 0 < wrong.sum() < 96


def test_a_run_draws_the_errors_more_often(plain, tmp_path, caplog):
    """And says which they are; ``{seed}`` is that of the run."""
    options = ["--method=JTT", f"--model.identified_by={plain.parent}/plain-{{seed}}", "--model.upweight=5"]
    summary = fit(tmp_path / "run", *options, "--seed_everything=3")
    assert summary["method"] == "jtt"
    data = shapes()
    wrong = errors_of(load_classifier(plain / "checkpoints" / "last.ckpt"), data)
    names = [data.train_set.ids[row] for row in np.flatnonzero(wrong)]
    assert (tmp_path / "run" / "errors.txt").read_text().split() == names
    assert f"JTT: {len(names)} of 96 training images are errors" in caplog.text
    # the draws of the run: its epochs are as long as without
    data.times = np.where(wrong, 5, 1)
    sampler = data.train_dataloader().iterables["weak"].sampler
    assert len(sampler) == 96
    per_pass = data.times.sum()
    drawn = [draw.row for draw in itertools.islice(_stream(sampler), per_pass)]
    assert np.bincount(drawn, minlength=96).tolist() == data.times.tolist()


def _stream(sampler):
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from sampler


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "model.identified_by names no run, expected the folder of a finished one"),
        (["--model.identified_by=RUN/none"], "none: no such folder, expected that of a finished run"),
        (["--model.identified_by=RUN/killed"], "killed: its state is 'killed', expected a finished run"),
        (
            ["--model.identified_by=RUN/right"],
            "gets 0 of 96 training images wrong, so that JTT has nothing to draw",
        ),
        (
            ["--model.identified_by=RUN/plain-3", "--data.balance_by=group"],
            "data.balance_by is group, but method JTT",
        ),
        (
            ["--model.identified_by=RUN/plain-3", "--model.upweight=0"],
            "model.upweight is 0, expected a whole number",
        ),
        (
            ["--model.identified_by=RUN/plain-3", "--model.task=regression"],
            "method JTT takes wrong decisions for",
        ),
        (
            ["--model.identified_by=RUN/plain-3", "--data.scene=camera"],
            "is of the classes boat, car, cow, bird, lamp",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(plain, tmp_path, options, message, capsys, monkeypatch):
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "summary.json").write_text('{"state": "killed"}')
    if "RUN/right" in str(options):
        monkeypatch.setattr("gain_lightning.methods.jtt.errors_of", lambda model, data: np.zeros(96, bool))
    for name in ("plain-3", "right"):
        (tmp_path / name).symlink_to(plain)
    options = [option.replace("RUN", str(tmp_path)) for option in options]
    assert message in refused(tmp_path / "run", "--method=JTT", *options, capsys=capsys)


def test_a_trained_run_is_tested_without_the_run_that_it_came_from(plain, tmp_path):
    copy = tmp_path / "earlier"
    copy.symlink_to(plain)
    fit(tmp_path / "run", "--method=JTT", f"--model.identified_by={copy}")
    copy.unlink()
    assert main(["test", f"--config={tmp_path / 'run' / 'config.yaml'}"]) == 0
