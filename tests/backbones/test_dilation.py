"""Dilated depthwise convolutions beside torch's own."""

import pytest
import torch
from torch import nn

from gain_lightning.backbones import build_backbone
from gain_lightning.backbones.dilation import DilatedDepthwise, split_dilated


@pytest.mark.parametrize(("kernel", "rate"), [(3, 2), (5, 2), (3, 3), ((3, 5), 2)])
@pytest.mark.parametrize("size", [(10, 10), (9, 7), (3, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_dilated_convolution(kernel, rate, size, bias):
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = tuple(rate * (side // 2) for side in kernel)
    theirs = nn.Conv2d(6, 6, kernel, padding=padding, dilation=rate, groups=6, bias=bias).double()
    features = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    expected = theirs(features)
    seen = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * seen).sum(), [features, *theirs.parameters()])

    ours = nn.Sequential(theirs)
    names = list(ours.state_dict())
    split_dilated(ours)
    assert isinstance(ours[0], DilatedDepthwise)
    assert list(ours.state_dict()) == names
    result = ours(features)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    for got, want in zip(
        torch.autograd.grad((result * seen).sum(), [features, *ours.parameters()]), wanted, strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4),  # not dilated
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),  # not depthwise
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, stride=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, dilation=2, groups=4),  # the map shrinks
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 4, padding=4, dilation=2, groups=4),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4),  # more channels than it is given
        nn.Conv2d(1, 8, 3, padding=2, dilation=2),
    ],
)
def test_other_convolutions_stay(conv):
    net = nn.Sequential(conv)
    split_dilated(net)
    assert net[0] is conv


def test_lite0_at_stride_16_has_them():
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=3, output_stride=16).eval()
    ours = build_backbone("lite0", 3, output_stride=16).eval()
    ours.features.model.load_state_dict(theirs.state_dict())
    assert sum(isinstance(layer, DilatedDepthwise) for layer in ours.modules()) == 4
    image = torch.rand(1, 3, 80, 80)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)


def test_torch_compile_sees_the_plain_convolution():
    """Splitting maps whose sizes are symbols gave torch.compile expressions that it did not end with in minutes."""
    net = nn.Sequential(nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6), nn.ReLU6())
    split_dilated(net)
    operations = []

    def backend(graph, _):
        operations.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    compiled = torch.compile(net, backend=backend, fullgraph=True, dynamic=True)
    features = torch.randn(2, 6, 9, 7)
    torch.testing.assert_close(compiled(features), net(features))
    assert any("conv2d" in name for name in operations)
    assert not any("pad" in name or "reshape" in name for name in operations)
