import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from gain_lightning.metrics.faithfulness import (
    FILLS,
    deletion_and_insertion,
    inpaint,
    rank_correlation,
    with_random_weights,
)


def sees_one_pixel(image):
    """Probability of class 0: the red of the pixel at row 2, column 1."""
    return image[:, :1, 2, 1]


def areas(maps, fill, steps=16):
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 2, 1] = 1
    label, generator = torch.tensor([0]), torch.Generator().manual_seed(0)
    return [
        area.item()
        for area in deletion_and_insertion(
            sees_one_pixel, image, maps, label, generator, fill=fill, steps=steps
        )
    ]


RIGHT = torch.zeros(1, 1, 64, 64)
RIGHT[:, :, 2, 1] = 1


@pytest.mark.parametrize("fill", ["mean", "neighbours"])
def test_deletion_of_the_pixel_that_counts_ends_the_class_at_once(fill):
    """All around it is 0, so that it goes from 1 to 0 in the first of 16 steps: a trapezoid's half."""
    assert areas(RIGHT, fill) == pytest.approx([0.5 / 16, 15.5 / 16])


def test_a_blur_leaves_some_of_the_pixel():
    deletion, insertion = areas(RIGHT, "blur")
    left = (deletion - 0.5 / 16) / (15.5 / 16)  # what the blurred pixel is
    assert 0 < left < 0.2
    assert insertion == pytest.approx(15.5 / 16 + 0.5 / 16 * left)


@pytest.mark.parametrize("fill", FILLS)
def test_deletion_of_the_pixel_that_counts_at_last_keeps_the_class(fill):
    """To the last of 16 steps; what stands in its place then is half a trapezoid."""
    deletion, insertion = areas(1 - RIGHT, fill)
    assert 15.5 / 16 <= deletion <= 1
    if fill != "noise":  # which may draw any value from 0 to 1
        assert insertion < 0.25


def test_an_image_without_any_pixel_is_the_fill_and_with_all_of_them_itself(generator):
    image = torch.randn(2, 3, 20, 24, generator=generator)
    for fill in FILLS:
        without = FILLS[fill].prepare(image, torch.Generator().manual_seed(0))
        taken = torch.zeros(2, 1, 20, 24, dtype=torch.bool)
        assert torch.equal(without(taken), image)
        taken[:, :, 4:10, 3:20] = True
        changed = without(taken)
        assert torch.equal(changed * ~taken, image * ~taken)
        inside = taken.expand_as(image)
        assert (changed[inside] != image[inside]).all()
        low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
        assert ((changed >= low.clamp_max(0)) & (changed <= high.clamp_min(0))).all()
    assert torch.equal(FILLS["mean"].prepare(image, None)(~taken) * ~taken, torch.zeros_like(image))


def test_noise_is_even_over_what_a_channel_spans_and_drawn_anew():
    image = torch.zeros(1, 3, 100, 100)
    image[:, :, 0, 0], image[:, :, 0, 1] = torch.tensor([[-2.0, 0.0, 1.0]]), torch.tensor([[2.0, 1.0, 5.0]])
    taken = torch.ones(1, 1, 100, 100, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    first, second = (FILLS["noise"].prepare(image, generator)(taken) for _ in range(2))
    np.testing.assert_allclose(first.mean((0, 2, 3)), [0, 0.5, 2.5], atol=0.05)
    np.testing.assert_allclose(first.var((0, 2, 3)), [16 / 12, 1 / 12, 25 / 12], rtol=0.05)
    assert not torch.equal(first, second)


def test_neighbours_keep_a_plain_colour_and_a_slope():
    known = torch.rand(1, 1, 37, 50, generator=torch.Generator().manual_seed(0)) > 0.7
    plain = torch.full((1, 3, 37, 50), 0.7)
    np.testing.assert_allclose(inpaint(plain * known, known), plain, atol=1e-6)
    slope = torch.arange(50.0).expand(1, 1, 37, 50)
    hole = torch.ones(1, 1, 37, 50, dtype=torch.bool)
    hole[:, :, 10:16, 20:28] = False
    assert (inpaint(slope * hole, hole) - slope).abs().max() <= 8
    assert (inpaint(slope * hole, hole) - slope)[:, :, 10:16, 20:28].abs().mean() < 3


def test_a_network_that_has_learnt_to_deny_grey_is_found_by_the_other_fills():
    """It says the class is gone wherever it sees the colour that training erases with, whatever a map names."""

    def denies_grey(image):
        return (image.abs().sum(1) > 0).flatten(1).all(1, keepdim=True).float()

    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.5
    wrong = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = {
        fill: deletion_and_insertion(
            denies_grey,
            image,
            wrong,
            torch.tensor([0]),
            torch.Generator().manual_seed(0),
            fill=fill,
            steps=10,
        )[0].item()
        for fill in FILLS
    }
    assert found["mean"] == pytest.approx(0.05)  # by this fill alone the map looks perfect
    assert found["blur"] == found["noise"] == 1
    assert found["neighbours"] == pytest.approx(0.95)  # without any pixel left there is no neighbour


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_pixels_of_equal_value_go_in_random_order(value):
    flat = torch.full((400, 1, 4, 4), value)
    image = torch.zeros(400, 3, 4, 4)
    image[:, :, 2, 1] = 1
    generator = torch.Generator().manual_seed(0)
    deletion, _ = deletion_and_insertion(
        sees_one_pixel,
        image,
        flat,
        torch.zeros(400, dtype=torch.long),
        generator,
        fill="mean",
        steps=16,
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
