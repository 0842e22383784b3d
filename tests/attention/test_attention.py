import ast
import copy
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from torch import nn

from gain_lightning import VOID, attention
from gain_lightning.attention import (
    Cells,
    cams,
    erase,
    even_cells,
    grad_cam,
    label_pairs,
    margins,
    pair_masks,
    place_maps,
    pool_to_cells,
    resize_maps,
    scale_maps,
    soft_mask,
)

LABEL = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]])  # 2, 0, 3 and 1 labels


def linear_head(features, weight, bias):
    return F.linear(features.mean((2, 3)), weight, bias)


def random_features(generator, *shape, dtype=torch.double):
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()


@pytest.fixture
def mlp_head():
    """A head whose gradient depends on the features, and on their place."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(5, 6, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(6 * 2 * 3, 7),
            nn.Softplus(),
            nn.Linear(7, 4),
        ]
        return nn.Sequential(*layers).double()


# Pairs ----------------------------------------------------------------------------------------------------


def test_label_pairs_lists_images_then_classes(generator):
    label = (torch.rand(6, 5, generator=generator) < 0.4).float()
    label[2] = 0
    pairs = label_pairs(label)
    where = reference.pairs(label.numpy())
    assert list(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)) == where
    assert pairs.rank.tolist() == [sum(m == n and d < c for m, d in where) for n, c in where]
    assert pairs.num_images == 6


def test_pairs_of_two_batches_are_those_of_one():
    together, whole = label_pairs(LABEL[:3]).followed_by(label_pairs(LABEL[3:])), label_pairs(LABEL)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(together[:3], whole[:3], strict=True))
    assert together[3:] == whole[3:] == (4, 3)
    none = whole.none()
    assert (len(none.image), none.num_images, none.num_ranks) == (0, 4, 0)
    assert none.followed_by(whole).image.tolist() == [n + 4 for n in whole.image.tolist()]


def test_pair_masks_find_the_mask_of_each_pair_by_image_and_class(generator):
    """By loops; unknown throughout where there is none, also a mask of a class that the label lacks."""
    pairs = label_pairs(LABEL)
    mask = torch.randint(0, 2, (4, 3, 2), dtype=torch.uint8, generator=generator)
    of_image, of_class = [3, 0, 2, 2], [3, 2, 0, 3]  # in any order; image 2 has no label 3
    masks = pair_masks(mask, torch.tensor(of_image), torch.tensor(of_class), pairs)
    where = list(zip(of_image, of_class, strict=True))
    assert masks.dtype == torch.uint8
    assert masks.shape == (6, 3, 2)
    found = 0
    for pair, own in zip(reference.pairs(LABEL), masks, strict=True):
        expected = mask[where.index(pair)] if pair in where else torch.full((3, 2), VOID)
        assert torch.equal(own, expected.byte())
        found += pair in where
    assert found == 3


@pytest.mark.parametrize(("num_masks", "label"), [(0, LABEL), (2, torch.zeros(4, 4)), (0, torch.zeros(4, 4))])
def test_pair_masks_take_no_mask_and_no_pair(num_masks, label):
    pairs, places = label_pairs(label), torch.arange(num_masks)
    masks = pair_masks(torch.ones(num_masks, 3, 2, dtype=torch.uint8), places, places, pairs)
    assert masks.shape == (len(pairs.image), 3, 2)
    assert (masks == VOID).all()


# Grad-CAM -------------------------------------------------------------------------------------------------


def test_grad_cam_equals_the_analytic_cam_of_gap_and_linear(generator):
    features = random_features(generator, 4, 5, 3, 4)
    weight = torch.randn(4, 5, generator=generator, dtype=torch.double)
    maps = grad_cam(features, linear_head(features, weight, torch.ones(4).double()), label_pairs(LABEL))
    expected = [
        np.maximum(sum(weight[c, k].item() / 12 * features[n, k].detach().numpy() for k in range(5)), 0)
        for n, c in reference.pairs(LABEL)
    ]
    np.testing.assert_allclose(maps.squeeze(1).detach().numpy(), expected, rtol=1e-12, atol=1e-15)
    assert (maps > 0).any(dim=(2, 3)).all()


def test_grad_cam_weights_equal_finite_differences_of_the_logit(generator, mlp_head):
    features = random_features(generator, 4, 5, 3, 4)
    maps = grad_cam(features, mlp_head(features), label_pairs(LABEL))
    step = 1e-5
    for p, (n, c) in enumerate(reference.pairs(LABEL)):
        feature = features[n].detach()
        gradient = np.zeros(feature.shape)
        for place in np.ndindex(*feature.shape):
            shift = torch.zeros_like(feature)
            shift[place] = step
            with torch.no_grad():
                up, down = mlp_head(torch.stack([feature + shift, feature - shift]))[:, c]
            gradient[place] = (up - down) / (2 * step)
        expected = reference.grad_cam(feature.numpy(), gradient)
        np.testing.assert_allclose(maps[p, 0].detach().numpy(), expected, rtol=1e-7, atol=1e-10)


def raw_maps_of_library(monkeypatch, model, layer, image, class_idx):
    """Maps of pytorch_grad_cam for one class an image, before its min-max scaling and resizing."""
    library = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", lambda cam, target_size=None: cam)
    with library.GradCAM(model=model, target_layers=[layer]) as cam:
        return cam(image, [targets.ClassifierOutputTarget(c) for c in class_idx])


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_grad_cam_equals_pytorch_grad_cam(generator, monkeypatch, torchvision_models, name):
    model, backbone = torchvision_models(name)
    image = torch.randn(2, 3, 96, 96, generator=generator)
    layer = model.features[29] if name == "vgg16" else model.layer4
    expected = raw_maps_of_library(monkeypatch, model, layer, image, [1, 3])
    backbone.eval()
    features = backbone.features(image)
    label = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]])
    maps = grad_cam(features, backbone.head(features), label_pairs(label)).squeeze(1).detach().numpy()
    assert maps.shape[1:] == ((6, 6) if name == "vgg16" else (3, 3))
    assert expected.max((1, 2)).min() > 0
    for ours, theirs in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours / theirs.max(), theirs / theirs.max(), atol=1e-5)


def test_grad_cam_follows_the_order_of_images(generator, mlp_head):
    features = random_features(generator, 4, 5, 3, 4)
    maps = grad_cam(features, mlp_head(features), label_pairs(LABEL))
    order = [2, 0, 3, 1]
    shuffled = features[order]
    permuted = grad_cam(shuffled, mlp_head(shuffled), label_pairs(LABEL[order]))
    of_image = {n: maps[label_pairs(LABEL).image == n] for n in range(4)}
    torch.testing.assert_close(permuted, torch.cat([of_image[n] for n in order]), rtol=1e-12, atol=1e-14)


def test_grad_cam_of_a_batch_equals_batches_of_one_in_eval_mode(generator, tiny_backbone):
    tiny_backbone.double().eval()
    image = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.double)
    label = LABEL[:, :3]

    def maps_of(image, label):
        features = tiny_backbone.features(image)
        return grad_cam(features, tiny_backbone.head(features), label_pairs(label))

    alone = [maps_of(image[n : n + 1], label[n : n + 1]) for n in range(4)]
    assert [len(maps) for maps in alone] == [2, 0, 3, 0]
    torch.testing.assert_close(maps_of(image, label), torch.cat(alone), rtol=1e-10, atol=1e-14)
    assert all((maps > 0).any(dim=(2, 3)).any() for maps in alone if len(maps))


def test_grad_cam_gives_each_label_its_own_map(generator):
    features = random_features(generator, 1, 2, 2, 2)
    weight = torch.eye(2).double()  # class c sees channel c
    maps = grad_cam(features, linear_head(features, weight, None), label_pairs(torch.ones(1, 2)))
    torch.testing.assert_close(maps[:, 0], features[0].relu() / 4)
    assert not torch.allclose(maps[0], maps[1])


def test_grad_cam_without_pairs_is_empty(generator):
    features = random_features(generator, 2, 5, 3, 4, dtype=torch.float)
    logits = linear_head(features, torch.ones(4, 5), None)
    maps = grad_cam(features, logits, label_pairs(torch.zeros(2, 4)))
    assert maps.shape == (0, 1, 3, 4)
    assert maps.dtype == torch.float


@pytest.mark.parametrize("num_labels", [0, 2])
def test_grad_cam_of_bfloat16_features_is_float32(generator, num_labels):
    features = random_features(generator, 1, 8, 3, 3, dtype=torch.float)
    weight = torch.randn(2, 8, generator=generator)
    label = torch.zeros(1, 2)
    label[:, :num_labels] = 1
    expected = grad_cam(features, linear_head(features, weight, None), label_pairs(label))
    half = features.detach().bfloat16().requires_grad_()
    maps = grad_cam(half, linear_head(half, weight.bfloat16(), None), label_pairs(label))
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected, rtol=0, atol=0.02)


def test_grad_cam_sums_channels_in_float32_under_autocast():
    """Their sum, 521.015625, is no bfloat16 number; those near it are 520 and 524."""
    features = torch.full((1, 513, 1, 1), 1.0, requires_grad=True)
    weight = torch.full((1, 513), 1 + 2**-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = grad_cam(features, F.linear(features.mean((2, 3)), weight), label_pairs(torch.ones(1, 1)))
    assert maps.dtype == torch.float32
    assert maps.item() == 513 * (1 + 2**-6)


def test_grad_cam_leaves_parameter_grads_alone(generator, tiny_backbone):
    tiny_backbone.eval()
    parameters = list(tiny_backbone.parameters())
    image = torch.randn(2, 3, 32, 32, generator=generator)

    def explain():
        features = tiny_backbone.features(image)
        grad_cam(features, tiny_backbone.head(features), label_pairs(LABEL[:2, :3]), second_order=True)
        return features

    features = explain()
    assert features.grad_fn is not None
    assert all(parameter.grad is None for parameter in parameters)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 3)
    explain()
    assert all((parameter.grad == 3).all() for parameter in parameters)


@pytest.mark.parametrize(("rows", "passes"), [([0, 1, 2, 3], 2), ([0, 3, 3], 1), ([1, 3], 1), ([1, 1], 0)])
def test_grad_cam_runs_one_backward_pass_for_two_labels_an_image(generator, monkeypatch, rows, passes):
    calls = []
    true_grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *args, **kwargs: calls.append(1) or true_grad(*args, **kwargs)
    )
    monkeypatch.setattr(cams, "RANKS_AT_ONCE", 2)
    features = random_features(generator, len(rows), 5, 3, 4)
    weight = torch.randn(4, 5, generator=generator, dtype=torch.double)
    grad_cam(features, linear_head(features, weight, None), label_pairs(LABEL[rows]))
    assert len(calls) == passes


def test_grad_cam_uses_no_gradient_of_the_feature_layers(generator, tiny_backbone):
    """The backward passes stop at the features: their layers may not support a second one."""

    class OneWay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise AssertionError("backward pass through the features")

    features = OneWay.apply(random_features(generator, 2, 96, 4, 4, dtype=torch.float))
    maps = grad_cam(features, tiny_backbone.head(features), label_pairs(LABEL[:2, :3]), second_order=True)
    assert maps.shape == (2, 1, 4, 4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_cam_refuses_features_without_graph(generator, tiny_backbone, mode):
    with mode():
        features = tiny_backbone.features(torch.randn(1, 3, 32, 32, generator=generator))
        logits = tiny_backbone.head(features)
        with pytest.raises(RuntimeError, match="enable_grad"):
            grad_cam(features, logits, label_pairs(torch.ones(1, 3)))


@pytest.mark.parametrize("second_order", [False, True])
def test_grad_cam_differentiates_the_weights_only_in_second_order(generator, second_order):
    """With a linear head, dA/dW = f / (h w) where A > 0: there in second order, absent in first."""
    features = random_features(generator, 1, 3, 2, 2)
    weight = torch.randn(1, 3, generator=generator, dtype=torch.double).requires_grad_()
    maps = grad_cam(
        features,
        linear_head(features, weight, None),
        label_pairs(torch.ones(1, 1)),
        second_order=second_order,
    )
    (gradient,) = torch.autograd.grad(maps.sum(), weight, allow_unused=True)
    on = maps[0].detach() > 0
    assert on.any()
    if second_order:
        torch.testing.assert_close(gradient[0], (features[0].detach() * on).sum((1, 2)) / 4)
    else:
        assert gradient is None


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


# Soft mask and erased image -------------------------------------------------------------------------------


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


def test_attention_imports_torch_alone():
    """The equations stand without Lightning and without the rest of the package, but for the number of void."""
    files = Path(attention.__file__).parent.glob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {name for name in imported if not name.startswith("gain_lightning.attention.")}
    assert others == {"torch", "torch.nn.functional", "typing", "functools", "gain_lightning.constants"}


def test_margins_are_log_odds_of_the_softmax():
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    probability = logits.softmax(1)
    torch.testing.assert_close(margins(logits), (probability / (1 - probability)).log())


def test_map_of_a_margin_shows_evidence_against_the_other_class():
    """One channel speaks for class 0, one only against class 1: the logit's map shows the first alone."""
    features = torch.zeros(1, 2, 1, 2)
    features[0, 0, 0, 0], features[0, 1, 0, 1] = 1.0, 1.0
    features.requires_grad_()
    weight = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    logits = features.mean((2, 3)) @ weight.T
    pairs = label_pairs(torch.tensor([[1, 0]]))
    of_logit, of_margin = (
        grad_cam(features, score, pairs).flatten().tolist() for score in (logits, margins(logits))
    )
    assert of_logit == [0.5, 0.0]
    assert of_margin == [0.5, 0.5]
