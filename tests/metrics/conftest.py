import pytest
import torch
from label_tables import LABEL

from gain_lightning.attention import label_pairs
from gain_lightning.constants import VOID


@pytest.fixture
def batch(generator):
    """Maps in [0, 1], pairs, and their masks, which overlap, leave out pixels, and know some classes here only."""
    pairs = label_pairs(LABEL)
    maps = torch.rand(len(pairs.image), 1, 6, 7, generator=generator)
    maps[0] *= 0.3
    maps[1, :, :2] = maps[0, :, :2]  # ties of two labels of an image
    mask = torch.tensor([0, 0, 1, VOID], dtype=torch.uint8)[
        torch.randint(4, (len(pairs.image), 6, 7), generator=generator)
    ]
    mask[0, :, :3] = mask[1, :, :3]  # both yes, both no, or both unknown
    mask[4][mask[4] == 1] = 0  # a mask that does not show its class
    mask[5], mask[6] = VOID, VOID  # of image 3, class 2; of image 4
    return maps, mask, pairs
