"""The processes of the dense CRF."""

import numpy as np
import pytest
import torch

from gain_lightning.segmentation.crf.dense import dense_crf
from gain_lightning.segmentation.crf.pool import CrfPool


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_pool_segments_as_the_crf_does(generator, num_workers):
    """Pictures of several sizes, more of them than may be on their way at once."""
    sizes = [(9, 12), (10, 8), (7, 7), (9, 9), (6, 11), (8, 8), (12, 5)]
    log_probs = [torch.randn(3, *size, generator=generator).log_softmax(0) for size in sizes]
    images = [torch.randint(0, 256, (*size, 3), generator=generator, dtype=torch.uint8) for size in sizes]
    with CrfPool(num_workers) as pool:
        got = [pool.submit(*pair) for pair in zip(log_probs, images, strict=True)]
        for result, scores, image in zip(got, log_probs, images, strict=True):
            expected = dense_crf(scores[None], image[None], backend="auto")[0].argmax(0).numpy()
            assert result.result().dtype == np.uint8
            np.testing.assert_array_equal(result.result(), expected)


def test_a_pool_without_processes_below_zero():
    with pytest.raises(ValueError, match="num_workers is -1"):
        CrfPool(-1)
