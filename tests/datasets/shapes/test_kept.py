"""Pictures that were kept are those that would be drawn."""

import os
import time

import numpy as np
import pytest

from gain_lightning.datasets.shapes import boat, camera, count, kept, two_shortcuts

SPLIT = {boat: "water_without_boat", camera: "other_grounds", count: "train", two_shortcuts: "val"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept, "KEPT_FROM", 4)
    return tmp_path / "gain_lightning" / "shapes"


def draw(scene, count=5, **options):
    return kept.draw_pictures(scene, SPLIT[scene], range(count), **options)


def check_equal(pictures, others):
    for picture, other in zip(pictures, others, strict=True):
        assert picture.ground == other.ground
        for name in ("image", "label", "mask"):
            np.testing.assert_array_equal(getattr(picture, name), getattr(other, name), strict=True)
        for boxes, other_boxes in zip(picture.boxes, other.boxes, strict=True):
            np.testing.assert_array_equal(boxes, other_boxes, strict=True)


@pytest.mark.parametrize("scene", SPLIT)
def test_kept_pictures_are_those_that_are_drawn(scene, monkeypatch):
    drawn = draw(scene, seed=3, bias=0.5)
    assert len(drawn) == 5
    check_equal(drawn, [scene.draw_picture(i, SPLIT[scene], seed=3, bias=0.5) for i in range(5)])
    monkeypatch.setattr(scene, "draw_picture", None)
    check_equal(drawn, draw(scene, seed=3, bias=0.5))


def test_other_options_of_a_scene_have_files_of_their_own(folder):
    for options in ({}, {"companion_bias": 0.5}, {"companion_place": "colour"}):
        check_equal(
            draw(two_shortcuts, **options),
            [two_shortcuts.draw_picture(i, SPLIT[two_shortcuts], **options) for i in range(5)],
        )
    assert len(list(folder.glob("*.npz"))) == 3


def test_other_pictures_and_other_code_have_files_of_their_own(folder, monkeypatch, tmp_path):
    for options in ({}, {"seed": 1}, {"bias": 0.5}, {"count": 6}):
        draw(boat, **options)
    assert len(list(folder.glob("*.npz"))) == 4
    other = tmp_path / "boat.py"
    other.write_text("# changed")
    monkeypatch.setattr(boat, "__file__", str(other))
    draw(boat)
    assert len(list(folder.glob("*.npz"))) == 5


def test_few_pictures_are_not_kept(folder):
    draw(boat, 3)
    assert not folder.exists()


ENTRY = b"PK\x01\x02\x2d\x03\x2d\0"  # of a zip file's list of contents; flags and compression follow
DAMAGES = {
    "cut": lambda data: data[:5000],
    "a byte": lambda data: data[:3000] + b"?" + data[3001:],
    "empty, after a power cut": lambda data: b"",
    "an unknown compression": lambda data: data.replace(ENTRY + b"\0\0\0\0", ENTRY + b"\0\0\x63\0"),
    "encrypted": lambda data: data.replace(ENTRY + b"\0\0", ENTRY + b"\1\0"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_drawn_again(folder, damage):
    drawn = draw(boat)
    (file,) = folder.glob("*.npz")
    whole = file.read_bytes()
    assert damage(whole) != whole
    file.write_bytes(damage(whole))
    check_equal(drawn, draw(boat))
    assert len(file.read_bytes()) == len(whole)


def test_a_folder_that_is_read_alone_is_read(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    drawn = draw(boat)
    assert list(folder.glob("*.npz"))
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(boat, "draw_picture", None)
    check_equal(drawn, draw(boat))


def test_without_a_folder_nothing_is_kept(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(draw(boat)) == 5


def test_files_of_no_use_go_first(folder, monkeypatch):
    draw(boat, seed=0)
    (first,) = folder.glob("*.npz")
    draw(boat, seed=1)
    (second,) = set(folder.glob("*.npz")) - {first}
    for age, file in enumerate((second, first), start=1):
        os.utime(file, (time.time() - 100 * age,) * 2)
    draw(boat, seed=0)  # of use again
    monkeypatch.setattr(kept, "MOST_BYTES", 2 * first.stat().st_size + 1000)
    draw(boat, seed=2)
    left = set(folder.glob("*.npz"))
    assert len(left) == 2
    assert first in left
    assert second not in left
