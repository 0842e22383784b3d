"""Dilated depthwise convolutions at the price of plain ones on a CPU."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DilatedDepthwise(nn.Conv2d):
    """A dilated depthwise convolution of stride 1 that keeps its map's size, by space-to-batch.

    With dilation d an output sees every d-th pixel in each direction. So the map falls apart into d x d smaller
    maps, and a plain convolution of those gives the same result to rounding. On a CPU the backward pass of a
    dilated depthwise convolution takes twice as long (docs/cost.md). On a GPU, and under torch.compile, the layer
    computes as before.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Convolve features ``(N, K, h, w)``; the result has the same shape."""
        # Under torch.compile sizes are symbols.
        if features.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(features)
        num_images, channels, height, width = features.shape
        (rate, _), (kernel_h, kernel_w) = self.dilation, self.kernel_size
        # Maps lie in channels_last memory.
        pixels = features.permute(0, 2, 3, 1)  # (N, h, w, K)
        pixels = F.pad(pixels, (0, 0, 0, -width % rate, 0, -height % rate))
        rows, columns = pixels.shape[1] // rate, pixels.shape[2] // rate
        parts = pixels.reshape(num_images, rows, rate, columns, rate, channels).permute(0, 2, 4, 1, 3, 5)
        parts = parts.reshape(-1, rows, columns, channels).permute(0, 3, 1, 2)  # (N d d, K, h / d, w / d)
        parts = F.conv2d(
            parts, self.weight, self.bias, padding=(kernel_h // 2, kernel_w // 2), groups=self.groups
        )
        pixels = parts.permute(0, 2, 3, 1).reshape(num_images, rate, rate, rows, columns, channels)
        pixels = pixels.permute(0, 3, 1, 4, 2, 5).reshape(num_images, rows * rate, columns * rate, channels)
        return pixels[:, :height, :width].permute(0, 3, 1, 2)


def split_dilated(module: nn.Module) -> None:
    """Replace, in place, every convolution of ``module`` that :class:`DilatedDepthwise` can stand in for.

    Parameters keep their names and their values.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8))
        >>> split_dilated(net)
        >>> type(net[0]).__name__
        'DilatedDepthwise'
    """
    replace_convolutions(module, DilatedDepthwise, _fits)


def replace_convolutions(module: nn.Module, kind: type[nn.Conv2d], fits: Callable[[nn.Conv2d], bool]) -> None:
    """Replace, in place, every plain convolution of ``module`` that ``fits`` by one of another ``kind``.

    Args:
        module: Module whose convolutions are replaced. A convolution that is ``module`` itself stays.
        kind: A convolution that computes the same in another way; it takes over parameters and settings.
        fits: Returns True for a convolution that ``kind`` can stand in for.
    """
    # A weight that is no parameter is left alone: a hook makes it anew before each pass.
    for parent in list(module.modules()):
        for name, conv in list(parent.named_children()):
            if type(conv) is nn.Conv2d and isinstance(conv.weight, nn.Parameter) and fits(conv):
                # torch types these settings as tuples of any length.
                settings: dict[str, Any] = {
                    key: getattr(conv, key)
                    for key in ("kernel_size", "stride", "padding", "dilation", "groups")
                }
                has_bias = conv.bias is not None
                other = kind(conv.in_channels, conv.out_channels, bias=has_bias, device="meta", **settings)
                other.weight, other.bias = conv.weight, conv.bias
                other.train(conv.training)
                setattr(parent, name, other)


def _fits(conv: nn.Conv2d) -> bool:
    kernel, rate = conv.kernel_size, conv.dilation
    same = tuple(step * (size // 2) for size, step in zip(kernel, rate, strict=True))
    return (
        rate[0] == rate[1] > 1
        and conv.stride == (1, 1)
        and conv.padding == same
        and conv.padding_mode == "zeros"
        and all(size % 2 for size in kernel)
        and conv.groups == conv.in_channels == conv.out_channels
    )
