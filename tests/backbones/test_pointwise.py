"""Strided pointwise convolutions beside torch's own, and networks that crashed by them."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from gain_lightning.backbones.pointwise import StridedPointwise, skip_pixels


@pytest.mark.parametrize("stride", [2, 3, (2, 1), (1, 4)])
@pytest.mark.parametrize("size", [(10, 10), (9, 7), (1, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_convolution(generator, stride, size, bias):
    theirs = nn.Conv2d(3, 5, 1, stride=stride, bias=bias).double()
    features = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator).requires_grad_()
    expected = theirs(features)
    seen = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    wanted = torch.autograd.grad((expected * seen).sum(), [features, *theirs.parameters()])

    ours = nn.Sequential(theirs)
    names = list(ours.state_dict())
    skip_pixels(ours)
    assert isinstance(ours[0], StridedPointwise)
    assert list(ours.state_dict()) == names
    result = ours(features)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    found = torch.autograd.grad((result * seen).sum(), [features, *ours.parameters()])
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 8, 1),  # takes every pixel
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(3, 8, (1, 2), stride=2),
        nn.Conv2d(3, 8, 1, stride=2, padding=1),
        nn.Conv2d(16, 8, 1, stride=2),  # a whole register of channels
        nn.Conv2d(8, 8, 1, stride=2, groups=8),
    ],
)
def test_other_convolutions_stay(conv):
    net = nn.Sequential(conv)
    skip_pixels(net)
    assert net[0] is conv


CHILD = """
import sys
import torch
from gain_lightning.backbones import build_backbone
torch.manual_seed(0)
for side, num_images in ((96, 2), (224, 1)):
    backbone = build_backbone(sys.argv[1], 3)
    for _ in range(3):
        image = backbone.normalize(torch.randint(0, 256, (num_images, 3, side, side), dtype=torch.uint8))
        assert image.is_contiguous(memory_format=torch.channels_last)
        backbone(torch.cat([image, image.flip(3)])).square().sum().backward()
print("whole")
"""


@pytest.mark.parametrize("name", ["timm/repvgg_a0", "timm/fastvit_t8", "timm/mobileone_s0"])
def test_network_that_begins_with_such_a_layer_trains_without_a_crash(name):
    """In a process of its own, which a crash would end by a signal."""
    pytest.importorskip("timm")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, name], capture_output=True, text=True, timeout=400, check=False
    )
    assert (child.returncode, child.stdout) == (0, "whole\n"), child.stderr[-2000:]
