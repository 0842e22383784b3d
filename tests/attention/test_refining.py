"""Refined maps spread over one colour and stop at edges."""

import numpy as np
import torch

from gain_lightning.attention import refine_maps
from gain_lightning.attention.refining import DEVIATIONS, DISTANCES


def refined_by_loops(values, picture, steps):
    """One map ``(H, W)`` and its picture ``(3, H, W)``, pixel by pixel."""
    height, width = values.shape
    for _ in range(steps):
        old, values = values, np.zeros_like(values)
        for i, j in np.ndindex(height, width):
            offsets = [
                (d * a, d * b) for d in DISTANCES for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)
            ]
            near = [(min(max(i + a, 0), height - 1), min(max(j + b, 0), width - 1)) for a, b in offsets]
            colours = np.stack([picture[:, a, b] for a, b in near] + [picture[:, i, j]])
            spread = colours.std(0, ddof=1)
            far = [
                (np.abs(picture[:, a, b] - picture[:, i, j]) / (DEVIATIONS * spread)).mean() for a, b in near
            ]
            weight = np.exp(-np.array(far) + min(far))
            values[i, j] = (weight * [old[a, b] for a, b in near]).sum() / weight.sum()
    return values


def test_refined_maps_equal_the_loops(generator):
    maps = torch.rand(2, 1, 6, 5, generator=generator, dtype=torch.double)
    image = torch.rand(2, 3, 6, 5, generator=generator, dtype=torch.double)
    expected = [refined_by_loops(maps[p, 0].numpy(), image[p].numpy(), 2) for p in range(2)]
    np.testing.assert_allclose(refine_maps(maps, image, steps=2)[:, 0].numpy(), expected, rtol=1e-5)


def test_a_map_fills_the_surface_that_it_lies_on(generator):
    """A red square on grey, of which the map knows a corner."""
    image = torch.full((1, 3, 24, 24), 0.5) + 0.01 * torch.randn(1, 3, 24, 24, generator=generator)
    image[0, 0, 6:18, 6:18] += 0.4
    maps = torch.zeros(1, 1, 24, 24)
    maps[..., 8:12, 8:12] = 1
    refined = refine_maps(maps, image)[0, 0]
    inside = torch.zeros(24, 24, dtype=torch.bool)
    inside[6:18, 6:18] = True
    assert refined[inside].min() > 5 * refined[~inside].max()


def test_an_even_map_stays_as_it_is(generator):
    image = torch.rand(1, 3, 8, 8, generator=generator)
    torch.testing.assert_close(
        refine_maps(torch.full((1, 1, 8, 8), 0.3), image), torch.full((1, 1, 8, 8), 0.3)
    )
    even = torch.ones(1, 3, 8, 8)
    assert torch.isfinite(refine_maps(torch.rand(1, 1, 8, 8, generator=generator), even)).all()
