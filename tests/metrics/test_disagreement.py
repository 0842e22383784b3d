import pytest
import torch

from gain_lightning.attention import label_pairs
from gain_lightning.metrics.disagreement import FEWEST_IMAGES, disagreement
from gain_lightning.metrics.resampling import draw_images

AREA = 0.2


def judge(share_of_noise, num_images=16, lead=0.6, seed=0, scatter=0.05):
    """The verdict on an attribution that is evidence of the map, and noise with this share of its sum."""
    generator = torch.Generator().manual_seed(seed)
    attention = AREA + lead + scatter * torch.randn(num_images, generator=generator)
    other = (1 - share_of_noise) * attention + share_of_noise * AREA
    other += scatter * torch.randn(num_images, generator=generator)
    weight = draw_images(label_pairs(torch.ones(num_images, 1)), seed)
    return disagreement(attention, other, torch.full((num_images,), AREA), weight, num_images)


@pytest.mark.parametrize(
    ("share_of_noise", "state"), [(0.0, "agree"), (0.3, "agree"), (0.8, "disagree"), (1.2, "disagree")]
)
def test_more_noise_than_evidence_is_flagged(share_of_noise, state):
    found = judge(share_of_noise)
    assert found["state"] == state
    assert found["disagreement"] == pytest.approx(share_of_noise * 0.6, abs=0.05)
    assert found["expected"] == pytest.approx(0.3, abs=0.02)
    low, high = found["interval"]
    assert low < found["disagreement"] < high
    assert f"disagree by {100 * found['disagreement']:.1f} points" in found["words"]
    assert f"expected at most {100 * found['expected']:.1f}" in found["words"]


def test_at_the_border_a_network_is_seldom_flagged():
    """One end of a 95 % interval: of 200 networks five, and a few more, since 16 images make it too narrow."""
    states = [judge(0.5, seed=seed)["state"] for seed in range(200)]
    assert states.count("disagree") <= 14
    assert {"agree", "open"} <= set(states)


@pytest.mark.parametrize("lead", [0.0, -0.15])
def test_a_map_that_lies_nowhere_in_particular_claims_nothing(lead):
    found = judge(-3.0, lead=lead)
    assert found["state"] == "no claim"
    assert "claims nothing" in found["words"]


def test_few_images_accuse_nobody():
    assert judge(1.0, FEWEST_IMAGES - 1)["state"] == "few images"
    assert judge(1.0, FEWEST_IMAGES)["state"] == "disagree"
