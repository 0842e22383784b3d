import numpy as np
import pytest


@pytest.fixture
def picture(generator):
    return np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
