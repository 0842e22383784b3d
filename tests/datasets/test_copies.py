"""Near-equal pictures of two splits."""

import csv
import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from gain_lightning.cli import main
from gain_lightning.datasets.copies import NEAR, TURNS, turned_hashes


def scene(seed, size=(120, 160)):
    """A picture of large and small patches, which no other seed is like."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8)).resize(size[::-1]))
        for cells in (3, 6, 12, 40)
    ]
    return Image.fromarray(np.mean(layers, 0).astype(np.uint8))


def as_jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def distance(first, second):
    """Fewest bits of 256 in which a picture, however turned, differs from another."""
    return int((turned_hashes(np.asarray(first)) != turned_hashes(np.asarray(second), 1)).sum(1).min())


COPIES = {
    "poor JPEG": lambda image: as_jpeg(image, 30),
    "half as large": lambda image: image.resize((80, 60)),
    "squashed": lambda image: image.resize((96, 96)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "a border cut off": lambda image: image.crop((2, 2, 158, 118)),
    **{turn.name: lambda image, turn=turn: as_jpeg(image.transpose(turn), 75) for turn in Image.Transpose},
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_a_changed_or_turned_picture_is_near_and_another_is_not(change):
    for seed in range(4):
        assert distance(scene(seed), change(scene(seed))) <= NEAR
        assert distance(scene(seed), change(scene(seed + 100))) > NEAR + 16


def test_hashes_are_those_of_imagehash():
    image = scene(0).convert("L").resize((64, 64), Image.Resampling.BILINEAR)
    turned = [image, image.transpose(Image.Transpose.ROTATE_90), image.transpose(Image.Transpose.ROTATE_180)]
    expected = [imagehash.phash(one, hash_size=16).hash.ravel() for one in turned]
    np.testing.assert_array_equal(turned_hashes(np.asarray(scene(0)), 3) > 0, expected)


@pytest.fixture
def folder(tmp_path):
    """Five pictures for training; val has one of them turned, the test one as it is, and one of val's."""
    pictures = {f"t{n}.png": (scene(n), "train") for n in range(5)}
    pictures["v0.jpg"] = (scene(3).transpose(Image.Transpose.ROTATE_90), "val")
    pictures["v1.png"] = (scene(10), "val")
    pictures["test 0.jpg"] = (scene(1), "test")
    pictures["test 1.png"] = (scene(10).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "test")
    pictures["test 2.png"] = (scene(11), "test")
    (tmp_path / "images").mkdir()
    for name, (picture, _) in pictures.items():
        picture.save(tmp_path / "images" / name)
    rows = [f"{name},cat,{split}" for name, (_, split) in pictures.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["filename,classes,split", *rows]) + "\n")
    return tmp_path


def test_check_lists_copies_of_every_two_splits(folder, capsys, tmp_path):
    assert main(["data", "check", str(folder), "--copies", str(tmp_path / "out" / "copies.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    end = "so that scores of one of them are too good:"
    assert lines[lines.index(f"1 val picture is nearly one of test, {end}") :] == [
        f"1 val picture is nearly one of test, {end}",
        "  v1.png of val, mirrored, is nearly test 1.png of test",
        f"1 val picture is nearly one of train, {end}",
        "  v0.jpg of val, turned right, is nearly t3.png of train",
        f"1 test picture is nearly one of train, {end}",
        "  test 0.jpg of test is nearly t1.png of train",
        "0 problems, 3 near-equal pictures in two splits",
    ]
    with (tmp_path / "out" / "copies.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["other_id"], row["turn"] in TURNS, int(row["bits"]) <= NEAR) for row in rows] == [
        ("v1.png", "test 1.png", True, True),
        ("v0.jpg", "t3.png", True, True),
        ("test 0.jpg", "t1.png", True, True),
    ]


def test_copies_are_looked_for_unless_told_otherwise_and_a_broken_picture_has_none(folder, capsys):
    (folder / "images" / "t4.png").write_bytes(b"no picture")
    assert main(["data", "check", str(folder)]) == 1
    assert "1 problem, 3 near-equal pictures" in capsys.readouterr().out
    assert main(["data", "check", str(folder), "--no_copies"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 problem"


def test_two_lists_of_training_pictures_may_share_them(folder, capsys):
    text = (folder / "labels.csv").read_text().replace(",test\n", ",train_more\n")
    (folder / "labels.csv").write_text(text)
    assert main(["data", "check", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if " is nearly " in line and line.startswith("  ")] == [
        "  v1.png of val, mirrored, is nearly test 1.png of train_more",
        "  v0.jpg of val, turned right, is nearly t3.png of train",
    ]


def test_a_turn_is_named_as_it_brings_the_picture_onto_the_other():
    picture = scene(0)
    turns = {
        "turned left": Image.Transpose.ROTATE_90,
        "upside down": Image.Transpose.ROTATE_180,
        "turned right": Image.Transpose.ROTATE_270,
        "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
        "mirrored and upside down": Image.Transpose.FLIP_TOP_BOTTOM,
    }
    for name, turn in turns.items():
        other = turned_hashes(np.asarray(picture.transpose(turn)), 1)
        differing = (turned_hashes(np.asarray(picture)) != other).sum(1)
        assert TURNS[int(differing.argmin())] == name
