"""The files of cues and maps, ours and those of others."""

import pickle
import pickletools
import warnings

import numpy as np
import pytest

from gain_lightning.constants import VOID
from gain_lightning.segmentation.cue_files import read_cues, read_exchanged_maps, write_cues
from gain_lightning.segmentation.score_seeds import score_seeds
from gain_lightning.segmentation.seeds import make_cues, pseudo_mask


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no cues"),
        (
            {"a": np.zeros((2, 2), np.uint8), "b": np.zeros((3, 2), np.uint8)},
            r"b is \(3, 2\), expected \(2, 2\) as the others",
        ),
        ({"a": np.zeros((2, 2))}, "a is float64"),
        ({"a": np.full((2, 2), 9, np.uint8)}, "a has a cue of class 9, but there are 5"),
    ],
)
def test_unfit_cues_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_cues(tmp_path / "c.npz", 5)


def test_cues_are_the_same_in_both_layouts(made):
    cues, sec = read_cues(made / "cues.npz"), read_cues(made / "localization_cues.pickle")
    assert cues.keys() == sec.keys()
    for name, cue in cues.items():
        np.testing.assert_array_equal(cue, sec[name])


def test_published_cues_are_read_by_their_list(tmp_path):
    """As SEC's authors have them: paths with a slash and an ending, classes, y and x in float."""
    content = {"3_labels": np.array([2]), "3_cues": np.array([[2.0, 0.0], [1, 40], [5, 0]]).astype(np.int64)}
    (tmp_path / "c.pickle").write_bytes(pickle.dumps(content, protocol=2))
    (tmp_path / "input_list.txt").write_text("/2007_000032.jpg 3\n")
    (cue,) = read_cues(tmp_path / "c.pickle", 20).values()
    assert (cue[1, 5], cue[40, 0], (cue != VOID).sum()) == (2, 0, 2)
    (tmp_path / "input_list.txt").write_text("/2007_000032.jpg 4\n")
    with pytest.raises(ValueError, match=r"c\.pickle: not SEC's cues of .*KeyError: '4_cues'"):
        read_cues(tmp_path / "c.pickle", 20)
    (tmp_path / "input_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the images of c\.pickle"):
        read_cues(tmp_path / "c.pickle", 20)


@pytest.mark.parametrize("cue", [(257, 1, 1), (-1, 1, 1), (2, -1, 1), (2, 1, 41), (255, 1, 1)])
def test_cues_off_the_grid_or_of_no_class_are_refused(tmp_path, cue):
    content = {"3_cues": np.array([[value] for value in cue], np.int64)}
    (tmp_path / "c.pickle").write_bytes(pickle.dumps(content, protocol=2))
    (tmp_path / "input_list.txt").write_text("/2007_000032.jpg 3\n")
    with pytest.raises(ValueError, match=r"c\.pickle: not SEC's cues"):
        read_cues(tmp_path / "c.pickle")


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "objects", "one array"])
def test_archives_of_other_things_are_named(tmp_path, kind):
    path = tmp_path / "c.npz"
    np.savez(path, x=np.zeros((41, 41), np.uint8) if kind != "objects" else np.array([{}, None]))
    data = {"cut": path.read_bytes()[:200], "empty": b"", "text": b"cues"}.get(kind, path.read_bytes())
    path.write_bytes(data)
    if kind == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"c\.npz: not an \.npz archive of plain arrays"):
        read_cues(path)


def test_cues_that_hold_code_do_not_run_it(tmp_path):
    (tmp_path / "c.pickle").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    )
    (tmp_path / "input_list.txt").write_text("a 0\n")
    with pytest.raises(ValueError, match="neither array nor tensor"):
        read_cues(tmp_path / "c.pickle")
    assert not (tmp_path / "ran").exists()


