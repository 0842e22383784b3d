import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F

from gain_lightning.attention import Cells, even_cells, place_maps, pool_to_cells, resize_maps, scale_maps

# Scaling and resizing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["max", "minmax", "none"])
def test_scale_maps_treats_each_map_on_its_own(generator, scaling):
    maps = torch.rand(5, 1, 3, 4, generator=generator, dtype=torch.double) + 0.1
    maps *= torch.tensor([1e-4, 1.0, 7.0, 1e4, 0.0]).view(5, 1, 1, 1)
    expected = [reference.scale(attention[0], scaling) for attention in maps.numpy()]
    np.testing.assert_allclose(scale_maps(maps, scaling)[:, 0].numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("scaling", ["max", "minmax"])
def test_scale_maps_reaches_one(generator, scaling):
    maps = scale_maps(torch.rand(3, 1, 4, 4, generator=generator) * 100, scaling)
    assert maps.amax((2, 3)).flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize("scaling", ["max", "minmax", "none"])
def test_scale_maps_keeps_an_all_zero_map_finite(scaling):
    """Also its gradient, through the ReLU that made it zero."""
    score = torch.full((2, 1, 3, 3), -1.0, requires_grad=True)
    maps = scale_maps(score.relu(), scaling)
    maps.square().sum().backward()
    assert torch.equal(maps, torch.zeros(2, 1, 3, 3))
    assert torch.equal(score.grad, torch.zeros_like(score))
    zero = torch.zeros(1, 1, 3, 3, requires_grad=True)
    scale_maps(zero, scaling).sum().backward()
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("scaling", ["max", "minmax"])
def test_scale_maps_keeps_a_constant_map_finite(scaling):
    maps = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    scaled = scale_maps(maps, scaling)
    scaled.sum().backward()
    assert torch.equal(scaled, torch.full((1, 1, 2, 2), 1.0 if scaling == "max" else 0.0))
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("scaling", ["max", "minmax"])
def test_scale_maps_differentiates_through_the_extremes(generator, scaling):
    maps = torch.rand(2, 1, 3, 3, generator=generator, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda maps: scale_maps(maps, scaling), maps)


def test_scale_maps_refuses_an_unknown_scaling():
    with pytest.raises(ValueError, match=r"'sum'.*'max', 'minmax' or 'none'"):
        scale_maps(torch.ones(1, 1, 2, 2), "sum")


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (3, 4), (2, 2)])
def test_resize_maps_interpolates_between_pixel_centres(generator, size):
    maps = torch.rand(2, 1, 3, 4, generator=generator, dtype=torch.double)
    expected = [reference.resize(attention[0], *size) for attention in maps.numpy()]
    np.testing.assert_allclose(resize_maps(maps, size)[:, 0].numpy(), expected, rtol=1e-12, atol=1e-14)


def test_resize_maps_takes_no_map():
    assert resize_maps(torch.zeros(0, 1, 3, 4), (6, 8)).shape == (0, 1, 6, 8)


# Cells ----------------------------------------------------------------------------------------------------

GEOMETRIES = {  # of maps of 3 x 4 cells on 11 x 14 pixels
    "centred on the first pixel": Cells(0, 0, 4, 4),
    "centred between pixels": Cells(1.5, 1.5, 4, 4),
    "equal parts": even_cells((3, 4), (11, 14)),
    "another step in each direction": Cells(-0.5, 2.25, 5.5, 3),
    "beyond the picture": Cells(-6, 5, 6, 4),
    "denser than pixels": Cells(3, 3, 0.5, 0.75),
}


