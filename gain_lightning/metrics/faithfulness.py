"""Tests of whether maps show what the network decides by: deletion, insertion, and random weights.

A map that was trained towards masks may imitate them while the decision rests on other pixels. Axis letters:
P (image, class) pairs, C classes, H W image, h w map.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional import spearman_corrcoef
from torchvision.transforms.functional import gaussian_blur

M = TypeVar("M", bound=nn.Module)

# Takes the pixels to remove, (P, 1, H, W) bool, and returns the pictures without them, (P, 3, H, W).
Fill = Callable[[Tensor], Tensor]


class FillKind(NamedTuple):
    """One way to take pixels away.

    Attributes:
        title: Its name in words, at most 11 letters.
        prepare: Makes the fill from images ``(P, 3, H, W)`` and a generator on the CPU.
        is_random: If true, every draw gives another fill.
    """

    title: str
    prepare: Callable[[Tensor, torch.Generator], Fill]
    is_random: bool = False


def _with_mean(image: Tensor, generator: torch.Generator) -> Fill:
    """Fill with 0, the mean colour of normalised images, which Eq. 3 erases with."""
    return lambda taken: image * ~taken


def _with_blur(image: Tensor, generator: torch.Generator) -> Fill:
    """Fill with the same image, blurred with a deviation of 5 pixels in 224 (Petsiuk et al., 2018)."""
    sigma = 5 * image.shape[-1] / 224
    blurred = gaussian_blur(image, 2 * round(2 * sigma) + 1, sigma)
    return lambda taken: torch.where(taken, blurred, image)


def _with_neighbours(image: Tensor, generator: torch.Generator) -> Fill:
    """Fill with the mean of the remaining pixels around."""
    return lambda taken: torch.where(taken, inpaint(image, ~taken), image)


def _with_noise(image: Tensor, generator: torch.Generator) -> Fill:
    """Fill every pixel and channel with a uniform draw from the range of the image's channel."""
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    noise = low + (high - low) * torch.rand(image.shape, generator=generator).to(image.device)
    return lambda taken: torch.where(taken, noise, image)


FILLS = {
    "mean": FillKind("mean colour", _with_mean),
    "blur": FillKind("blur", _with_blur),
    "neighbours": FillKind("neighbours", _with_neighbours),
    "noise": FillKind("noise", _with_noise, is_random=True),
}


def inpaint(image: Tensor, known: Tensor) -> Tensor:
    """Fill pixels with the mean of the known ones around, in the smallest of ever larger squares that holds some.

    This stands in for the linear system of neighbours that ROAD solves (Rong et al., *A Consistent and Efficient
    Evaluation Strategy for Attribution Methods*, ICML 2022). It brings in no colour that the image lacks, and it
    leaves hardly an outline.

    Args:
        image: Shape ``(P, K, H, W)``.
        known: True for the pixels that count, ``(P, 1, H, W)`` bool.

    Returns:
        The filled image; 0 where no pixel is known.

    Example:
        >>> inpaint(torch.tensor([[[[1.0, 9.0], [3.0, 9.0]]]]), torch.tensor([[[[True, False], [True, False]]]]))
        tensor([[[[1., 2.],
                  [3., 2.]]]])
    """
    return _pull_and_push(image * known, known.to(image.dtype))


def _pull_and_push(total: Tensor, weight: Tensor) -> Tensor:
    """Return the means ``total / weight``; where the weight is 0, take the means of squares twice as large."""
    mean = total / weight.clamp_min(1e-12)
    if total.shape[2:] == (1, 1):
        return mean
    coarse = _pull_and_push(*(F.avg_pool2d(values, 2, ceil_mode=True) for values in (total, weight)))
    coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")[..., : total.shape[2], : total.shape[3]]
    return torch.where(weight > 0, mean, coarse)


