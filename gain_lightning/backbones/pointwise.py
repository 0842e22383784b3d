"""Strided pointwise convolutions of few channels without oneDNN's kernel for them, which writes past its buffer."""

import torch.nn.functional as F
from torch import Tensor, nn

from gain_lightning.backbones.dilation import replace_convolutions

# Number of float32 values in a register of AVX-512; oneDNN's kernel handles channels in groups of this size.
LANES = 16


class StridedPointwise(nn.Conv2d):
    """A 1 x 1 convolution with a stride that first picks the pixels it needs, and then convolves without a stride.

    The results are the same to rounding. oneDNN (3.x, in torch 2.15) has a fault on a CPU in the gradient of the
    weights of a strided 1 x 1 convolution with 2 to 15 input channels in channels_last memory: it writes past the
    end of its work space. The process crashes then or later, or computes with overwritten values. RepVGG,
    MobileOne and FastViT begin with such a layer on the picture's three channels. On other devices the layer
    computes as before.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Convolve features ``(N, K, h, w)`` to ``(N, K', ceil(h / stride), ceil(w / stride))``."""
        if features.device.type != "cpu":
            return super().forward(features)
        rows, columns = self.stride
        return F.conv2d(features[:, :, ::rows, ::columns], self.weight, self.bias)


def skip_pixels(module: nn.Module) -> None:
    """Replace, in place, every convolution of ``module`` that :class:`StridedPointwise` has to stand in for.

    Parameters keep their names and their values.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 48, 1, stride=2))
        >>> skip_pixels(net)
        >>> type(net[0]).__name__
        'StridedPointwise'
    """
    replace_convolutions(module, StridedPointwise, _fits)


def _fits(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1)
        and max(conv.stride) > 1
        and conv.padding in ((0, 0), "valid")
        and conv.groups == 1
        and conv.in_channels < LANES
    )
