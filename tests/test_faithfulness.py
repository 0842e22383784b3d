import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from gain_lightning.faithfulness import deletion_and_insertion, rank_correlation, with_random_weights


def sees_one_pixel(image):
    """Probability of class 0: the red of the pixel at row 2, column 1."""
    return image[:, :1, 2, 1]


def areas(maps, steps=16):
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 2, 1] = 1
    label, generator = torch.tensor([0]), torch.Generator().manual_seed(0)
    return [
        area.item()
        for area in deletion_and_insertion(sees_one_pixel, image, maps, label, generator, steps=steps)
    ]


def test_deletion_of_the_pixel_that_counts_ends_the_class_at_once():
    right = torch.zeros(1, 1, 64, 64)
    right[:, :, 2, 1] = 1
    deletion, insertion = areas(right)
    assert deletion == pytest.approx(0.5 / 16)  # 1, then 0 from the first of 16 steps: a trapezoid's half
    assert 15.5 / 16 < insertion < 1  # from the blurred pixel to 1 in the first step


def test_deletion_of_the_pixel_that_counts_at_last_keeps_the_class():
    wrong = torch.ones(1, 1, 64, 64)
    wrong[:, :, 2, 1] = 0
    deletion, insertion = areas(wrong)
    assert deletion == pytest.approx(1 - 0.5 / 16)
    assert insertion < 0.5


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_pixels_of_equal_value_go_in_random_order(value):
    flat = torch.full((400, 1, 4, 4), value)
    image = torch.zeros(400, 3, 4, 4)
    image[:, :, 2, 1] = 1
    generator = torch.Generator().manual_seed(0)
    deletion, _ = deletion_and_insertion(
        sees_one_pixel, image, flat, torch.zeros(400, dtype=torch.long), generator, steps=16
    )
    assert deletion.mean().item() == pytest.approx(0.5, abs=0.05)
    assert deletion.std() > 0.2


def test_random_weights_are_new_in_the_part_alone_and_the_module_stays(tiny_backbone):
    before = {name: value.clone() for name, value in tiny_backbone.state_dict().items()}
    new = with_random_weights(tiny_backbone, part=tiny_backbone.classifier).state_dict()
    all_new = with_random_weights(tiny_backbone).state_dict()
    after = tiny_backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    changed = {name for name in before if not torch.equal(before[name], new[name])}
    own = {id(value) for value in tiny_backbone.classifier.parameters()}
    assert changed == {name for name, value in tiny_backbone.named_parameters() if id(value) in own}
    assert all(not torch.equal(value, all_new[name]) for name, value in before.items() if value.ndim > 1)


def test_rank_correlation_equals_scipy_and_is_nan_of_a_flat_map(generator):
    a, b = (
        torch.rand(3, 1, 5, 4, generator=generator),
        torch.rand(3, 1, 5, 4, generator=generator).round(decimals=1),
    )
    b[2] = 0
    found = rank_correlation(a, b)
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a[:2], b[:2], strict=True)]
    np.testing.assert_allclose(found[:2], expected, atol=1e-5)
    assert found[2].isnan()


def test_random_weights_of_a_plain_stack():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    new = with_random_weights(layers)
    assert not torch.equal(new[0].weight, layers[0].weight)
    assert not torch.equal(new[3].weight, layers[3].weight)
