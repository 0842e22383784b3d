import numpy as np
import pytest
from PIL import Image

from gain_lightning.drawing.maps import colour_mask
from gain_lightning.drawing.strips import read_strip, save_strip


@pytest.fixture
def picture(generator):
    return np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def test_a_strip_comes_back_as_its_pictures(tmp_path, picture):
    """Under their captions; what is not there is white and not void, which would say that it is unsure."""
    masks = {"ground truth": np.full((6, 8), 255, np.uint8), "cues": np.tri(6, 8, dtype=np.uint8)}
    save_strip(tmp_path / "a" / "s.png", picture, masks)
    strip = read_strip(tmp_path / "a" / "s.png")
    assert list(strip) == ["image", "ground truth", "cues"]
    np.testing.assert_array_equal(strip["image"], picture)
    np.testing.assert_array_equal(strip["cues"], colour_mask(masks["cues"]))
    assert (strip["ground truth"] == 255).all()
    whole = np.asarray(Image.open(tmp_path / "a" / "s.png").convert("RGB"))
    assert whole.shape[1] > 3 * 8  # gaps between them


def test_another_picture_is_no_strip(tmp_path):
    (tmp_path / "s.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"s\.png: not a strip"):
        read_strip(tmp_path / "s.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "t.png")
    with pytest.raises(ValueError, match=r"t\.png: not a strip"):
        read_strip(tmp_path / "t.png")


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_in_a_strip_is_a_value_error(tmp_path, picture):
    path = tmp_path / "s.png"
    save_strip(path, picture, {"cues": np.tri(6, 8, dtype=np.uint8)})
    whole, refused = path.read_bytes(), []
    for place in range(len(whole)):
        for flipped in (1, 255):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            try:
                read_strip(path)  # some damage Pillow does not see
            except ValueError as error:
                refused.append(str(error))
    assert len(refused) > len(whole)  # of twice as many
    assert all(said.startswith(f"{path}: not a strip of pictures") for said in refused)
