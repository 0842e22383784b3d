import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from gain_lightning import VOID
from gain_lightning.datasets.sample import draw_mask_budget, make_sample

IDS = [f"image_{index:03d}" for index in range(40)]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (4, 5), dtype=np.uint8)
    return image, np.array([0, 1, 1], np.uint8), mask


def test_make_sample_puts_channels_first(arrays):
    image, label, mask = arrays
    sample = make_sample(image, label, mask, "x")
    for i, j, channel in np.ndindex(*image.shape):
        assert sample["image"][channel, i, j] == image[i, j, channel]
    assert sample["image"].dtype == torch.uint8
    assert sample["label"].tolist() == [0.0, 1.0, 1.0]
    assert sample["label"].dtype == torch.float32
    assert sample["mask"].tolist() == mask.tolist()
    assert sample["id"] == "x"


def test_make_sample_without_mask_is_all_void(arrays):
    image, label, _ = arrays
    assert make_sample(image, label, None, "x")["mask"].tolist() == [[VOID] * 5] * 4


def test_make_sample_takes_flipped_views(arrays):
    """A flip is a view with a negative stride, which torch cannot hold."""
    image, label, mask = arrays
    sample = make_sample(image[:, ::-1], label, mask[:, ::-1], "x")
    assert sample["image"].permute(1, 2, 0).flip(1).tolist() == image.tolist()
    assert sample["mask"].flip(1).tolist() == mask.tolist()


def test_samples_with_and_without_mask_stack(arrays):
    image, label, mask = arrays
    batch = default_collate([make_sample(image, label, mask, "x"), make_sample(image, label, None, "y")])
    assert batch["image"].shape == (2, 3, 4, 5)
    assert batch["mask"].dtype == torch.uint8
    assert batch["mask"][0].tolist() == mask.tolist()
    assert (batch["mask"][1] == VOID).all()
    assert batch["id"] == ["x", "y"]


def test_mask_budget_is_nested():
    """A larger budget contains the smaller one, counts and fractions alike."""
    drawn = [set(draw_mask_budget(IDS, budget, seed=3)) for budget in (0, 1, 0.1, 9, 0.5, 39, 1.0)]
    assert [len(ids) for ids in drawn] == [0, 1, 4, 9, 20, 39, 40]
    assert all(small < large for small, large in itertools.pairwise(drawn))
    assert drawn[-1] == set(IDS)


def test_mask_budget_depends_on_its_seed_alone():
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    first = draw_mask_budget(IDS, 10, seed=0)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert draw_mask_budget(list(IDS), 10, seed=0) == first
    assert draw_mask_budget(IDS, 10, seed=1) != first
    assert first == sorted(first)
    assert len(set(first)) == 10


def test_mask_budget_draws_every_image_equally_often():
    """600 draws of 10 out of 40: 150 each, with a standard deviation of 10.6."""
    counts = dict.fromkeys(IDS, 0)
    for seed in range(600):
        for image_id in draw_mask_budget(IDS, 10, seed):
            counts[image_id] += 1
    assert max(abs(count - 150) for count in counts.values()) < 5 * 10.6


@pytest.mark.parametrize("share", ["0.01", "0.05", "0.1", "0.3", "0.7"])
def test_mask_budget_rounds_a_fraction_up(share):
    """By exact arithmetic: 0.1 of 30 is 3, though 0.1 * 30 > 3 in floats."""
    for size in range(1, 200):
        ids = [str(index) for index in range(size)]
        assert len(draw_mask_budget(ids, float(share), seed=0)) == math.ceil(Fraction(share) * size)


@pytest.mark.parametrize(
    ("budget", "named"), [(-1, "-1"), (41, "41"), (-0.1, "-0.1"), (1.5, "1.5"), (math.nan, "nan")]
)
def test_mask_budget_out_of_range_is_refused(budget, named):
    with pytest.raises(ValueError, match=f"mask_budget.* {named}"):
        draw_mask_budget(IDS, budget, seed=0)
