"""Where maps are drawn: dots that hand-made detectors find, probes, and networks beside their mirrored twins."""

import warnings

import numpy as np
import pytest
import torch
from dots import centroids, dots, make_dot_detector, taps
from torch import nn

from gain_lightning.attention import Cells, even_cells, place_maps, pool_to_cells
from gain_lightning.backbones import build_backbone
from gain_lightning.backbones.cell_grid import find_cells

BUILDERS = [
    *[("tiny_cnn", None), ("vgg16", None), ("vgg19", None), ("lite0", None), ("lite0", 16)],
    *[(f"resnet{depth}", None) for depth in (18, 34, 50, 101)],
    *[("resnet18", 16), ("resnet50", 16), ("resnet50", 8)],
]


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize(("name", "stride"), BUILDERS)
def test_a_dot_is_drawn_where_it_is(name, stride, odd):
    if name == "lite0":
        pytest.importorskip("timm")
    features = make_dot_detector(build_backbone(name, 2, output_stride=stride).features)
    step = find_cells(features, (64, 64)).step_y
    side = int(12 * step) + odd
    cells = find_cells(features, (side, side))
    places = [
        (cells.top + (5 + down) * step, cells.left + (6 - across) * step)
        for down, across in [(0, 0.5), (0.25, 0), (0.5, 0.3), (0.75, 0.8)]
    ]
    with torch.no_grad():
        maps = features(dots(places, (side, side), 0.7 * step)).mean(1, keepdim=True)
    found = centroids(place_maps(maps.relu(), (side, side), cells))
    np.testing.assert_allclose(found, places, atol=0.5)


def with_positive_weights(name: str, seed: int) -> nn.Module:
    """A random network that no weight makes look aside for long: what its cells see lies around their centres."""
    torch.manual_seed(seed)
    features = build_backbone(name, 2).features.eval()
    for layer in features.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0, 2 / layer.weight[0].numel())
    return features


@pytest.mark.parametrize("name", ["tiny_cnn", "vgg16", "resnet18", "lite0"])
def test_cells_are_where_a_probe_finds_them(name):
    """The pixels that move a cell lie around its centre: the centre of mass of the gradient, over a few networks."""
    if name == "lite0":
        pytest.importorskip("timm")
    found = []
    for seed in range(2):
        features = with_positive_weights(name, seed)
        step = find_cells(features, (64, 64)).step_y
        side = int(16 * step)
        cells = find_cells(features, (side, side))
        row = round((side / 2 - cells.top) / step)  # the borders cut as much of what it sees on either side
        image = (1e-3 * torch.rand(1, 3, side, side)).requires_grad_()
        features(image)[:, :, row, row].sum().backward()
        found.append(centroids(image.grad.abs().sum(1, keepdim=True))[0])
    expected = [cells.top + row * cells.step_y, cells.left + row * cells.step_x]
    np.testing.assert_allclose(torch.stack(found).mean(0), expected, atol=0.1 * step)


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18", "lite0"])
def test_untrained_networks_agree_with_their_mirrored_twins(name):
    """What a dot excites lies at the same place in the mirror, to a pixel."""
    if name == "lite0":
        pytest.importorskip("timm")
    gaps = []
    for seed in range(3):
        features = with_positive_weights(name, seed)
        step = find_cells(features, (64, 64)).step_y
        size = (int(10 * step), int(10 * step))
        places = [
            (size[0] / 2 + step * shift, size[1] / 2 - step * shift / 2) for shift in (-0.4, 0, 0.3, 0.8)
        ]
        image, ground = dots(places, size, 0.7 * step), torch.zeros(1, 3, *size)
        with torch.no_grad():
            maps = [
                (features(seen) - features(ground)).abs().sum(1, keepdim=True)
                for seen in (image, image.flip(3))
            ]
        cells = find_cells(features, size)
        own, twin = (place_maps(attention, size, cells) for attention in maps)
        gaps.append((centroids(own) - centroids(twin.flip(3)))[:, 1])
    assert abs(float(torch.stack(gaps).mean())) < 1


def test_cells_are_composed_by_hand():
    """Two strided convolutions with padding on one side only, then dilation: 1, then 1 + 2, then + 4 * 2."""
    network = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, (3, 1), padding=0, dilation=2),
    )
    assert find_cells(network, (32, 32)) == Cells(3 + 4 * 2, 3, 4, 4)
    assert not network.training or all(module.training for module in network.modules())


def test_cells_know_slices_layouts_and_branches():
    class Merging(nn.Module):
        """Four neighbours side by side in the channels, channels last, as Swin merges patches."""

        def forward(self, image):
            x = image.permute(0, 2, 3, 1)
            parts = [x[:, top::2, left::2, :] for top in (0, 1) for left in (0, 1)]
            return torch.cat(parts, -1).permute(0, 3, 1, 2)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.main = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.short = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 1))

        def forward(self, image):
            return (self.main(image) + self.short(image)).relu_()

    assert find_cells(Merging(), (8, 8)) == Cells(0.5, 0.5, 2, 2)
    assert find_cells(Residual(), (8, 8)) == Cells(0.25, 0.25, 2, 2)  # between 0 and 0.5
    patches = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(2), nn.Unflatten(2, (4, 4)))
    assert find_cells(patches, (16, 16)) == even_cells((4, 4), (16, 16))


