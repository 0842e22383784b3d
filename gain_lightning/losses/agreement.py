"""The loss between maps and targets that are maps themselves."""

from torch import Tensor

from gain_lightning.attention import Pairs
from gain_lightning.losses.reduction import mean_per_image


def map_agreement_loss(maps: Tensor, target: Tensor, pairs: Pairs) -> Tensor:
    """Mean squared difference between maps and targets, over pixels, an image's pairs and images, as in Eq. 7.

    Args:
        maps: Scaled maps in [0, 1], shape ``(P, 1, h, w)``.
        target: Same shape.
        pairs: The P pairs.

    Returns:
        Scalar; an image without a pair adds 0.

    Example:
        >>> import torch
        >>> from gain_lightning.attention import label_pairs
        >>> maps, target = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 0.0]]]])
        >>> map_agreement_loss(maps, target, label_pairs(torch.ones(1, 1)))
        tensor(0.5000)
    """
    return mean_per_image((maps - target).square().mean((1, 2, 3)), pairs, pairs.num_images)