def deletion_and_insertion(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    maps: Tensor,
    label: Tensor,
    generator: torch.Generator,
    *,
    fill: str,
    steps: int = 20,
) -> tuple[Tensor, Tensor]:
    """Compute the areas under the deletion and insertion curves (Petsiuk et al., *RISE*, BMVC 2018).

    Deletion takes pixels away in ``steps`` equal parts, those where the map is highest first, and watches the
    class's probability. Insertion begins without any pixel and brings them back in the same order. Pixels of
    equal value go in random order.

    Args:
        predict: Returns the probabilities ``(P, C)`` of normalised images.
        image: The image of every pair, normalised, ``(P, 3, H, W)``.
        maps: Any scores of pixels, ``(P, 1, H, W)``.
        label: The class of every pair, ``(P,)``.
        generator: A generator on the CPU; it orders equal pixels, and draws the random part of the fill.
        fill: The values that removed pixels take, a key of ``FILLS``.
        steps: Number of parts.

    Returns:
        Deletion, which is low where the map names the pixels that the network needs, and insertion, which is
        high where the pixels that it names are enough. Each is the mean probability along the curve, ``(P,)``.

    Example:
        The network sees only the first pixel, and the map names it.

        >>> image = torch.zeros(1, 3, 4, 4)
        >>> image[:, :, 0, 0] = 1
        >>> areas = deletion_and_insertion(
        ...     lambda image: image[:, :1, 0, 0], image, image[:, :1], torch.tensor([0]), torch.Generator(),
        ...     fill="mean", steps=4,
        ... )
        >>> areas
        (tensor([0.1250]), tensor([0.8750]))
    """
    without = FILLS[fill].prepare(image, generator)
    flat = maps.flatten(1)
    shuffled = torch.rand(flat.shape, generator=generator).argsort(1).to(flat.device)
    order = shuffled.gather(1, flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
    # Rank 0 is the highest pixel.
    rank = order.argsort(1).view_as(maps)  # (P, 1, H, W)
    num_pixels = rank[0].numel()
    curves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(steps + 1):
        named = rank < round(num_pixels * step / steps)
        for curve, changed in zip(curves, (without(named), without(~named)), strict=True):
            curve.append(predict(changed).gather(1, label.unsqueeze(1)).squeeze(1))
    deletion, insertion = (torch.trapezoid(torch.stack(curve), dim=0) / steps for curve in curves)
    return deletion, insertion


def with_random_weights(module: M, *, part: nn.Module | None = None) -> M:
    """Return a copy with the weights of all layers, or of one ``part``, drawn anew.

    This is the sanity check of Adebayo et al. (*Sanity Checks*, NeurIPS 2018).

    Args:
        module: The module to copy; it stays as it is.
        part: A submodule of it; None takes all.

    Returns:
        The copy; its weights are drawn from torch's global generator.

    Example:
        >>> layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> new = with_random_weights(layers, part=layers[1])
        >>> torch.equal(new[0].weight, layers[0].weight), torch.equal(new[1].weight, layers[1].weight)
        (True, False)
    """
    inside = {name for name, layer in module.named_modules() if part is None or layer in set(part.modules())}
    new = copy.deepcopy(module)
    for name, layer in new.named_modules():
        if name in inside and hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return new


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Compute Spearman's rank correlation of maps, pixel against pixel.

    Args:
        first: Shape ``(P, 1, h, w)``.
        second: Same shape.

    Returns:
        Correlations in [-1, 1], ``(P,)``; nan where a map is the same everywhere.

    Example:
        >>> rank_correlation(torch.tensor([[[[1.0, 2, 3]]]]), torch.tensor([[[[3.0, 2, 1]]]]))
        tensor([-1.0000])
    """
    values = []
    for a, b in zip(first.flatten(1).float(), second.flatten(1).float(), strict=True):
        is_flat = a.min() == a.max() or b.min() == b.max()
        values.append(a.new_tensor(torch.nan) if is_flat else spearman_corrcoef(a, b))
    return torch.stack(values) if values else first.new_zeros(0)
