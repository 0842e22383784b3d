"""DeepLab-LargeFOV: the published sizes, and what its layers start from."""

import pytest
import torch
from torch import nn

from gain_lightning.attention import Cells
from gain_lightning.backbones import build_backbone
from gain_lightning.segmentation.largefov import build_largefov


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """The published network and the VGG16 that its weights come from."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        source = build_backbone("vgg16", 3)
    path = tmp_path_factory.mktemp("vgg") / "vgg.ckpt"
    state = {f"backbone.{key}": tensor for key, tensor in source.state_dict().items()}
    torch.save({"state_dict": state}, path)
    net = build_largefov("vgg16", 20, weights=str(path)).eval()
    path.unlink()
    return net, source


def test_321_pixels_give_a_map_of_41(vgg):
    net, _ = vgg
    with torch.no_grad():
        for side, cells in ((321, 41), (161, 21)):
            assert net(torch.zeros(1, 3, side, side)).shape == (1, 21, cells, cells)


def test_layers_are_those_of_the_published_network(vgg):
    net, _ = vgg
    convs = [layer for layer in [*net.features, *net.head] if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.dilation[0]) for c in convs[-6:]] == [
        (512, 3, 2), (512, 3, 2), (512, 3, 2), (1024, 3, 12), (1024, 1, 1), (21, 1, 1),
    ]  # fmt: skip
    assert sum(isinstance(layer, nn.Dropout) for layer in net.head) == 2
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == 14_714_688 + (1024 * 512 * 9 + 1024) + (1024 * 1024 + 1024) + (21 * 1024 + 21)


def test_weights_come_from_vgg_and_a_part_of_its_fully_connected_layers(vgg):
    """Unit j of fc6 is unit 4 j of VGG's, its pixels are every third."""
    net, source = vgg
    for (name, ours), theirs in zip(
        net.features.state_dict().items(), source.features.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    linear = [layer for layer in source.head if isinstance(layer, nn.Linear)]
    fc6, fc7, fc8 = [layer for layer in net.head if isinstance(layer, nn.Conv2d)]
    theirs = linear[0].weight.view(4096, 512, 7, 7)
    assert fc6.weight[5, 7, 2, 1] == theirs[20, 7, 6, 3]
    assert fc7.weight[3, 9, 0, 0] == linear[1].weight[12, 36]
    assert fc8.bias.tolist() == [0] * 21


@pytest.mark.parametrize(
    ("name", "stride", "size", "dilation"),
    [("tiny_cnn", 8, 321, 12), ("resnet18", 32, 321, 3), ("tiny_cnn", 8, 160, 6), ("resnet18", 32, 64, 1)],
)
def test_any_backbone_has_the_same_field_of_view_at_any_size(name, stride, size, dilation):
    net = build_largefov(name, 4, image_size=size).eval()
    fc6 = next(layer for layer in net.head if isinstance(layer, nn.Conv2d))
    assert fc6.dilation == (dilation, dilation)
    with torch.no_grad():
        assert net(torch.zeros(2, 3, 128, 128)).shape == (2, 5, 128 // stride, 128 // stride)


def test_building_leaves_no_trace_in_batch_norm():
    """The map's size is found by a pass in evaluation mode."""
    net = build_largefov("tiny_cnn", 4)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.training and layer.num_batches_tracked == 0 for layer in layers)


def test_a_stride_that_vgg_does_not_have_is_named():
    with pytest.raises(ValueError, match="output_stride is 16, but the map of vgg16 is at stride 8 here"):
        build_largefov("vgg16", 4, output_stride=16)


def test_largefov_has_the_published_grid():
    assert build_largefov("vgg16", 2).cells((321, 321)) == Cells(0, 0, 8, 8)
