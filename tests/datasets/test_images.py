import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from gain_lightning.datasets.images import (
    PICTURE_SUFFIXES,
    check_image,
    load_picture,
    read_image,
    read_mask,
)

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF"}
FORMATS[".tiff"] = "TIFF"


@pytest.fixture
def picture():
    """Structured, so that no format shrinks it to nothing."""
    return np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)


@pytest.fixture
def mask():
    return np.random.default_rng(1).choice(np.array([0, 1, 7, 20, 255], np.uint8), (24, 20))


def encode(array, kind, **options):
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette(mask):
    image = Image.fromarray(mask)
    image.putpalette(np.random.default_rng(2).integers(0, 256, 768, dtype=np.uint8).tobytes())
    assert image.mode == "P"
    return image


def write(path, data):
    path.write_bytes(data)
    return path


def names_or_equals(read, path, whole):
    """Whether a file is refused by its name, or read without a loss."""
    try:
        return np.array_equal(read(path), whole)
    except ValueError as error:
        return path.name in str(error)


# Pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_read_image_of_a_lossless_file_is_exact_rgb(tmp_path, picture, suffix):
    path = write(tmp_path / f"x{suffix}", encode(picture, FORMATS[suffix]))
    assert np.array_equal(read_image(path), picture)


def test_read_image_of_a_jpeg_is_rgb(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[:] = [200, 30, 10]
    image = read_image(write(tmp_path / "x.jpg", encode(red, "JPEG", quality=95)))
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - red).max() <= 4


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_read_image_of_a_grey_picture_is_rgb(tmp_path, picture, suffix):
    grey = np.full((24, 20), 77, np.uint8)
    grey[:, 10:] = 180
    image = read_image(write(tmp_path / f"x{suffix}", encode(grey, FORMATS[suffix])))
    assert image.shape == (24, 20, 3)
    assert np.abs(image.astype(int) - grey[:, :, None]).max() <= 3


def test_read_image_of_a_palette_png_holds_colours(tmp_path, mask):
    image = palette(mask)
    expected = np.array(image.convert("RGB"))
    assert np.array_equal(read_image(write(tmp_path / "x.png", encode(image, "PNG"))), expected)


def test_read_image_drops_transparency(tmp_path, picture):
    alpha = np.full((24, 20, 1), 255, np.uint8)
    data = encode(np.concatenate([picture, alpha], 2), "PNG")
    assert np.array_equal(read_image(write(tmp_path / "x.png", data)), picture)


