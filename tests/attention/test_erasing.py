import copy

import numpy as np
import pytest
import reference
import torch

from gain_lightning.attention import FILLS, erase, soft_mask
from gain_lightning.attention.erasing import local_means


@pytest.mark.parametrize(("sigma", "omega"), [(0.5, 10), (0.4, 100), (0.25, 8), (0.0, 1)])
def test_soft_mask_is_a_sigmoid(generator, sigma, omega):
    maps = torch.rand(3, 1, 4, 4, generator=generator, dtype=torch.double)
    expected = reference.soft_mask(maps.numpy(), sigma, omega)
    np.testing.assert_allclose(soft_mask(maps, sigma=sigma, omega=omega).numpy(), expected, rtol=1e-12)


def test_soft_mask_is_hard_for_a_large_omega(generator):
    maps = torch.rand(3, 1, 8, 8, generator=generator)
    assert torch.equal(soft_mask(maps, sigma=0.4, omega=1e8), (maps > 0.4).float())


@pytest.mark.parametrize("omega", [0, -1, float("nan")])
def test_soft_mask_refuses_a_slope_that_is_not_positive(omega):
    with pytest.raises(ValueError, match="omega"):
        soft_mask(torch.zeros(1, 1, 1, 1), omega=omega)


def test_erase_equals_the_loop_and_spares_its_input(generator):
    image = torch.randn(3, 3, 4, 5, generator=generator, dtype=torch.double)
    mask = torch.rand(3, 1, 4, 5, generator=generator, dtype=torch.double)
    kept = copy.deepcopy((image, mask))
    erased = erase(image, mask)
    expected = [reference.erase(image[p].numpy(), mask[p, 0].numpy()) for p in range(3)]
    np.testing.assert_allclose(erased.numpy(), expected, rtol=1e-12)
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])


def test_erase_leaves_the_mean_colour(tiny_backbone):
    """A fully erased pixel of a normalised image is 0, and that is the mean of the statistics."""
    picture = torch.randint(0, 256, (1, 3, 2, 2), dtype=torch.uint8)
    erased = erase(tiny_backbone.normalize(picture), torch.ones(1, 1, 2, 2))
    colour = erased * tiny_backbone.std + tiny_backbone.mean
    torch.testing.assert_close(colour, torch.full((1, 3, 2, 2), 0.5))


@pytest.mark.parametrize("name", FILLS)
def test_erased_pixels_take_the_fill(generator, name):
    image = torch.randn(2, 3, 16, 24, generator=generator, dtype=torch.double)
    fill = FILLS[name](image)
    mask = (torch.rand(2, 1, 16, 24, generator=generator) > 0.5).double()
    erased = erase(image, mask, fill)
    where = mask.bool().expand_as(image)
    torch.testing.assert_close(erased[where], fill[where])
    torch.testing.assert_close(erased[~where], image[~where])


def test_the_mean_colour_is_the_fill_of_equation_3(generator):
    image = torch.randn(2, 3, 8, 8, generator=generator)
    mask = torch.rand(2, 1, 8, 8, generator=generator)
    assert torch.equal(erase(image, mask, FILLS["mean"](image)), erase(image, mask))


def test_local_means_equal_the_loop(generator):
    image = torch.randn(1, 2, 16, 24, generator=generator, dtype=torch.double)
    expected = [reference.local_mean(plane.numpy(), 2) for plane in image[0]]
    # A square of 5 pixels.
    np.testing.assert_allclose(local_means(image, share=0.3)[0].numpy(), expected, rtol=1e-12)


def test_a_blurred_image_shows_colours_and_no_stripes():
    """Stripes of 4 pixels vanish in 96; the two halves of the picture stay apart."""
    stripes = (torch.arange(96) // 4 % 2 * 2.0 - 1).expand(1, 1, 96, 96)
    assert FILLS["blur"](stripes).abs().max() < 0.35
    halves = (torch.arange(96) >= 48).float().expand(1, 1, 96, 96)
    blurred = FILLS["blur"](halves)[0, 0, 48]
    assert blurred[5] < 0.05
    assert blurred[90] > 0.95
