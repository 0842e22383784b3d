"""Label Studio packs what a brush painted by the run-length code of thi.ng, whose reference is its TypeScript.

https://github.com/thi-ng/umbrella/blob/develop/packages/rle-pack/src/index.ts
"""

import numpy as np

# 32 bits of length, 5 of a value's width, and 4 times 4 of a length's width stand before the first stretch.
_HEAD = 53
# A picture has red, green, blue and opacity; the last says where the brush was.
_CHANNELS = 4


def decode_brush(code: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode what a brush painted.

    Args:
        code: The numbers of the key ``rle``.
        size: Height and width of the picture.

    Returns:
        Where anything was painted, ``(H, W)`` bool.

    Raises:
        ValueError: If the code ends early, or is of a picture of another size.

    Example:
        >>> code = bytes([0, 0, 0, 8, 57, 27, 248, 96, 0, 0, 0, 1, 255, 255, 255, 255, 128])
        >>> decode_brush(code, (1, 2)).tolist()
        [[False, True]]
    """
    bits = np.unpackbits(np.frombuffer(code, np.uint8))
    if len(bits) < _HEAD:
        raise ValueError(f"{len(code)} bytes, expected at least {-(-_HEAD // 8)}")
    count = _number(bits, 0, 32)
    expected = _CHANNELS * size[0] * size[1]
    if count != expected:
        raise ValueError(
            f"of {count} values, expected {expected}: {_CHANNELS} for each of {size[1]} x {size[0]} pixels"
        )
    width = _number(bits, 32, 5) + 1
    lengths = [_number(bits, 37 + 4 * n, 4) + 1 for n in range(4)]
    is_painted = np.zeros(count, bool)
    place, done = _HEAD, 0
    while done < count:
        is_run = _number(bits, place, 1)
        length_width = lengths[_number(bits, place + 1, 2)]
        stop = done + 1 + _number(bits, place + 3, length_width)
        place += 3 + length_width
        num_values = 1 if is_run else stop - done
        values = bits[place : place + num_values * width]
        place += num_values * width
        if place > len(bits) or stop > count:
            what = f"ends at value {done}" if place > len(bits) else f"goes on to value {stop}"
            raise ValueError(f"{what} of {count}")
        is_painted[done:stop] = values.reshape(num_values, width).any(1)
        done = stop
    return is_painted.reshape(*size, _CHANNELS)[..., -1]


def _number(bits: np.ndarray, place: int, width: int) -> int:
    """Read a number of so many bits; bits beyond the end are 0."""
    number = 0
    for bit in bits[place : place + width].tolist():
        number = 2 * number + bit
    return number
