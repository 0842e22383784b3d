import contextlib
import csv
import io
import multiprocessing

import pytest

from gain_lightning.support.files import WholeTable, csv_text, read_json, write_atomically


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
