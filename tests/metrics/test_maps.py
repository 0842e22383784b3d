import math

import numpy as np
import pytest
import reference
import torch

from gain_lightning.constants import VOID
from gain_lightning.metrics import center_gaussian, energy_in_mask, pointing_hit, seed_iou, with_mask

# Energy and pointing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "oracle"), [(energy_in_mask, reference.energy), (pointing_hit, reference.pointing)]
)
def test_pair_scores_equal_the_oracle(batch, score, oracle):
    maps, mask, _ = batch
    maps[2] += mask[2] == 1  # looks at its class
    maps[3] = 0
    expected = [oracle(maps[p, 0].double().numpy(), mask[p].numpy()) for p in range(len(maps))]
    np.testing.assert_allclose(score(maps, mask).numpy(), expected, rtol=1e-5)
    assert expected[3] == 0
    assert expected[2] == max(expected) > 0.5


@pytest.mark.parametrize("score", [energy_in_mask, pointing_hit])
def test_pair_scores_count_no_unknown_pixel(score):
    """The highest pixel is unknown, the next is on the class and holds 3 of the 4 that count."""
    value = score(torch.tensor([[[[3.0, 1.0, 9.0]]]]), torch.tensor([[[1, 0, VOID]]]))
    assert value.item() == (0.75 if score is energy_in_mask else 1)


@pytest.mark.parametrize("score", [energy_in_mask, pointing_hit])
@pytest.mark.parametrize("mask", [[1, 1], [VOID, VOID], [1, VOID]])
def test_pair_scores_of_an_all_zero_map_are_zero(score, mask):
    assert score(torch.zeros(1, 1, 1, 2), torch.tensor([[mask]])).tolist() == [0]


@pytest.mark.parametrize("score", [energy_in_mask, pointing_hit, seed_iou])
def test_pair_scores_take_no_pair(score):
    assert score(torch.zeros(0, 1, 2, 2), torch.zeros(0, 2, 2, dtype=torch.uint8)).shape == (0,)


@pytest.mark.parametrize("strength", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("score", [energy_in_mask, pointing_hit])
def test_pair_scores_do_not_depend_on_strength(batch, score, strength):
    """Raw maps of a network with small weights are small."""
    maps, mask, _ = batch
    torch.testing.assert_close(score(maps * strength, mask), score(maps, mask), rtol=1e-4, atol=0)


@pytest.mark.parametrize("threshold", [0.2, 0.6])
def test_seed_iou_of_a_pair_equals_the_oracle(batch, threshold):
    """Of the class against all else, as if it were its image's only label."""
    maps, mask, _ = batch
    expected = []
    for values, own in zip(maps[:, 0].numpy(), mask.numpy(), strict=True):
        iou = reference.seed_iou([values], [own], [[1]], float(np.float32(threshold)))[1]
        expected.append(0 if math.isnan(iou) else iou)
    np.testing.assert_allclose(seed_iou(maps, mask, threshold=threshold).numpy(), expected, rtol=1e-6)


def test_with_mask_is_true_where_the_mask_shows_the_class(batch):
    _, mask, _ = batch
    assert with_mask(mask).tolist() == [bool((own == 1).any()) for own in mask.numpy()]
    assert with_mask(mask).tolist() == [True, True, True, True, False, False, False]


# Centre Gaussian ------------------------------------------------------------------------------------------


def test_center_gaussian_is_one_at_the_centre_and_falls_by_its_deviation():
    gaussian = center_gaussian((41, 81))[0, 0]
    assert gaussian.shape == (41, 81)
    assert gaussian[20, 40] == 1
    for step in (-1, 1):  # a quarter of a side away: one standard deviation; a whole deviation in both: two
        assert gaussian[20, 40 + round(step * 81 / 4)].item() == pytest.approx(math.exp(-0.5), abs=0.02)
        assert gaussian[20 + round(step * 41 / 4), 40].item() == pytest.approx(math.exp(-0.5), abs=0.02)
    torch.testing.assert_close(gaussian, gaussian.flip(0).flip(1))
