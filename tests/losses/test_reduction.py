import pytest
import torch

from gain_lightning.attention import label_pairs
from gain_lightning.losses import mean_per_image


def test_mean_per_image_averages_classes_then_images(generator, label):
    pairs = label_pairs(label)
    values = torch.randn(len(pairs.image), generator=generator, dtype=torch.double)
    of_image = [values[pairs.image == n] for n in range(len(label))]
    expected = sum(part.sum() / len(part) for part in of_image if len(part)) / 7
    assert float(mean_per_image(values, pairs, 7)) == pytest.approx(float(expected), rel=1e-12)


def test_mean_per_image_of_no_image_is_zero_with_a_graph():
    values = torch.zeros(0, requires_grad=True)
    mean = mean_per_image(values * 2, label_pairs(torch.zeros(2, 3)), 0)
    assert mean.item() == 0
    mean.backward()
