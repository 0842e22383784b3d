"""BatchNorm while a network sees images that are no data, such as erased ones: its statistics do not move."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def named_batch_norm_layers(module: nn.Module) -> dict[str, _BatchNorm]:
    """Return every BatchNorm layer of a module by its name in it."""
    layers = module.named_modules()
    return {name: layer for name, layer in layers if isinstance(layer, _BatchNorm)}


def batch_norm_layers(module: nn.Module) -> list[_BatchNorm]:
    """Return every BatchNorm layer of a module."""
    return list(named_batch_norm_layers(module).values())


@contextmanager
def kept_batch_norm_statistics(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm in training mode from moving its running statistics."""
    layers = [layer for layer in batch_norm_layers(module) if layer.training]
    known = [
        (layer, layer.momentum, layer.num_batches_tracked, layer.num_batches_tracked.clone())
        for layer in layers
        if layer.num_batches_tracked is not None
    ]
    for layer, *_ in known:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum, tracked, count in known:
            layer.momentum = momentum
            tracked.copy_(count)


@contextmanager
def frozen_batch_norm(module: nn.Module, *, weights: bool = False) -> Iterator[None]:
    """Use BatchNorm's running statistics without moving them; each layer's mode is restored at the end.

    With ``weights``, computations inside give the module's parameters no gradient either.
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
