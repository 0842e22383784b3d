"""Soft masks, erased images, and what stands in place of erased pixels: Eq. 3 and 4 of Li et al., CVPR 2018."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
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


def erase(image: Tensor, mask: Tensor, fill: Tensor | None = None) -> Tensor:
    """Erase the attended pixels, Eq. 3: ``I* = I - T(A) * I``, one erased image per pair.

    On normalised images an erased pixel has the mean colour of the backbone's training set. With a ``fill`` G it
    has the colour that G has there, ``I* = I - T(A) * (I - G)``.

    Args:
        image: The image of every pair, ``image[pairs.image]``, shape ``(P, 3, H, W)``.
        mask: ``soft_mask`` of every pair, shape ``(P, 1, H, W)``.
        fill: What stands in place of erased pixels, shape ``(P, 3, H, W)``, see :data:`FILLS`; None is the mean
            colour.

    Returns:
        Erased images, shape ``(P, 3, H, W)``.

    Example:
        >>> image, mask = torch.full((1, 1, 1, 2), 8.0), torch.tensor([[[[0.25, 1.0]]]])
        >>> erase(image, mask)
        tensor([[[[6., 0.]]]])
        >>> erase(image, mask, fill=torch.full((1, 1, 1, 2), 4.0))
        tensor([[[[7., 4.]]]])
    """
    return image - mask * (image if fill is None else image - fill)


def local_means(image: Tensor, share: float = 0.25) -> Tensor:
    """Replace every pixel by the mean of the square around it.

    Args:
        image: Shape ``(N, 3, H, W)``.
        share: Side of the square, as a share of the image's shorter side.

    Returns:
        Same shape. At the border only the part of the square that lies inside counts.

    Example:
        >>> local_means(torch.tensor([[[[0.0, 0.0, 6.0, 0.0, 0.0]] * 5]]), share=0.6)[0, 0, 0]
        tensor([0., 2., 2., 2., 0.])
    """
    reach = round((share * min(image.shape[2:]) - 1) / 2)
    return F.avg_pool2d(image, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)


def blurred(image: Tensor) -> Tensor:
    """Blur images so far that colours are left and no parts of objects.

    Fong and Vedaldi (ICCV 2017) erase by a blurred image, since it has no edge. Three means over squares of an eighth
    of the image are nearly a Gaussian.

    Args:
        image: Shape ``(N, 3, H, W)``.

    Returns:
        Same shape.

    Example:
        >>> blurred(torch.ones(1, 3, 24, 24)).unique()
        tensor([1.])
    """
    for _ in range(3):
        image = local_means(image, share=0.125)
    return image


# What S_am puts in place of erased pixels, by the name that ``model.am_fill`` takes. A new one is a row here and a
# function of normalised images.
FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.zeros_like,
    "blur": blurred,
    "local_mean": local_means,
}
