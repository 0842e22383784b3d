"""The mean over images and their classes that Eq. 5 and 7 share."""

import torch
from torch import Tensor

from gain_lightning.attention import Pairs


def mean_per_image(values: Tensor, pairs: Pairs, num_images: int, included: Tensor | None = None) -> Tensor:
    """Average over the classes of each image, then over images: ``1/num_images sum_images 1/n sum_classes``.

    Args:
        values: One value for each pair, shape ``(P,)``.
        pairs: The pairs that the values belong to; n counts the pairs of an image that enter the mean.
        num_images: Number to divide by; 0 gives 0.
        included: Pairs that enter the mean, ``(P,)`` bool; None takes all.

    Returns:
        Scalar; it is 0 without pairs, and always in the graph of ``values``.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> mean_per_image(torch.tensor([1.0, 3.0, 4.0]), label_pairs(torch.tensor([[1, 1], [1, 0]])), 2)
        tensor(3.)
    """
    ones = torch.ones_like(pairs.image)
    if included is not None:
        values, ones = torch.where(included, values, 0), included.long()
    # torch.bincount would wait for a GPU.
    count = pairs.image.new_zeros(pairs.num_images).index_add_(0, pairs.image, ones)  # (N,)
    return (values / count[pairs.image].clamp_min(1)).sum() / max(num_images, 1)


def at_least_float32(values: Tensor) -> Tensor:
    """Bring values of a lower precision to float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
