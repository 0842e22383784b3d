"""BatchNorm's statistics, kept or used as they are while a network sees what is no data: erased images."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def named_batch_norm_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Every BatchNorm layer of a module, by its name there."""
    layers = module.named_modules()
    return {name: layer for name, layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)}


def batch_norm_layers(module: nn.Module) -> list[nn.Module]:
    """Every BatchNorm layer of a module."""
    return list(named_batch_norm_layers(module).values())


@contextmanager
def kept_batch_norm_statistics(module: nn.Module) -> Iterator[None]:
    """Let BatchNorm in training mode leave its running statistics as they are."""
    layers = [layer for layer in batch_norm_layers(module) if layer.training and layer.track_running_stats]
    known = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(layers, known, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(count)


@contextmanager
def frozen_batch_norm(module: nn.Module, *, weights: bool = False) -> Iterator[None]:
    """Use BatchNorm's running statistics and leave them as they are; each layer's mode is restored.

    With ``weights``, what is computed here gives the module's parameters no gradient either.
    """
    layers = [layer for layer in batch_norm_layers(module) if layer.training]
    held = [parameter for parameter in module.parameters() if weights and parameter.requires_grad]
    for layer in layers:
        layer.eval()
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
        for parameter in held:
            parameter.requires_grad_(True)
