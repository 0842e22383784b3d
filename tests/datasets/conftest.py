"""Folders of pictures that several test files read."""

import pytest
from fake_folder import make_folder, picture


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "pets")


@pytest.fixture
def class_folders(tmp_path):
    for name in ("cat", "dog"):
        for number in range(3):
            picture(tmp_path / "own" / "images" / name / f"{number}.png", number)
    return tmp_path / "own"
