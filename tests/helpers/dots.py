"""Pictures of dots, hand-made networks that detect them, and centres of mass of maps."""

import torch
from torch import nn


def taps(kernel: int, stride: int) -> torch.Tensor:
    """Return a filter that blurs as little as its stride allows without losing a dot's place; it reproduces lines."""
    if kernel % 2 == 0:
        return torch.full((kernel,), 1 / kernel)
    values = torch.zeros(kernel)
    values[kernel // 2] = 1 if stride == 1 or kernel == 1 else 0.5
    if stride > 1 and kernel > 1:
        values[kernel // 2 - 1] = values[kernel // 2 + 1] = 0.25
    return values


@torch.no_grad()
def make_dot_detector(network: nn.Module) -> nn.Module:
    """Make every channel of a network the picture, blurred as strides need it.

    Strided 1 x 1 shortcuts lose dots, so they are cut.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            (height, width), stride = layer.kernel_size, layer.stride[0]
            kernel = taps(height, stride)[:, None] * taps(width, stride)
            layer.weight.copy_(kernel / layer.weight.shape[1])
            if height == 1 and stride > 1:
                layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.running_var.fill_(1 - layer.eps)
            layer.weight.fill_(1)
            layer.bias.zero_()
    return network.eval()


def dots(places: list[tuple[float, float]], size: tuple[int, int], width: float) -> torch.Tensor:
    """Return pictures ``(N, 3, H, W)`` with one soft dot each, at (y, x), so faint that no activation bends."""
    y, x = (torch.arange(side, dtype=torch.float32) for side in size)
    pictures = [
        torch.exp(-((y[:, None] - top) ** 2 + (x - left) ** 2) / (2 * width**2)) for top, left in places
    ]
    return 1e-4 * torch.stack(pictures)[:, None].repeat(1, 3, 1, 1)


def centroids(maps: torch.Tensor) -> torch.Tensor:
    """Return the centres of mass (y, x) of maps ``(P, 1, H, W)``, in pixels."""
    maps = maps.double().squeeze(1)
    y, x = (torch.arange(side, dtype=torch.double) for side in maps.shape[1:])
    mass = maps.sum((1, 2))
    return torch.stack([(maps.sum(2) @ y) / mass, (maps.sum(1) @ x) / mass], 1)
