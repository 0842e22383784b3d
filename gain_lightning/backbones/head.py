"""Checks of heads: a head must see every image alone, or Grad-CAM of one image would depend on the others."""

import torch
from torch import Tensor, nn

from gain_lightning.backbones.batch_norm import named_batch_norm_layers
from gain_lightning.backbones.dry_run import evaluating, without_onednn


def batch_norm_run_by(head: nn.Module, features: Tensor, *, owner: nn.Module) -> tuple[str, ...]:
    """Find the BatchNorm layers that a head runs, even if another module owns them, by running it once.

    Args:
        head: Network from maps to logits; its modes and statistics stay as they are.
        features: Maps ``(N, K, h, w)`` of any values.
        owner: The module whose layers are looked at.

    Returns:
        The names of the layers in ``owner``.

    Example:
        >>> head = nn.Sequential(nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
        >>> batch_norm_run_by(head, torch.zeros(2, 4, 2, 2), owner=head)
        ('0',)
    """
    layers = named_batch_norm_layers(owner)
    seen: set[nn.Module] = set()
    hooks = [layer.register_forward_hook(lambda layer, *_: seen.add(layer)) for layer in layers.values()]
    try:
        with evaluating(owner, head), torch.no_grad(), without_onednn():
            head(features)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(name for name, layer in layers.items() if layer in seen)


def refuse_mixing_head(head: nn.Module, features: Tensor, *, name: str) -> None:
    """Refuse a head in which the logits of one image depend on the map of another.

    The gradient of one image's logits shows it, in the mode that the head is in.

    Args:
        head: Network from maps to logits.
        features: Maps of two images, ``(2, K, h, w)``, of random values.
        name: Name of the backbone, for the message.

    Raises:
        ValueError: If the head mixes the images.

    Example:
        >>> class Centred(nn.Module):
        ...     def forward(self, features):
        ...         return features.mean((2, 3)) - features.mean()
        >>> refuse_mixing_head(Centred(), torch.randn(2, 4, 2, 2), name="mine")
        Traceback (most recent call last):
        ValueError: backbone 'mine': the head mixes the images of a batch, ...
    """
    features = features.detach().requires_grad_()
    with torch.enable_grad(), without_onednn():
        logits = head(features)[0]
        (gradient,) = torch.autograd.grad((logits * torch.randn_like(logits)).sum(), features)
    if (gradient[1].abs() > 0).any():
        raise ValueError(
            f"backbone {name!r}: the head mixes the images of a batch, so that the attention map of one would depend "
            "on the others; expected a head that treats every image alone"
        )
