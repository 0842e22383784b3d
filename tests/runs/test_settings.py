"""``config.yaml`` of a run is read back. What may differ in it: test_folder.py."""

import pytest

from gain_lightning.runs.settings import read_settings, write_settings


def test_what_is_written_is_read_back(tmp_path):
    write_settings(tmp_path / "run", "seed_everything: 3\nmodel:\n  sigma: 0.4\n")
    assert read_settings(tmp_path / "run") == {"seed_everything": 3, "model": {"sigma": 0.4}}
    with pytest.raises(FileNotFoundError, match=r"has no config\.yaml, expected the folder of a run"):
        read_settings(tmp_path)