def test_finding_cells_leaves_a_network_as_it_was():
    backbone = build_backbone("tiny_cnn", 2)
    backbone.features[1].eval()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    backbone.cells((40, 48))
    assert [module.training for module in backbone.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert backbone.cells((40, 48)) is backbone.cells((40, 48))


@pytest.mark.parametrize(
    ("layers", "start", "step"),
    [
        ([nn.PixelUnshuffle(2)], 2, 8),
        ([nn.LPPool2d(1, 3, 2)], 4, 8),
        ([nn.ConvTranspose2d(3, 3, 3, 2, 1, 1)], 0, 2),
        ([nn.Upsample(scale_factor=2, mode="bilinear")], -1, 2),
    ],
)
def test_layers_that_change_the_grid(layers, start, step):
    strided = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(2)]
    assert find_cells(nn.Sequential(*strided, *layers), (64, 64)) == Cells(start, start, step, step)


def test_tokens_lie_where_their_map_did_and_gates_move_nothing():
    class Mixer(nn.Module):
        """A map becomes tokens and a map again, and is weighed by a gate of another size."""

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            x = tokens.transpose(1, 2).reshape(x.shape)
            gate = nn.functional.interpolate(nn.functional.avg_pool2d(x, 3), x.shape[2:], mode="nearest")
            return x * gate.sigmoid()

    strided = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(2)]
    assert find_cells(nn.Sequential(*strided, Mixer()), (56, 56)) == Cells(0, 0, 4, 4)


def test_a_network_that_looks_at_values_is_run_itself():
    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

        def forward(self, image):
            assert torch.isfinite(image).all()
            return self.conv(image)

    assert find_cells(Looking(), (16, 16)) == Cells(0, 0, 2, 2)


def halved(image: torch.Tensor) -> torch.Tensor:
    """Every second pixel from the first on, of a blur that does not move it."""
    kernel = (taps(3, 2)[:, None] * taps(3, 2)).expand(3, 1, 3, 3)
    return nn.functional.conv2d(image, kernel.to(image.device), stride=2, padding=1, groups=3)


MOVING = {
    "a border of the picture is cut off": lambda x: halved(x[:, :, 5:, 3:-3]),
    "a crop in the channels' rear": lambda x: halved(x.permute(0, 2, 3, 1)[:, 6:, :].permute(0, 3, 1, 2)),
    "every fourth pixel": lambda x: x[..., 1::4, 3::4],
    "narrow counts from the end": lambda x: halved(x).narrow(2, -20, 16),
    "roll": lambda x: torch.roll(halved(x), (2, -3), (2, 3)),
    "roll and back": lambda x: halved(x).roll(5, 3).roll(-5, 3),
    "mirrored picture, mirrored map": lambda x: halved(x.flip(3)).flip(3),
    "mirrored": lambda x: halved(torch.flip(x, (-2, -1))),
    "nearest rounds down": lambda x: nn.functional.interpolate(halved(x), scale_factor=0.5),
    "nearest rounds down unevenly": lambda x: nn.functional.interpolate(halved(x), size=(12, 15)),
    "nearest enlarges evenly": lambda x: nn.functional.interpolate(halved(x), scale_factor=3),
    "nearest-exact rounds up": lambda x: nn.functional.interpolate(
        halved(x), size=(12, 16), mode="nearest-exact"
    ),
}


@pytest.mark.parametrize("size", [(64, 96), (65, 95)])
@pytest.mark.parametrize("moving", MOVING.values(), ids=MOVING)
def test_what_moves_a_map_moves_its_cells(moving, size):
    """Cells of a row and of a column against the pixels that each is a mean of, on average: nearest ones scatter."""

    class Moving(nn.Module):
        def forward(self, x):
            return moving(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells = find_cells(Moving(), size)
    image = torch.zeros(1, 3, *size, requires_grad=True)
    maps = moving(image).sum(1)[0]

    def centre(row, column):
        (gradient,) = torch.autograd.grad(maps[row, column], image, retain_graph=True)
        return centroids(gradient.sum(1, keepdim=True))[0].tolist()

    rows, columns = (range(3, length - 3) for length in maps.shape)
    gaps_y = [centre(row, columns[0])[0] - (cells.top + row * cells.step_y) for row in rows]
    gaps_x = [centre(rows[0], column)[1] - (cells.left + column * cells.step_x) for column in columns]
    assert abs(np.mean(gaps_y)) < 0.3
    assert abs(np.mean(gaps_x)) < 0.3


def test_a_mirrored_map_is_drawn_and_pooled_where_it_lies():
    straight, mirrored = Cells(1, 2, 4, 4), Cells(1, 2 + 4 * 5, 4, -4)
    maps = torch.rand(1, 1, 3, 6, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 1, 12, 24, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        place_maps(maps.flip(3), (12, 24), mirrored), place_maps(maps, (12, 24), straight)
    )
    torch.testing.assert_close(
        pool_to_cells(image, (3, 6), mirrored).flip(3), pool_to_cells(image, (3, 6), straight)
    )


def test_what_cannot_be_followed_is_said():
    class Halved(nn.Module):
        def forward(self, x):
            return x.chunk(2, 2)[1]

    with pytest.warns(UserWarning, match="could not be followed"):
        find_cells(nn.Sequential(nn.Conv2d(3, 3, 3, stride=2, padding=1), Halved()), (32, 32))
