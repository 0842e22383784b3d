import numpy as np
import pytest
import torch
from torch import nn

from gain_lightning.metrics.attributions import (
    ATTRIBUTIONS,
    WINDOWS,
    input_gradient,
    integrated_gradients,
    occlusion,
)
from gain_lightning.metrics.faithfulness import FILLS
from gain_lightning.scores import SCORES

# No side is a multiple of the number of windows.
HEIGHT, WIDTH = 20, 27


@pytest.fixture
def image(generator):
    return torch.randn(3, 3, HEIGHT, WIDTH, generator=generator)


@pytest.fixture
def weight(generator):
    """Weights of two classes that are linear in the pixels."""
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=generator)


LABEL = torch.tensor([1, 0, 1])


def linear(weight):
    return lambda image: torch.einsum("nkhw,ckhw->nc", image, weight) + 7


def smooth_net(generator):
    """A network without kinks."""
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.Softplus(), nn.Conv2d(5, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 2
    return net


def windows():
    """Slices of the windows, by hand: an eighth of each side, rounded up."""
    rows, columns = int(np.ceil(HEIGHT / WINDOWS)), int(np.ceil(WIDTH / WINDOWS))
    for top in range(0, HEIGHT, rows):
        for left in range(0, WIDTH, columns):
            yield slice(top, top + rows), slice(left, left + columns)


def test_occlusion_of_a_linear_score_sums_what_its_windows_hold(image, weight):
    """By the mean colour, which is 0, a window takes away the sum of weight times pixel."""
    found = occlusion(linear(weight), image, LABEL, fills=["mean"])
    product = (weight[LABEL] * image).sum(1)
    for rows, columns in windows():
        expected = product[:, rows, columns].sum((1, 2))
        block = found[:, 0, rows, columns]
        torch.testing.assert_close(block, expected.view(3, 1, 1).expand_as(block), atol=1e-4, rtol=1e-4)


def test_occlusion_paints_one_window_at_a_time_and_takes_the_mean_of_its_fills(image, generator):
    net = smooth_net(generator)
    found = occlusion(net, image, LABEL)
    rows = torch.arange(3)
    with torch.no_grad():
        whole = net(image)[rows, LABEL]
        for window in windows():
            taken = torch.zeros(3, 1, HEIGHT, WIDTH, dtype=torch.bool)
            taken[..., window[0], window[1]] = True
            fills = [FILLS[fill].prepare(image, torch.Generator())(taken) for fill in ("mean", "neighbours")]
            expected = sum(whole - net(fill)[rows, LABEL] for fill in fills) / 2
            block = found[:, 0, window[0], window[1]]
            torch.testing.assert_close(block, expected.view(3, 1, 1).expand_as(block), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attribute", [input_gradient, integrated_gradients])
def test_slopes_of_a_linear_score_are_its_weights(attribute, image, weight):
    torch.testing.assert_close(
        attribute(linear(weight), image, LABEL)[:, 0], (weight[LABEL] * image).sum(1), atol=1e-5, rtol=1e-4
    )
    ones = torch.ones_like(image)
    torch.testing.assert_close(attribute(linear(weight), ones, LABEL)[:, 0], weight[LABEL].sum(1))


def test_integrated_gradients_sum_to_what_the_score_rises_from_the_mean_colour(image, generator):
    net, rows = smooth_net(generator), torch.arange(3)
    found = integrated_gradients(net, image, LABEL)
    with torch.no_grad():
        rise = net(image)[rows, LABEL] - net(torch.zeros_like(image))[rows, LABEL]
    torch.testing.assert_close(found.sum((1, 2, 3)), rise, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("key", ATTRIBUTIONS)
def test_attributions_leave_network_and_images_alone(key, image, generator):
    net, before = smooth_net(generator), image.clone()
    found = ATTRIBUTIONS[key].attribute(net, image, LABEL)
    assert found.shape == (3, 1, HEIGHT, WIDTH)
    assert not found.requires_grad
    assert torch.equal(image, before)
    assert not image.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())


def test_every_attribution_has_a_score():
    of_energy = {key for key in (score.key for score in SCORES) if key.startswith("energy_")} - {
        "energy_in_box"
    }
    assert of_energy == {f"energy_{key}" for key in ATTRIBUTIONS}
