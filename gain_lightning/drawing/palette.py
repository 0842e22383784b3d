"""The colours that masks of PASCAL VOC are painted in."""

import numpy as np


def voc_palette() -> np.ndarray:
    """Return the colours of PASCAL VOC's masks by index, ``(256, 3)`` uint8.

    Example:
        >>> voc_palette()[[0, 1, 15, 255]].tolist()  # background, aeroplane, person, void
        [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    # Three bits of the index go to red, green and blue, then the next three.
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return palette
