"""Runs of a network that leave it as it is, and runs on the meta device, where nothing is computed."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Set evaluation mode, and give every layer its former mode at the end."""
    modes = {layer: layer.training for module in modules for layer in module.modules()}
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


@contextmanager
def without_onednn() -> Iterator[None]:
    """Keep oneDNN out of convolutions inside.

    oneDNN reads its bound on kernels at its first convolution, and that bound is set for the whole network.
    """
    with warnings.catch_warnings():
        # This warning speaks of GPUs, which are not used here.
        warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN")
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def meta_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, with shape, type and layout, but no values."""
    return {
        name: torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }


def weights_dtype(weights: dict[str, Tensor]) -> torch.dtype | None:
    """Return the type of the first floating-point weight, which pictures must have too; None without any."""
    return next((tensor.dtype for tensor in weights.values() if tensor.is_floating_point()), None)


def run_on_meta(features: nn.Module, size: tuple[int, ...]) -> Tensor:
    """Return the output of a network for one picture on the meta device, where only its shape is known.

    Args:
        features: A network that takes pictures ``(N, 3, H, W)``.
        size: H and W, pixels.

    Example:
        >>> run_on_meta(nn.Conv2d(3, 8, 3, stride=2), (9, 11)).shape
        torch.Size([1, 8, 4, 5])
    """
    weights = meta_weights(features)
    with torch.no_grad(), torch.device("meta"), evaluating(features):
        image = torch.empty(1, 3, *size, dtype=weights_dtype(weights))
        maps: Tensor = functional_call(features, weights, (image,))
    return maps