@pytest.mark.parametrize("cells", GEOMETRIES.values(), ids=GEOMETRIES)
def test_place_maps_equals_the_loop(generator, cells):
    maps = torch.rand(2, 3, 3, 4, generator=generator, dtype=torch.double)
    placed = place_maps(maps, (11, 14), cells)
    assert placed.dtype == torch.double
    for p, channel in np.ndindex(2, 3):
        expected = reference.place(maps[p, channel].numpy(), 11, 14, *cells)
        np.testing.assert_allclose(placed[p, channel].numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cells", GEOMETRIES.values(), ids=GEOMETRIES)
def test_pool_to_cells_equals_the_loop(generator, cells):
    values = torch.rand(2, 3, 11, 14, generator=generator, dtype=torch.double)
    pooled = pool_to_cells(values, (3, 4), cells)
    assert pooled.dtype == torch.double
    for p, channel in np.ndindex(2, 3):
        expected = reference.pool(values[p, channel].numpy(), 3, 4, *cells)
        np.testing.assert_allclose(pooled[p, channel].numpy(), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        pool_to_cells(torch.ones_like(values), (3, 4), cells), torch.ones(2, 3, 3, 4).double()
    )


def test_a_cell_is_drawn_where_its_centre_is():
    """One bright cell, (1, 2): its pixel is the brightest, its neighbours' centres are dark."""
    maps = torch.zeros(1, 1, 3, 4)
    maps[0, 0, 1, 2] = 1
    for cells, (y, x) in (
        (Cells(0, 0, 4, 4), (4, 8)),
        (Cells(1, 3, 4, 3), (5, 9)),
        (Cells(1.5, 1.5, 3, 3), (4.5, 7.5)),
    ):
        placed = place_maps(maps, (11, 14), cells)[0, 0].double()
        total = placed.sum()
        assert float((placed.sum(1) * torch.arange(11)).sum() / total) == pytest.approx(y)
        assert float((placed.sum(0) * torch.arange(14)).sum() / total) == pytest.approx(x)
        assert placed.max() == (1 if y == round(y) else pytest.approx((5 / 6) ** 2))


def test_even_cells_are_placed_as_pictures_are_resized(generator):
    """Against torch: bilinear enlarging, and the mean over cells of whole pixels."""
    maps = torch.rand(2, 1, 3, 4, generator=generator, dtype=torch.double)
    for size in ((6, 8), (7, 13), (224, 320)):
        torch.testing.assert_close(place_maps(maps, size, even_cells((3, 4), size)), resize_maps(maps, size))
    values = torch.rand(2, 1, 12, 12, generator=generator, dtype=torch.double)
    expected = F.adaptive_avg_pool2d(values, (3, 4))
    torch.testing.assert_close(pool_to_cells(values, (3, 4), even_cells((3, 4), (12, 12))), expected)
    assert even_cells((7, 7), (224, 160)) == (15.5, (160 / 7 - 1) / 2, 32, 160 / 7)


def test_cells_relative_to_a_grid_lie_on_it_as_they_lie_in_the_picture(generator):
    """A picture of 48 pixels seen at a third: a map placed on the small one is every third pixel's of the large."""
    maps = torch.rand(1, 1, 3, 3, generator=generator, dtype=torch.double)
    cells = Cells(3, 0, 16, 16)
    small = place_maps(maps, (16, 16), cells.relative_to(even_cells((16, 16), (48, 48))))
    torch.testing.assert_close(small, place_maps(maps, (48, 48), cells)[:, :, 1::3, 1::3])
    assert cells.relative_to(Cells(0, 0, 1, 1)) == cells
    assert cells.relative_to(cells) == (0, 0, 1, 1)


@pytest.mark.parametrize("cells", GEOMETRIES.values(), ids=GEOMETRIES)
def test_gradients_reach_maps_through_their_place(generator, cells):
    maps = torch.rand(1, 2, 3, 4, generator=generator, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda maps: place_maps(maps, (11, 14), cells), maps)
    weight = torch.rand(1, 2, 11, 14, generator=generator, dtype=torch.double)
    (gradient,) = torch.autograd.grad((place_maps(maps, (11, 14), cells) * weight).sum(), maps)
    for channel, i, j in np.ndindex(2, 3, 4):
        alone = np.zeros((3, 4))
        alone[i, j] = 1
        expected = (reference.place(alone, 11, 14, *cells) * weight[0, channel].numpy()).sum()
        assert gradient[0, channel, i, j].item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_and_masks_of_full_precision_stay_so_under_autocast(generator, dtype):
    maps = torch.rand(2, 1, 3, 4, generator=generator, dtype=dtype)
    values = torch.rand(2, 1, 11, 14, generator=generator, dtype=dtype)
    cells = Cells(0.3, 0.7, 4, 4)

    def results():
        return place_maps(maps, (11, 14), cells), pool_to_cells(values, (3, 4), cells)

    plain = results()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (maps[0, 0] @ maps[0, 0].T).dtype == torch.bfloat16 or dtype == torch.float64
        mixed = results()
    for ours, theirs in zip(mixed, plain, strict=True):
        assert ours.dtype == theirs.dtype == dtype
        assert torch.equal(ours, theirs)


def test_places_found_in_inference_mode_serve_training_too():
    """They are kept from call to call, and a tensor made in inference mode cannot be trained through."""
    cells = Cells(0.25, 0.125, 4, 4)  # of no other test
    maps = torch.ones(1, 1, 3, 4, requires_grad=True)
    values = torch.ones(1, 1, 11, 14, requires_grad=True)
    with torch.inference_mode():
        place_maps(maps, (11, 14), cells)
        pool_to_cells(values, (3, 4), cells)
    place_maps(maps, (11, 14), cells).sum().backward()
    pool_to_cells(values, (3, 4), cells).sum().backward()
    assert maps.grad.sum().item() == pytest.approx(11 * 14)
    assert values.grad.sum().item() == pytest.approx(3 * 4)


def test_cells_of_no_pair():
    assert place_maps(torch.zeros(0, 1, 3, 4), (11, 14), Cells(0, 0, 4, 4)).shape == (0, 1, 11, 14)
    assert pool_to_cells(torch.zeros(0, 1, 11, 14), (3, 4), Cells(0, 0, 4, 4)).shape == (0, 1, 3, 4)


def test_cells_beyond_the_picture_take_its_nearest_pixels():
    cells = Cells(0, 0, 4, 4)
    pooled = pool_to_cells(torch.arange(6.0).view(1, 1, 1, 6), (1, 3), cells)
    assert pooled.flatten().tolist() == pytest.approx([(0 + 1 + 2 / 2) / 2.5, (2 / 2 + 3 + 4 + 5) / 3.5, 5.0])
