"""Pictures and masks at the size of the network, against Pillow, numpy and geometry."""

import numpy as np
import pytest
import torch
from PIL import Image

from gain_lightning.constants import RESIZES
from gain_lightning.datasets.images import load_picture
from gain_lightning.datasets.resize import frame_of, resize_image, resize_mask, slices_of

SUFFIXES = {
    ".png": {"compress_level": 1},
    ".jpg": {"quality": 98, "subsampling": 0},
    ".bmp": {},
    ".tif": {},
    ".webp": {"lossless": True, "method": 0},
}
# height, width, side of the network: shrunk, enlarged, both at once, by whole and broken factors, JPEGs reduced or not
SIZES = [
    (96, 96, 96),
    (375, 500, 224),
    (100, 130, 224),
    (60, 900, 224),
    (448, 448, 224),
    (683, 1024, 96),
    (1000, 1504, 96),
    (1001, 1503, 96),
    (1792, 1792, 224),
    (1600, 2400, 100),
]


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_resizing_is_pillows(height, width, size):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BILINEAR))
    assert np.abs(resize_image(noise, (size, size)).astype(int) - expected).max() <= 1


def test_several_pictures_are_resized_as_one():
    noise = np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)
    together = resize_image(torch.from_numpy(noise).permute(0, 3, 1, 2), (20, 30)).permute(0, 2, 3, 1)
    for one, of_all in zip(noise, together.numpy(), strict=True):
        assert np.array_equal(resize_image(one, (20, 30)), of_all)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_noise_is_averaged_whatever_the_kind_of_file(tmp_path, suffix):
    """To an eighth: a mean of 8 x 8 pixels leaves a deviation of 73.9 / 8 = 9.2, the wider bilinear filter 6.2."""
    noise = np.random.default_rng(0).integers(0, 256, (896, 896, 1), dtype=np.uint8).repeat(3, 2)
    Image.fromarray(noise).save(tmp_path / f"x{suffix}", **SUFFIXES[suffix])
    picture = load_picture(tmp_path / f"x{suffix}", 112)
    assert 5.5 < picture.std() < 6.5
    assert abs(picture.mean() - noise.mean()) < 1


def scene(height, width):
    """A white disk with a sharp edge on black, and where it is."""
    yy, xx = np.mgrid[:height, :width]
    disk = ((yy + 0.5) / height - 0.37) ** 2 + ((xx + 0.5) / width - 0.61) ** 2 < 0.13**2
    return np.where(disk[..., None], 255, 0).astype(np.uint8).repeat(3, 2), disk.astype(np.uint8)


def centre(weight):
    """Of a picture or mask, in parts of its size: from 0 at its upper left corner to 1."""
    weight = weight.astype(float)
    yy, xx = np.indices(weight.shape)
    return (
        np.array([(weight * (yy + 0.5)).sum(), (weight * (xx + 0.5)).sum()]) / weight.sum() / weight.shape[0]
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_picture_and_mask_lie_where_they_do_in_the_file(tmp_path, suffix, height, width, size):
    image, mask = scene(height, width)
    Image.fromarray(image).save(tmp_path / f"x{suffix}", **SUFFIXES[suffix])
    picture = load_picture(tmp_path / f"x{suffix}", size)[..., 0]
    yy, xx = np.nonzero(mask)
    expected = np.array([(yy.mean() + 0.5) / height, (xx.mean() + 0.5) / width])
    assert np.abs(centre(np.where(picture > 8, picture, 0)) - expected).max() * size < 0.1
    assert np.abs(centre(resize_mask(mask, (size, size))) - expected).max() * size < 0.2


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_sharp_edges_are_those_of_the_whole_picture(tmp_path, suffix, height, width, size):
    """Against Pillow's own filter of all pixels; a JPEG's losses and its reduction change little."""
    image, _ = scene(height, width)
    Image.fromarray(image).save(tmp_path / f"x{suffix}", **SUFFIXES[suffix])
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)).astype(int)
    differences = np.abs(load_picture(tmp_path / f"x{suffix}", size) - expected)
    assert differences.max() <= (1 if suffix == ".png" else 14)
    assert differences.mean() <= (0.01 if suffix == ".png" else 0.3)


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_a_masks_edge_is_at_most_half_a_pixel_off(height, width, size):
    """Wherever the edge of the class is, between pixels that are as fine as the file's allow."""
    for cut in np.linspace(0.1, 0.9, 23):
        mask = np.zeros((height, width), np.uint8)
        mask[:, round(cut * width) :] = 7
        found = resize_mask(mask, (size, size))
        assert set(np.unique(found)) == {0, 7}
        assert (
            abs((found[0] == 0).sum() - round(cut * width) / width * size)
            <= max(0.5, 0.5 * size / width) + 1e-9
        )


# A picture in its square ----------------------------------------------------------------------------------

ODD = [(60, 180), (200, 80), (96, 96), (120, 160), (1, 500), (333, 77), (3000, 4000)]


@pytest.mark.parametrize("side", [31, 32, 224])
@pytest.mark.parametrize("size", ODD)
def test_frames_keep_the_aspect_in_the_middle(size, side):
    """To a pixel on each side; a mirrored picture has the same frame."""
    for resize, fitted in (("letterbox", max(size)), ("crop", min(size))):
        frame = frame_of(size, side, resize)
        for length, got, before in zip(
            size, (frame.height, frame.width), (frame.top, frame.left), strict=True
        ):
            assert got == pytest.approx(max(length / fitted * side, 1), abs=1)
            assert side - got - before == before
    assert frame_of(size, side, "squash") == (0, 0, side, side, side)
    with pytest.raises(ValueError, match="resize is 'pad', expected one of squash, letterbox, crop"):
        frame_of(size, side, "pad")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(("height", "width"), [(60, 180), (200, 80), (96, 96), (1200, 1600), (1600, 800)])
def test_a_letterboxed_or_cut_picture_is_pillows(tmp_path, height, width, suffix):
    """Resized by Pillow, then pasted on the mean colour; a reduced JPEG differs by little more than its losses."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(tmp_path / f"x{suffix}", **SUFFIXES[suffix])
    stored = Image.open(tmp_path / f"x{suffix}")
    for resize in ("letterbox", "crop"):
        frame = frame_of((height, width), 64, resize)
        expected = Image.new("RGB", (64, 64), (124, 116, 104))
        resized = stored.resize((frame.width, frame.height), Image.Resampling.BILINEAR)
        expected.paste(resized, (frame.left, frame.top))
        difference = np.abs(load_picture(tmp_path / f"x{suffix}", 64, resize) - np.asarray(expected, int))
        assert difference.max() <= 1 if suffix == ".png" else difference.mean() < 2


@pytest.mark.parametrize("size", ODD)
def test_what_is_put_into_a_square_is_cut_out_of_it_again(size):
    whole = np.random.default_rng(0).integers(1, 256, (64, 64, 2), dtype=np.uint8)
    for resize in RESIZES:
        frame = frame_of(size, 64, resize)
        square = frame.put(frame.cut(whole, 0), 7)
        rows, columns = slices_of(frame.window)
        np.testing.assert_array_equal(square[rows, columns], whole[rows, columns])
        beside = np.ones((64, 64), bool)
        beside[rows, columns] = False
        assert (square[beside] == 7).all()
        assert beside.any() == (resize == "letterbox" and size[0] != size[1])
