"""A sweep is begun from its file, or joined where it lies."""

from pathlib import Path

import pytest

from gain_lightning.studies.sweeps.begin import begin_sweep, join_sweep
from gain_lightning.studies.sweeps.parameter import SweepError

TEXT = "method: grid\nprogram: train.py\nparameters: {x: {values: [1, 2]}}\n"


def test_a_sweep_that_has_begun_is_joined_by_its_folder(tmp_path):
    (tmp_path / "two.yaml").write_text(TEXT)
    begun = begin_sweep(tmp_path / "two.yaml", tmp_path / "out")
    assert (tmp_path / "out" / "sweep.yaml").read_text() == TEXT
    joined = join_sweep(str(tmp_path / "out"))
    assert [trial.number for trial in joined.trials()] == [trial.number for trial in begun.trials()] == [0, 1]


def test_without_a_folder_it_is_named_by_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.yaml").write_text(TEXT)
    assert begin_sweep(Path("two.yaml")).folder == Path("runs/two")


def test_a_sweep_of_a_database_is_joined_by_its_name(tmp_path):
    (tmp_path / "two.yaml").write_text(TEXT)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    begin_sweep(tmp_path / "two.yaml", tmp_path / "out", storage)
    assert join_sweep(storage, "out", tmp_path / "elsewhere").num_trials == 2
    with pytest.raises(SweepError, match=r"holds no sweep 'other', expected one of \['out'\]"):
        join_sweep(storage, "other", tmp_path / "elsewhere")
    with pytest.raises(SweepError, match="holds many sweeps, expected the name of one"):
        join_sweep(storage)


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(SweepError, match=r"holds no journal\.log, expected the folder of a sweep"):
        join_sweep(str(tmp_path))
