"""Large pictures in tiles, against loops over tiles that pass the network one by one."""

import copy
import math

import pytest
import torch
from dots import centroids, dots, make_dot_detector
from small_gain import make_gain

from gain_lightning.attention import label_pairs
from gain_lightning.backbones import build_backbone, checkpointed, in_tiles
from gain_lightning.backbones.batch_norm import kept_batch_norm_statistics

SIDE = 32


def backbones(name="tiny_cnn"):
    torch.manual_seed(0)
    whole = build_backbone(name, 3).eval()
    return whole, in_tiles(copy.deepcopy(whole), SIDE).eval()


def tiles_by_hand(image):
    """Every tile as rows and columns of ``(N, 3, 32, 32)``; what lies beyond the image is 0."""
    num, _, height, width = image.shape
    rows, columns = math.ceil(height / SIDE), math.ceil(width / SIDE)
    padded = torch.zeros(num, 3, rows * SIDE, columns * SIDE)
    padded[:, :, :height, :width] = image
    return [
        [padded[:, :, SIDE * y : SIDE * (y + 1), SIDE * x : SIDE * (x + 1)] for x in range(columns)]
        for y in range(rows)
    ]


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18"])
@pytest.mark.parametrize("size", [(64, 96), (70, 40), (32, 32), (20, 30)])
def test_maps_and_logits_are_those_of_the_tiles(generator, size, name):
    whole, tiled = backbones(name)
    image = torch.randn(2, 3, *size, generator=generator)
    with torch.no_grad():
        if max(size) <= SIDE:
            expected_maps, expected = whole.features(image), whole(image)
        else:
            maps = [[whole.features(tile) for tile in row] for row in tiles_by_hand(image)]
            expected_maps = torch.cat([torch.cat(row, 3) for row in maps], 2)
            logits = torch.stack([whole.head(tile) for row in maps for tile in row])
            expected = logits.exp().mean(0).log()
        torch.testing.assert_close(tiled.features(image), expected_maps, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tiled(image), expected, rtol=1e-4, atol=1e-5)
    with torch.enable_grad():
        torch.testing.assert_close(tiled(image), expected, rtol=1e-4, atol=1e-5)


def test_one_tile_that_shows_a_class_suffices():
    _, tiled = backbones()
    image = torch.zeros(1, 3, 128, 128)
    plain, found = tiled(image), tiled.head.whole(torch.full((1, 96, 4, 4), 50.0))
    features = tiled.features(image).detach()
    features[..., 4:8, 8:12] = 50.0
    strongest = found.argmax()
    got = tiled.head(features)[0, strongest]
    assert got > plain[0, strongest]
    assert got.item() == pytest.approx(
        found[0, strongest].item() - math.log(16), abs=0.1 * found.abs().max().item()
    )


def test_weights_keep_their_names_and_copies_are_whole():
    whole, tiled = backbones()
    assert list(whole.state_dict()) == list(tiled.state_dict())
    for copied in (copy.deepcopy(tiled), tiled):
        copied.load_state_dict({name: value + 1 for name, value in whole.state_dict().items()})
        assert torch.equal(copied.features.whole[0].weight, whole.features[0].weight + 1)
    assert not tiled.features.whole.training
    tiled.train()
    assert tiled.features.whole.training
    assert tiled.head.whole.training
    assert all(layer.training for layer in tiled.features.modules())


@pytest.mark.parametrize("training", [False, True])
def test_checkpointing_changes_nothing(generator, training):
    """Tile by tile where BatchNorm stands still, and all at once where it takes statistics."""
    _, tiled = backbones()
    image = torch.randn(2, 3, 64, 64, generator=generator)
    gradients, sizes = [], []
    for saving in (False, True):
        network = copy.deepcopy(tiled).train(training)
        network.features.whole[0].register_forward_hook(
            lambda layer, inputs, output: sizes.append(len(output))
        )
        features = (
            checkpointed(network.features, image, recompute_in=lambda: kept_batch_norm_statistics(network))  # noqa: B023
            if saving
            else network.features(image)
        )
        network.head(features).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
        statistics = network.features.whole[1].running_mean
        gradients[-1].append(statistics)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert set(sizes) == ({8} if training else {2, 8})


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18"])
def test_a_map_lies_where_its_picture_does(name):
    """A detector of dots finds one in each of 2 x 3 tiles within half a pixel of its place, away from seams."""
    torch.manual_seed(0)
    backbone = make_dot_detector(build_backbone(name, 3))
    side = 96 if name == "tiny_cnn" else 224
    tiled = in_tiles(backbone, side)
    places = [(side * (row + 0.52), side * (column + 0.47)) for row in range(2) for column in range(3)]
    pictures = dots(places, (2 * side, 3 * side), side / 24)
    with torch.no_grad():
        maps = tiled.features(pictures).mean(1, keepdim=True)
    cells = tiled.cells((2 * side, 3 * side))
    centre = centroids(maps) * torch.tensor([cells.step_y, cells.step_x]) + torch.tensor(
        [cells.top, cells.left]
    )
    assert (centre - torch.tensor(places)).abs().max() < 0.5 * cells.step_y / 8


def test_grad_cam_of_tiles_is_that_of_the_joined_maps(generator):
    """By autograd over the whole head, written out."""
    model = make_gain(tile_size=SIDE, backbone="tiny_cnn").eval()
    image = torch.randn(2, 3, 64, 64, generator=generator)
    label = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    logits, maps, pairs = model.attend(image, label)
    features = model.backbone.features(image).detach().requires_grad_()
    by_tile = torch.stack(
        [
            model.backbone.head.whole(features[:, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4])
            for y in (0, 1)
            for x in (0, 1)
        ]
    )
    scores = by_tile.logsumexp(0) - math.log(4)
    torch.testing.assert_close(logits, scores.detach())
    for row, (n, c) in enumerate(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)):
        (gradient,) = torch.autograd.grad(scores[n, c], features, retain_graph=True)
        expected = (gradient[n].mean((1, 2))[:, None, None] * features[n]).sum(0).relu()
        torch.testing.assert_close(maps[row, 0], expected.detach(), rtol=1e-3, atol=1e-6)
    assert label_pairs(label).image.tolist() == pairs.image.tolist()


def test_unfit_sides_are_refused():
    with pytest.raises(
        ValueError, match=r"model\.tile_size is 30, expected a multiple of the 8 pixels of a cell"
    ):
        make_gain(tile_size=30)
    with pytest.raises(ValueError, match=r"model\.tile_size is 0, expected null or a number of pixels"):
        make_gain(tile_size=0)
    with pytest.raises(ValueError, match="amounts add up over tiles: expected null"):
        make_gain(tile_size=32, task="regression")
