import contextlib
import csv
import io
import multiprocessing

import pytest

from gain_lightning.support.files import (
    WholeTable,
    csv_text,
    read_json,
    remove_parts,
    write_atomically,
    write_json,
    written_whole,
)


def test_write_atomically_leaves_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_atomically(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("killed here")))
    with contextlib.suppress(OSError):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_and_fail(path, error):
    with WholeTable(path) as table:
        table.write([["new", 3]])
        raise error


@pytest.mark.parametrize("fails", ["os.replace", "the writer", "the disk"])
def test_a_table_that_does_not_come_to_its_end_leaves_the_old_one(tmp_path, monkeypatch, fails):
    path = tmp_path / "new" / "table.csv"
    with WholeTable(path) as table:
        table.write([["old", 1], ["a, b", 2]])
    content = path.read_text()
    assert content == 'old,1\n"a, b",2\n'
    if fails == "the writer":
        with pytest.raises(KeyboardInterrupt):
            write_and_fail(path, KeyboardInterrupt())
    else:
        if fails == "the disk":
            table.part.symlink_to("/dev/full")
        else:
            full = OSError(28, "No space left on device")
            monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(full))
        with (
            pytest.raises(OSError, match=r"No space left on device: '.*/table\.csv'"),
            WholeTable(path) as table,
        ):
            table.write([["new", 3]])
    assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


def write_half(path, error):
    with written_whole(path) as part:
        part.write_text("half")
        raise error


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (OSError(28, "No space left on device"), OSError, r"No space left on device: '.*/maps\.npz'"),
        (FileNotFoundError("rank1: no such file"), FileNotFoundError, "^rank1: no such file$"),
        (PermissionError(13, "Permission denied", "a.jpg"), PermissionError, r"Permission denied: 'a\.jpg'"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
)
def test_a_block_that_fails_leaves_the_old_file_and_its_own_error(tmp_path, error, expected, words):
    """An error that is not of the file that is written names what it is of."""
    path = tmp_path / "maps.npz"
    path.write_text("old")
    with pytest.raises(expected, match=words):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_killed_is_removed_on_demand(tmp_path):
    (tmp_path / "z").mkdir()
    below = tmp_path / "z" / "a.csv.12.part"
    kept = [
        tmp_path / "a.csv",
        tmp_path / "a.part",
        tmp_path / "a.zip.part",
        tmp_path / "b.csv.12.part",
        tmp_path / "z",
    ]
    for path in [*kept[:-1], below, tmp_path / "a.csv.12.part", tmp_path / "a.csv.rank1.part"]:
        path.touch()
    remove_parts(tmp_path, "a.csv")
    assert sorted(tmp_path.iterdir()) == kept
    remove_parts(tmp_path)
    assert sorted(tmp_path.iterdir()) == [*kept[:3], tmp_path / "z"]
    assert below.exists()
    remove_parts(tmp_path, "**/*")
    assert not below.exists()


def test_json_is_read_back(tmp_path):
    content = {"metrics": {"test/mean_ap": 0.1 + 0.2, "test/energy": None}, "device": "\xb5 \ud800"}
    write_json(tmp_path / "summary.json", content)
    assert read_json(tmp_path / "summary.json") == content
    assert read_json(tmp_path / "other.json") == {}


def write_often(path, letter):
    for _ in range(200):
        write_atomically(path, letter * 10_000)


def test_two_processes_write_the_same_file_whole(tmp_path):
    path = tmp_path / "trials.csv"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert path.read_text() in ("a" * 10_000, "b" * 10_000)
    assert list(tmp_path.iterdir()) == [path]


def test_csv_text_is_read_back():
    rows = [["a, b", 'say "c"'], ["", "line\nbreak"]]
    assert list(csv.reader(io.StringIO(csv_text(["x", "y"], rows)))) == [["x", "y"], *rows]


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "{'a': 1}"])
def test_what_is_no_json_is_named(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"summary\.json: not JSON"):
        read_json(tmp_path / "summary.json")
