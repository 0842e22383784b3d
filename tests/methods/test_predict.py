import csv

import pytest
from PIL import Image
from predicting import predict, saved_with


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "bad.jpg").write_bytes(b""),
            "bad.jpg: not a readable picture (0 bytes of no known kind)",
        ),
        (
            lambda folder: (folder / "one.png").write_bytes((folder / "one.jpg").read_bytes()),
            "have the same name",
        ),
        (
            lambda folder: (folder / "one.jpg").write_bytes((folder / "one.jpg").read_bytes()[:-200]),
            "one.jpg: not a readable picture",
        ),
    ],
)
def test_unfit_picture_is_named(pictures, checkpoint, tmp_path, capsys, spoil, message):
    spoil(pictures)
    assert predict(pictures, checkpoint, tmp_path / "out") == 1
    assert message in capsys.readouterr().err


def test_unreadable_pictures_are_listed_and_the_others_mapped(pictures, checkpoint, tmp_path, capsys):
    (pictures / "bad.jpg").write_bytes(b"no picture")
    (pictures / "empty.png").write_bytes(b"")
    assert predict(pictures, checkpoint, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "2 of 5 pictures were left out" in error
    assert "bad.jpg" in error
    assert "empty.png" in error
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 1 + 9


def test_unfit_arguments_are_named(pictures, checkpoint, tmp_path, capsys):
    def error(images, ckpt, *more):
        assert predict(images, ckpt, tmp_path / "out", *more) == 1
        return capsys.readouterr().err

    assert "no such folder" in error(tmp_path / "nowhere", checkpoint)
    (tmp_path / "empty").mkdir()
    assert "no picture here" in error(tmp_path / "empty", checkpoint)
    assert predict(pictures, checkpoint, pictures.parent) == 1
    assert f"--out {pictures.parent}: all " in capsys.readouterr().err
    assert "--classes yellow: expected names among red thing" in error(
        pictures, checkpoint, "--classes", "yellow"
    )
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert "text.ckpt: not a checkpoint of gain fit" in error(pictures, tmp_path / "text.ckpt")


def test_names_with_spaces_are_listed_and_lists_of_voc_are_read(pictures, checkpoint, tmp_path):
    (pictures / "one 1.jpg").write_bytes((pictures / "one.jpg").read_bytes())
    (tmp_path / "list.txt").write_text("one 1.jpg\nbelow/two  -1\n")
    assert predict(pictures, checkpoint, tmp_path / "out", f"--list={tmp_path / 'list.txt'}") == 0
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert {row["picture"] for row in csv.DictReader(file)} == {"one 1.jpg", "below/two.PNG"}


def test_hidden_files_are_passed_over_and_other_kinds_are_counted(pictures, checkpoint, tmp_path, capsys):
    for name in ("._one.jpg", ".ipynb_checkpoints/one-checkpoint.jpg", "__MACOSX/one.jpg", "Thumbs.db"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(b"\0\5\x16\7")
    for name in ("a.HEIC", "below/b.heic", "c.gif"):
        (pictures / name).write_bytes(b"\0")
    assert predict(pictures, checkpoint, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("not read: ")] == [
        f"not read: 1 file of .gif, the first {pictures}/c.gif",
        f"not read: 2 files of .HEIC, the first {pictures}/a.HEIC",
        f"not read: 1 file of .txt, the first {pictures}/notes.txt",
    ]
    assert "3 pictures, " in printed
    (tmp_path / "list.txt").write_text("one\none.jpg\n")
    assert predict(pictures, checkpoint, tmp_path / "listed", f"--list={tmp_path / 'list.txt'}") == 0
    printed = capsys.readouterr().out
    assert "not read" not in printed
    assert "1 pictures, " in printed


def test_a_folder_of_unread_kinds_says_which(checkpoint, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.HEIC").write_bytes(b"\0")
    assert predict(tmp_path / "in", checkpoint, tmp_path / "out") == 1
    assert "no picture here, expected .jpg .jpeg .png" in (error := capsys.readouterr().err)
    assert "; got 1 file of .HEIC" in error


def test_names_of_other_unicode_forms_are_found(tmp_path):
    """As a keyboard writes them, of files and a checkpoint that a macOS wrote."""
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "Ba\u0308r.jpg")
    (tmp_path / "list.txt").write_text("B\u00e4r\n")
    arguments = [f"--list={tmp_path / 'list.txt'}", "--classes", "h\u00f6hle"]
    assert (
        predict(
            tmp_path / "in",
            saved_with(["ho\u0308hle", "b"], tmp_path / "m.ckpt"),
            tmp_path / "out",
            *arguments,
        )
        == 0
    )
    assert [path.name for path in (tmp_path / "out").glob("*.npy")] == ["Ba\u0308r_h\u00f6hle.npy"]


def test_maps_below_the_pictures_are_not_pictures(pictures, checkpoint):
    assert predict(pictures, checkpoint, pictures / "maps") == 0
    (pictures / "maps" / "predictions.csv").unlink()  # as of a call that was interrupted
    assert predict(pictures, checkpoint, pictures / "maps") == 0
    assert len((pictures / "maps" / "predictions.csv").read_text().splitlines()) == 1 + 9
