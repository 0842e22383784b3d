"""Paths below the user's home are written as ``~/...``, and found again."""

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import pytest

from gain_lightning.support.home import expand_home, hide_home, without_home


class Pair(NamedTuple):
    left: str
    right: str


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice/")


def test_paths_below_home_are_hidden_and_found_again(home):
    config = Namespace(
        root="/home/alice/voc", folders={"/home/alice/a": ["/home/alice", ("/home/alicette", 3, None)]},
        path=Path("/home/alice/x"), other="/data/home/alice/voc", pair=Pair("/home/alice/l", "r"),
    )  # fmt: skip
    hidden = hide_home(config)
    assert hidden == Namespace(
        root="~/voc", folders={"~/a": ["~", ("/home/alicette", 3, None)]}, path=Path("~/x"),
        other="/data/home/alice/voc", pair=Pair("/home/alice/l", "r"),
    )  # fmt: skip
    assert expand_home(hidden) == config
    assert expand_home(["~bob/voc", "a~/b"]) == ["~bob/voc", "a~/b"]


@pytest.mark.parametrize("home", ["/", "", "relative"])
def test_without_a_home_nothing_is_hidden(home, monkeypatch):
    monkeypatch.setenv("HOME", home)
    value = {"root": "/data/voc", "name": "~", "relative": "relative/x"}
    assert hide_home(value) == value
    assert without_home("/data/voc: gone") == "/data/voc: gone"


def test_a_user_whom_the_system_does_not_know_has_none(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert hide_home(["/data/voc"]) == ["/data/voc"]


def test_errors_name_no_home(home):
    assert (
        without_home("File '/home/alice/gain/x.py'; /home/alicette") == "File '~/gain/x.py'; /home/alicette"
    )
