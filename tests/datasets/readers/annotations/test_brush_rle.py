import contextlib

import numpy as np
import pytest
from annotated import brush_rle
from hypothesis import given, settings
from hypothesis import strategies as st

from gain_lightning.datasets.readers.annotations.brush_rle import decode_brush


def decode_slowly(code, size):
    """Decode as thi.ng's TypeScript does, bit by bit."""
    bits = "".join(f"{number:08b}" for number in code)
    place = 0

    def read(width):
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    count, width = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = []
    while len(out) < count:
        is_run = read(1)
        length = 1 + read(sizes[read(2)])
        out += [read(width)] * length if is_run else [read(width) for _ in range(length)]
    return np.array(out).reshape(*size, 4)[..., 3] > 0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 40), st.floats(0, 1), st.integers(0, 9))
def test_equals_the_definition(height, width, share, seed):
    mask = np.random.default_rng(seed).random((height, width)) < share
    for sizes in ((3, 4, 8, 16), (2, 5, 7, 9)):
        code = brush_rle(mask, sizes)
        assert np.array_equal(decode_brush(bytes(code), mask.shape), mask)
        assert np.array_equal(decode_slowly(code, mask.shape), mask)


# Written by mask2rle of label-studio-converter 0.0.59.
BY_THE_TOOL = {
    ((0, 1, 1), (1, 0, 0)): [0, 0, 0, 24, 57, 27, 252, 96, 22, 255, 231, 0, 0],
}


@pytest.mark.parametrize("rows", BY_THE_TOOL)
def test_reads_what_the_tool_wrote(rows):
    mask = np.array(rows, bool)
    assert np.array_equal(decode_brush(bytes(BY_THE_TOOL[rows]), mask.shape), mask)


def test_opacity_says_where_the_brush_was():
    # red of the first pixel, opacity of the second
    code = int(
        "".join(["0" * 28 + "1000", "00111", "0010001101111111", "000111"])
        + "11111111"
        + "0" * 48
        + "11111111",
        2,
    )
    code = (code << -(53 + 6 + 64) % 8).to_bytes(16, "big")
    assert decode_brush(code, (1, 2)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("code", "size", "message"),
    [
        ([], (1, 2), "0 bytes, expected at least 7"),
        ([0, 0, 0, 8], (1, 2), "4 bytes"),
        (brush_rle(np.ones((2, 3))), (2, 2), r"of 24 values, expected 16: 4 for each of 2 x 2 pixels"),
        (brush_rle(np.eye(9))[:-3], (9, 9), r"ends at value \d+ of 324"),
        ([255] * 40, (9, 9), "of 4294967295 values, expected 324"),
        ([0, 0, 0, 8, 57, 27, 252 + 2, 255], (1, 2), r"goes on to value \d+ of 8|ends at value 0 of 8"),
    ],
)
def test_damage_is_named(code, size, message):
    with pytest.raises(ValueError, match=message):
        decode_brush(bytes(code), size)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=60))
def test_any_bytes_end_in_a_mask_or_an_error(code):
    with contextlib.suppress(ValueError):
        assert decode_brush(b"\0\0\0\x18" + code, (2, 3)).shape == (2, 3)
