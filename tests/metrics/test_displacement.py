"""How far maps lie beside their evidence, found for displacements that are known."""

import re

import numpy as np
import pytest
import torch
from scipy.ndimage import shift as move

from gain_lightning.attention import label_pairs
from gain_lightning.metrics.displacement import best_shift, displacements, shifted_correlations
from gain_lightning.metrics.resampling import draw_images


def blobs(count, seed=0, size=(60, 72)):
    """Smooth spots of several sizes, ``(count, H, W)``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    spots = [
        np.exp(-((rows - y) ** 2 / (2 * a**2) + (columns - x) ** 2 / (2 * b**2)))
        for y, x, a, b in zip(
            rng.uniform(22, 38, count),
            rng.uniform(24, 48, count),
            rng.uniform(3, 7, count),
            rng.uniform(3, 7, count),
            strict=True,
        )
    ]
    return np.stack(spots)


def moved(maps, dy, dx):
    return np.stack([move(values, (dy, dx), order=3, mode="nearest") for values in maps])


def test_correlations_are_numpys_over_the_pixels_that_both_have():
    rng = np.random.default_rng(0)
    maps, target = rng.random((2, 9, 11)), rng.random((2, 9, 11))
    known = rng.random((2, 9, 11)) > 0.3
    found = shifted_correlations(*map(torch.from_numpy, (maps, target, known)), most=(2, 3))
    assert found.shape == (2, 5, 7)
    for dy in range(-2, 3):
        for dx in range(-3, 4):
            here = np.s_[max(dy, 0) : 9 + min(dy, 0), max(dx, 0) : 11 + min(dx, 0)]
            there = np.s_[max(-dy, 0) : 9 + min(-dy, 0), max(-dx, 0) : 11 + min(-dx, 0)]
            for pair in range(2):
                counts = known[pair][here]
                expected = np.corrcoef(maps[pair][there][counts], target[pair][here][counts])[0, 1]
                assert found[pair, dy + 2, dx + 3] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, -7), (-2.5, 4.25), (0.3, 11.6)])
def test_a_known_shift_is_found_within_a_tenth_of_a_pixel(dy, dx):
    maps = blobs(6)
    shift = best_shift(
        shifted_correlations(*map(torch.from_numpy, (maps, moved(maps, dy, dx))), most=(15, 18))
    )
    assert (shift.dx, shift.dy) == pytest.approx((dx, dy), abs=0.1)
    assert shift.correlation > 0.99


def _displace(dx, dy, noise=0.0):
    """Of a network that moves its evidence by (dx, dy) in every image, and so by -dx in mirrored ones."""
    evidence = blobs(12)
    rng = np.random.default_rng(1)
    maps, mirrored = (
        torch.from_numpy(moved(evidence, dy, side * dx) + noise * rng.random(evidence.shape))
        for side in (1, -1)
    )
    mask = torch.from_numpy(evidence > 0.4)
    pairs = label_pairs(torch.ones(6, 2))
    return displacements(maps, mirrored, mask, torch.ones_like(mask), draw_images(pairs, 0))


def test_the_mirror_shows_twice_the_displacement_and_masks_show_it_once():
    found = _displace(4, -3)
    assert found["mirror_shift"]["dx"] == pytest.approx(8, abs=0.1)
    assert (found["mask_shift"]["dx"], found["mask_shift"]["dy"]) == pytest.approx((-4, 3), abs=0.2)
    assert found["mask_shift"]["correlation"] > found["mask_shift"]["unmoved"] + 0.1
    words = found["mirror_shift"]["words"]
    assert re.match(
        r"maps lie 8\.0 px right \(95 %: [78]\.\d to 8\.\d\) of those of the mirrored images", words
    )
    words = found["mask_shift"]["words"]
    assert re.search(r"moved by (3\.9|4\.0|4\.1) px to the left \(.*\) and (2\.9|3\.0|3\.1) px down", words)


def test_intervals_hold_the_shift_and_are_wider_with_noise():
    quiet, noisy = _displace(-5, 0), _displace(-5, 0, noise=1.5)
    for found in (quiet, noisy):
        low, high = found["mirror_shift"]["interval"]
        assert low - 0.01 <= found["mirror_shift"]["dx"] <= high + 0.01
        assert low - 1 < -10 < high + 1
    widths = [np.ptp(found["mask_shift"]["dx_interval"]) for found in (quiet, noisy)]
    assert widths[0] < widths[1]


def test_flat_maps_and_missing_masks_say_nothing():
    flat, none = torch.zeros(2, 16, 16), torch.zeros(2, 16, 16, dtype=torch.bool)
    weight = draw_images(label_pairs(torch.ones(2, 1)), 0)
    assert displacements(flat, flat, none, ~none, weight) == {"mirror_shift": None, "mask_shift": None}
    maps = torch.from_numpy(blobs(2, size=(60, 72)))
    known = torch.ones_like(maps, dtype=torch.bool)
    found = displacements(maps, maps, ~known, known, weight)
    assert found["mirror_shift"]["dx"] == pytest.approx(0, abs=1e-6)
    assert found["mask_shift"] is None
