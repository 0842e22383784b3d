"""Whether maps speak of the network or only look right: deletion, insertion, and random weights.

A map that was trained towards masks may imitate them without the decision following. Axis letters: P (image,
class) pairs, C classes, H W image, h w map.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional import spearman_corrcoef
from torchvision.transforms.functional import gaussian_blur

Fill = Callable[[Tensor], Tensor]  # pictures (P, 3, H, W) without the pixels taken (P, 1, H, W) bool


class FillKind(NamedTuple):
    """One way to take pixels away.

    Attributes:
        title: In words, at most 11 letters.
        prepare: From images ``(P, 3, H, W)`` and a generator of the CPU to the fill.
        is_random: Whether every draw is another.
    """

    title: str
    prepare: Callable[[Tensor, torch.Generator], Fill]
    is_random: bool = False


def _with_mean(image: Tensor, generator: torch.Generator) -> Fill:
    """0, the mean colour of normalised images, which Eq. 3 erases with."""
    return lambda taken: image * ~taken


def _with_blur(image: Tensor, generator: torch.Generator) -> Fill:
    """The same image, blurred with a deviation of 5 pixels in 224 (Petsiuk et al., 2018)."""
    sigma = 5 * image.shape[-1] / 224
    blurred = gaussian_blur(image, 2 * round(2 * sigma) + 1, sigma)
    return lambda taken: torch.where(taken, blurred, image)


def _with_neighbours(image: Tensor, generator: torch.Generator) -> Fill:
    """The mean of the pixels that are left around."""
    return lambda taken: torch.where(taken, inpaint(image, ~taken), image)


def _with_noise(image: Tensor, generator: torch.Generator) -> Fill:
    """Every pixel and channel drawn evenly from what the image's channel spans."""
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

    It stands for the linear system of neighbours that ROAD solves (Rong et al., *A Consistent and Efficient Evaluation
    Strategy for Attribution Methods*, ICML 2022): no colour that the image lacks, hardly an outline.

    Args:
        image: Shape ``(P, K, H, W)``.
        known: Which pixels count, ``(P, 1, H, W)`` bool.

    Returns:
        The filled image; 0 where no pixel is known.

    Example:
        >>> inpaint(torch.tensor([[[[1.0, 9.0], [3.0, 9.0]]]]), torch.tensor([[[[True, False], [True, False]]]]))
        tensor([[[[1., 2.],
                  [3., 2.]]]])
    """
    return _pull_and_push(image * known, known.to(image.dtype))


def _pull_and_push(total: Tensor, weight: Tensor) -> Tensor:
    """Means ``total / weight``; where there is no weight, those of squares twice as large."""
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
    """Areas under the deletion and insertion curves (Petsiuk et al., *RISE*, BMVC 2018).

    Deletion takes pixels away where the map is highest first, in ``steps`` equal parts, and watches the class's
    probability; insertion begins without any pixel and lets them come back. Pixels of equal value go in random order.

    Args:
        predict: Probabilities ``(P, C)`` of normalised images.
        image: The image of every pair, normalised, ``(P, 3, H, W)``.
        maps: Any scores of pixels, ``(P, 1, H, W)``.
        label: The class of every pair, ``(P,)``.
        generator: Of the CPU; orders equal pixels, and draws what is random in the fill.
        fill: What stands in place of pixels, a key of ``FILLS``.
        steps: Parts.

    Returns:
        Deletion, low where the map names what the network needs, and insertion, high where what it names is
        enough; each ``(P,)``, the mean probability along the curve.

    Example:
        >>> image = torch.zeros(1, 3, 4, 4)
        >>> image[:, :, 0, 0] = 1  # all that this network sees
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
    rank = order.argsort(1).view_as(maps)  # 0 for the highest
    num_pixels = rank[0].numel()
    curves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for step in range(steps + 1):
        named = rank < round(num_pixels * step / steps)
        for curve, changed in zip(curves, (without(named), without(~named)), strict=True):
            curve.append(predict(changed).gather(1, label.unsqueeze(1)).squeeze(1))
    deletion, insertion = (torch.trapezoid(torch.stack(curve), dim=0) / steps for curve in curves)
    return deletion, insertion


def with_random_weights(module: nn.Module, *, part: nn.Module | None = None) -> nn.Module:
    """A copy whose layers, or those of one ``part``, are as new (Adebayo et al., *Sanity Checks*, NeurIPS 2018).

    Args:
        module: Stays as it is.
        part: A submodule of it; None takes all.

    Returns:
        The copy; it draws from torch's global generator.

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
    """Spearman's rank correlation of maps, pixel against pixel.

    Args:
        first: Shape ``(P, 1, h, w)``.
        second: Same shape.

    Returns:
        In [-1, 1], ``(P,)``; nan where a map is the same everywhere.

    Example:
        >>> rank_correlation(torch.tensor([[[[1.0, 2, 3]]]]), torch.tensor([[[[3.0, 2, 1]]]]))
        tensor([-1.0000])
    """
    values = []
    for a, b in zip(first.flatten(1).float(), second.flatten(1).float(), strict=True):
        is_flat = a.min() == a.max() or b.min() == b.max()
        values.append(a.new_tensor(torch.nan) if is_flat else spearman_corrcoef(a, b))
    return torch.stack(values) if values else first.new_zeros(0)