def test_read_image_applies_the_rotation_of_a_camera(tmp_path):
    """Orientation 6: to be turned clockwise, so that the left end comes to the top."""
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 240
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(write(tmp_path / "x.jpg", encode(stored, "JPEG", exif=exif, quality=95)))
    assert image.shape == (32, 16, 3)
    assert image[:14].min() > 200
    assert image[18:].max() < 50


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_image_turns_every_kind_of_file_as_exif_says(tmp_path, picture, suffix, orientation):
    """EXIF names where row 0 and column 0 of the file lie: top left, top right, bottom right, ..."""
    lies = [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[::-1],
        lambda a: a.transpose(1, 0, 2),
        lambda a: a[::-1].transpose(1, 0, 2),
        lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        lambda a: a[:, ::-1].transpose(1, 0, 2),
    ]
    large = np.repeat(np.repeat(picture, 8, 0), 8, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 98, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    path = write(tmp_path / f"x{suffix}", encode(large, FORMATS[suffix], exif=exif, **options))
    expected = lies[orientation - 1](large)
    assert check_image(path) == expected.shape[:2]
    assert np.abs(read_image(path).astype(int) - expected).max() <= (12 if suffix == ".jpg" else 0)
    small = np.asarray(
        Image.fromarray(np.ascontiguousarray(expected)).resize((24, 24), Image.Resampling.BILINEAR)
    )
    assert np.abs(load_picture(path, 24).astype(int) - small).max() <= (8 if suffix == ".jpg" else 1)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_read_image_drops_transparency_of_every_kind_alike(tmp_path, picture, suffix):
    """Colours stay what they are, also where nothing would be seen of them."""
    alpha = np.arange(24 * 20, dtype=np.uint8).reshape(24, 20, 1)
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    data = encode(np.concatenate([picture, alpha], 2), FORMATS[suffix], **options)
    assert np.array_equal(read_image(write(tmp_path / f"x{suffix}", data)), picture)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_read_image_of_16_bits_keeps_the_upper_8(tmp_path, picture, suffix, channels):
    deep = picture[..., :channels].astype(np.uint16) * 256 + 200
    cv2.imwrite(str(tmp_path / f"x{suffix}"), deep[..., ::-1])
    expected = np.broadcast_to(picture[..., :channels], picture.shape)
    assert np.array_equal(read_image(tmp_path / f"x{suffix}"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("read", [read_image, check_image])
def test_fewer_bits_in_a_file_of_16_are_refused_with_their_number(
    tmp_path, picture, suffix, channels, bits, read
):
    """The upper 8 of them would be nearly black."""
    deep = picture[..., :channels].astype(np.uint16) << (bits - 8)
    cv2.imwrite(str(tmp_path / f"x{suffix}"), deep)
    with pytest.raises(ValueError, match=rf"x\{suffix}: .* lower {bits} of its 16 bits, .* at 8 bits"):
        read(tmp_path / f"x{suffix}")


def test_a_black_picture_of_16_bits_is_read(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((6, 8), np.uint16))
    assert not read_image(tmp_path / "x.png").any()


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.float64])
@pytest.mark.parametrize("read", [read_image, check_image])
def test_a_tiff_without_known_black_and_white_is_refused_with_the_remedy(tmp_path, picture, kind, read):
    path = tmp_path / "x.tif"
    cv2.imwrite(str(path), picture[..., 0].astype(kind))
    with pytest.raises(ValueError, match=r"x.tif: .* at 8 bits, by one factor"):
        read(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_damaged_exif_turns_nothing(tmp_path, picture, suffix):
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    data = encode(picture, FORMATS[suffix], exif=exif)
    assert read_image(write(tmp_path / f"x{suffix}", data)).shape == picture.shape


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_read_image_of_a_truncated_file_is_an_error_with_its_name(tmp_path, picture, suffix):
    """Wherever it is cut: it is refused, or nothing of the picture is missing."""
    data = encode(picture, FORMATS[suffix])
    path = tmp_path / f"cut{suffix}"
    whole = read_image(write(path, data))
    for end in range(1, len(data), max(1, len(data) // 97)):
        write(path, data[:end])
        assert names_or_equals(read_image, path, whole), f"{end} of {len(data)} bytes"
    with pytest.raises(ValueError, match=rf"cut\{suffix}"):
        read_image(write(path, data[: len(data) // 2]))


def test_read_image_of_a_progressive_jpeg_cut_short_is_an_error(tmp_path, picture):
    """It shows the whole picture, blurred."""
    data = encode(np.repeat(np.repeat(picture, 4, 0), 4, 1), "JPEG", progressive=True)
    with pytest.raises(ValueError, match=r"cut.jpg"):
        read_image(write(tmp_path / "cut.jpg", data[: int(0.8 * len(data))]))


def test_read_image_takes_bytes_behind_the_end(tmp_path, picture):
    """Cameras put them there; the picture is whole."""
    for suffix, kind in ((".jpg", "JPEG"), (".png", "PNG")):
        path = tmp_path / f"x{suffix}"
        whole = read_image(write(path, encode(picture, kind)))
        assert np.array_equal(read_image(write(path, encode(picture, kind) + bytes(500))), whole)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("data", [b"", b"hello", b"<html>404 Not Found</html>", bytes(200)])
def test_read_image_of_what_is_no_picture_is_an_error_with_its_name(tmp_path, suffix, data):
    with pytest.raises(ValueError, match=rf"x\{suffix}: not a readable picture"):
        read_image(write(tmp_path / f"x{suffix}", data))


def test_read_image_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.jpg"):
        read_image(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (16, 32)), (3, (16, 32)), (6, (32, 16)), (8, (32, 16))]
)
def test_check_image_gives_the_size_of_the_picture_read(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "x.jpg", encode(np.zeros((16, 32, 3), np.uint8), "JPEG", exif=exif))
    assert check_image(path) == read_image(path).shape[:2] == size


@pytest.mark.parametrize("data", [b"", b"hello"])
def test_check_image_of_what_is_no_picture_is_an_error_with_its_name(tmp_path, data):
    with pytest.raises(ValueError, match=r"x.jpg: not a readable picture"):
        check_image(write(tmp_path / "x.jpg", data))


# Masks ----------------------------------------------------------------------------------------------------


def test_read_mask_of_a_palette_png_holds_indices(tmp_path, mask):
    assert np.array_equal(read_mask(write(tmp_path / "x.png", encode(palette(mask), "PNG"))), mask)


def test_read_mask_of_a_grey_png_holds_its_values(tmp_path, mask):
    out = read_mask(write(tmp_path / "x.png", encode(mask, "PNG")))
    assert np.array_equal(out, mask)
    assert out.dtype == np.uint8


def test_read_mask_of_one_bit_is_zero_and_one(tmp_path, mask):
    data = encode(Image.fromarray(mask > 5), "PNG")
    assert np.array_equal(read_mask(write(tmp_path / "x.png", data)), (mask > 5).astype(np.uint8))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_read_mask_of_grey_of_few_bits_holds_the_values_in_the_file(tmp_path, bits):
    """By the letter of the PNG specification, with no encoder between."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = np.arange(24).reshape(3, 8) % 2**bits
    packed = np.zeros((3, bits), np.uint8)
    for column in range(8):
        packed[:, column * bits // 8] |= (values[:, column] << (8 - bits - column * bits % 8)).astype(
            np.uint8
        )
    lines = b"".join(b"\0" + line.tobytes() for line in packed)
    header = struct.pack(">IIBBBBB", 8, 3, bits, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert read_mask(path).tolist() == values.tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_read_mask_of_colours_is_an_error_with_its_name_and_mode(tmp_path, mask, mode):
    image = Image.fromarray(mask.astype(np.uint16)) if mode == "I;16" else Image.fromarray(mask).convert(mode)
    with pytest.raises(ValueError, match=f"x.png: .*mask of mode {mode}, expected class indices"):
        read_mask(write(tmp_path / "x.png", encode(image, "PNG")))


def test_read_mask_of_a_truncated_file_is_an_error_with_its_name(tmp_path, mask):
    data = encode(palette(mask), "PNG")
    path = tmp_path / "cut.png"
    for end in range(1, len(data), 3):
        write(path, data[:end])
        assert names_or_equals(read_mask, path, mask), f"{end} of {len(data)} bytes"
    with pytest.raises(ValueError, match=r"cut.png"):
        read_mask(write(path, data[:-60]))


@pytest.mark.parametrize("data", [b"", b"hello", bytes(200)])
def test_read_mask_of_what_is_no_picture_is_an_error_with_its_name(tmp_path, data):
    with pytest.raises(ValueError, match=r"x.png: not a readable mask"):
        read_mask(write(tmp_path / "x.png", data))


def test_read_mask_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.png"):
        read_mask(tmp_path / "nowhere.png")


@pytest.mark.parametrize("orientation", [1, 6, 9])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_size_of_a_rotated_picture_is_that_of_the_decoded_one(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path, exif=exif)
    assert check_image(path) == read_image(path).shape[:2]
