"""Saliency maps of any kind are read as what they mean."""

import numpy as np
import pytest
from making_seeds import seeds
from PIL import Image

from gain_lightning.constants import VOID
from gain_lightning.segmentation.saliency import SaliencyMaps

SIZE = (48, 60)


@pytest.fixture
def values():
    """Saliency in 255ths that no turn or mirror leaves as it is; its highest value is 255."""
    values = np.zeros(SIZE, np.uint8)
    values[:12, :45] = 255
    values[12:24, :15] = 100
    values[40:, 50:] = 10
    return values


def saved(folder, name, values):
    folder.mkdir(exist_ok=True, parents=True)
    if name.endswith(".npy"):
        np.save(folder / name, values)
    else:
        Image.fromarray(values).save(folder / name, **({"quality": 98} if ".jp" in name else {}))


KINDS = {
    "a.png": lambda v: v,
    "a.PNG": lambda v: np.repeat(v[:, :, None], 3, 2),
    "a.jpg": lambda v: v,
    "a.jpeg": lambda v: np.repeat(v[:, :, None], 3, 2),
    "a.tif": lambda v: v,
    "a_sal.png": lambda v: v.astype(np.uint16) * 257,
    "a.jpg.png": lambda v: v,
    "a.npy": lambda v: v,
    "a_map.npy": lambda v: v / 255,
    "a-s.npy": lambda v: (v / 255).astype(np.float16)[None],
    "a.s.npy": lambda v: v.astype(np.float64)[:, :, None],
    "a+.npy": lambda v: v.astype(np.uint16) * 257,
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_orientation(tmp_path, values, kind):
    saved(tmp_path / "maps", kind, KINDS[kind](values))
    got = SaliencyMaps(tmp_path / "maps", ["a"]).read("a", SIZE)
    assert got.shape == SIZE
    assert got.dtype == np.float32
    is_edge = np.abs(got - values / 255) > 0.02
    assert is_edge.mean() < (0.04 if ".j" in kind else 1e-9)  # a JPEG's losses are at edges


def test_the_highest_value_of_all_maps_says_the_scale(tmp_path):
    """A map that is dark throughout is no mask of 0 and 1, and one of 0 and 1 alone is."""
    for name, highest in (("dark", 1), ("bright", 255)):
        saved(tmp_path / "bytes", f"{name}.png", np.array([[0, highest]], np.uint8))
    maps = SaliencyMaps(tmp_path / "bytes", ["dark", "bright"])
    assert maps.read("dark", (1, 2)).tolist() == [[0, pytest.approx(1 / 255)]]
    saved(tmp_path / "masks", "a.png", np.array([[0, 1]], np.uint8))
    assert SaliencyMaps(tmp_path / "masks", ["a"]).read("a", (1, 2)).tolist() == [[0, 1]]
    saved(tmp_path / "bools", "a.npy", np.array([[False, True]]))
    assert SaliencyMaps(tmp_path / "bools", ["a"]).read("a", (1, 2)).tolist() == [[0, 1]]


def test_a_photograph_with_a_turn_is_turned(tmp_path, values):
    """Its map was saved with the tag that turned the image."""
    exif = Image.Exif()
    exif[274] = 6  # shown by a quarter turn clockwise
    Image.fromarray(np.rot90(values).copy()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(SaliencyMaps(tmp_path, ["a"]).read("a", SIZE), values / 255, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("ending", [".png", ".npy", "_saliency.png"])
def test_cues_lie_where_maps_are_dark(run, tmp_path, factor, ending):
    """Of maps of 82 pixels a cell is the mean of four, by hand; the paper's threshold is 0.06."""
    rng = np.random.default_rng(0)
    names = [f"2012_{n:06d}" for n in range(8)]
    maps = {}
    for name in names:
        maps[name] = rng.choice([0, 5, 14, 16, 120, 255], (factor * 41, factor * 41)).astype(np.uint8)
        saved(tmp_path / "maps", f"{name}{ending}", maps[name] / 255 if ending == ".npy" else maps[name])
    options = ("--background", "saliency", "--saliency", str(tmp_path / "maps"), "--threshold", "1")
    assert seeds(run, tmp_path / "o", *options) == 0
    cues = np.load(tmp_path / "o" / "cues.npz")
    for name in names:
        for y in range(41):
            for x in range(41):
                cell = maps[name][factor * y : factor * (y + 1), factor * x : factor * (x + 1)]
                assert cues[name][y, x] == (0 if cell.mean() / 255 < 0.06 else VOID)


def test_all_images_without_a_map_are_one_error(tmp_path):
    saved(tmp_path / "maps", "b_s.png", np.zeros((2, 2), np.uint8))
    saved(tmp_path / "maps", "c_s.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(
        FileNotFoundError, match=r"2 of 4 images have no .* the first a: expected a_s\.png, or"
    ):
        SaliencyMaps(tmp_path / "maps", ["a", "b", "c", "d"])
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        SaliencyMaps(tmp_path / "none", ["a"])


def test_maps_lie_in_folders_as_their_images_do(tmp_path):
    saved(tmp_path / "maps" / "cats", "1.png", np.full((2, 2), 255, np.uint8))
    assert SaliencyMaps(tmp_path / "maps", ["cats/1"]).read("cats/1", (2, 2)).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", np.zeros((2, 2, 3)), r"a\.npy: float64 \(2, 2, 3\), expected a saliency map \(h, w\)"),
        ("a.npy", np.array([[-1.0, 1.0]]), "negative or not finite"),
        ("a.npy", np.array([[np.nan, 1.0]]), "negative or not finite"),
        ("a.npy", np.array(["x"]), "not a readable|expected a saliency map"),
        ("a.npy", np.array([{}], object), r"a\.npy: not a readable saliency map"),
        ("a.png", np.array([[[255, 0, 0]]], np.uint8), "it is in colours, expected grey values"),
        ("a.png", np.zeros((40, 20), np.uint8), "expected one that is not on its side"),
    ],
)
def test_unfit_maps_are_named(tmp_path, name, content, message):
    saved(tmp_path / "maps", name, content)
    with pytest.raises(ValueError, match=message):
        SaliencyMaps(tmp_path / "maps", ["a"]).read("a", (20, 40))


def test_broken_and_double_maps_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"a\.png: not a readable saliency map"):
        SaliencyMaps(tmp_path, ["a"]).read("a", (2, 2))
    saved(tmp_path, "a.jpg", np.zeros((2, 2), np.uint8))
    with pytest.raises(
        ValueError, match=r"1 of 1 images have several maps, the first a \(a\.jpg and a\.png\)"
    ):
        SaliencyMaps(tmp_path, ["a"])
