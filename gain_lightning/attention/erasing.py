"""Soft masks and erased images: Eq. 3 and 4 of Li et al., CVPR 2018."""

import torch
from torch import Tensor


def soft_mask(attention: Tensor, *, sigma: float = 0.5, omega: float = 10.0) -> Tensor:
    """Turn attention maps into differentiable masks, Eq. 4: ``T(A) = sigmoid(omega * (A - sigma))``.

    Args:
        attention: Maps in [0, 1], shape ``(P, 1, H, W)``.
        sigma: Threshold, in the units of ``attention``. The paper gives no value; see docs/method.md.
        omega: Slope, > 0. Large values approach a hard threshold, and the gradient vanishes.

    Returns:
        Masks in (0, 1), same shape: near 1 where the network looks.

    Raises:
        ValueError: If ``omega`` is not positive.

    Example:
        >>> soft_mask(torch.tensor([[[[0.0, 0.5, 1.0]]]]), sigma=0.5, omega=10.0)
        tensor([[[[0.0067, 0.5000, 0.9933]]]])
    """
    if not omega > 0:
        raise ValueError(f"omega is {omega}, expected a positive slope")
    return torch.sigmoid(omega * (attention - sigma))


def erase(image: Tensor, mask: Tensor) -> Tensor:
    """Erase the attended pixels, Eq. 3: ``I* = I - T(A) * I``, one erased image per pair.

    On normalised images an erased pixel has the mean colour of the backbone's training set.

    Args:
        image: The image of every pair, ``image[pairs.image]``, shape ``(P, 3, H, W)``.
        mask: ``soft_mask`` of every pair, shape ``(P, 1, H, W)``.

    Returns:
        Erased images, shape ``(P, 3, H, W)``.

    Example:
        >>> erase(torch.full((1, 1, 1, 2), 8.0), torch.tensor([[[[0.25, 1.0]]]]))
        tensor([[[[6., 0.]]]])
    """
    return image - mask * image