def test_numpy_1_and_python_2_find_what_the_pickles_name(made):
    """Numpy 2 moved its functions to numpy._core, where numpy 1 has none."""
    for path in [made / "localization_cues.pickle", *sorted((made / "maps").glob("*.npy"))]:
        content = path.read_bytes()
        if path.suffix == ".npy":
            content = content[content.index(b"\n") + 1 :]  # behind the header
        assert content[:2] == (b"\x80\x02" if path.suffix == ".pickle" else b"\x80\x03")
        named = {arg for opcode, arg, _ in pickletools.genops(content) if opcode.name == "GLOBAL"}
        assert "numpy.core.multiarray _reconstruct" in named
        assert not any("_core" in name for name in named)
        assert not [op for op, *_ in pickletools.genops(content) if op.name == "STACK_GLOBAL"]


def test_maps_are_read_as_others_read_them(made):
    path = made / "maps" / "2012_000000.npy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = np.load(path, allow_pickle=True).item()
    keys, high_res = read_exchanged_maps(path)
    np.testing.assert_array_equal(content["keys"], keys)
    np.testing.assert_array_equal(content["high_res"], high_res)
    assert content["cam"].shape == (len(keys), 12, 15)


@pytest.mark.parametrize("names", [["file", "allow_pickle"], ["my cat 1", "img.1", "img.2"], ["cats/1"]])
def test_images_may_be_called_anything(tmp_path, names):
    cues = {name: np.full((41, 41), row, np.uint8) for row, name in enumerate(names)}
    write_cues(tmp_path, cues, np.eye(3)[: len(names)])
    for file in ("cues.npz", "localization_cues.pickle"):
        found = read_cues(tmp_path / file)
        assert list(found) == names
        for name, cue in cues.items():
            np.testing.assert_array_equal(found[name], cue)
    assert not list(tmp_path.glob("part*"))


def test_two_images_of_one_name_in_a_list_are_refused(tmp_path):
    write_cues(tmp_path, {"a": np.zeros((41, 41), np.uint8), "b": np.zeros((41, 41), np.uint8)}, np.eye(2))
    (tmp_path / "input_list.txt").write_text("a.jpg 0\na.png 1\n")
    with pytest.raises(ValueError, match="two images are called a"):
        read_cues(tmp_path / "localization_cues.pickle")


def test_cues_of_other_types_are_taken_or_named(tmp_path):
    np.savez(tmp_path / "c.npz", x=np.array([[0, 3], [255, 1]]))
    assert read_cues(tmp_path / "c.npz")["x"].dtype == np.uint8
    for value, message in [(256, "has values 0 to 256"), (-1, "has values -1 to 0"), (0.5, "is float64")]:
        np.savez(tmp_path / "c.npz", x=np.array([[0, value]]))
        with pytest.raises(ValueError, match=message):
            read_cues(tmp_path / "c.npz")


class Harmful:
    def __reduce__(self):
        return (__import__("os").system, ("echo harmful",))


def test_a_file_of_maps_cannot_run_code(tmp_path, capfd):
    np.save(tmp_path / "x.npy", {"keys": np.array([0]), "high_res": Harmful()})
    with pytest.raises(ValueError, match="neither array nor tensor"):
        read_exchanged_maps(tmp_path / "x.npy")
    assert "harmful" not in capfd.readouterr().out


def test_more_classes_than_indices_are_refused_by_name(tmp_path):
    """Index 254 would be 255, no cue, in a file, and 255 would be 0, the background."""
    maps = np.ones((1, 2, 2))
    assert make_cues(maps, [253], maps[0] < 0).tolist() == [[254, 254], [254, 254]]
    for make in (make_cues, pseudo_mask):
        for class_idx in (254, 255, 999):
            with pytest.raises(ValueError, match=rf"{class_idx + 1} classes, but .* hold at most 254"):
                make(maps, [class_idx], maps[0] < 0, threshold=0.2)
    np.savez(tmp_path / "cues.npz", a=np.zeros((2, 2), np.uint8))
    assert read_cues(tmp_path / "cues.npz", 254).keys() == {"a"}
    with pytest.raises(ValueError, match=r"cues\.npz: 255 classes, but .* hold at most 254"):
        read_cues(tmp_path / "cues.npz", 255)
    with pytest.raises(ValueError, match="--class_names: 300 classes"):
        score_seeds(tmp_path / "cues.npz", tmp_path, [f"class {index}" for index in range(300)])
