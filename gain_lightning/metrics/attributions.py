"""Attributions of pixels that no loss has trained: occlusion, input gradients, integrated gradients.

All ask what the score of a class owes to each pixel: what it loses without it, what its slope at the image says, and
what the slope says along the way from the mean colour, which is 0 in normalised images. On a linear score the slopes
agree, and occlusion by the mean colour sums them over its windows. Axis letters: P (image, class) pairs, C classes,
H W image.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gain_lightning.attention import input_x_gradient, label_pairs
from gain_lightning.metrics.faithfulness import FILLS

# Takes normalised images, (N, 3, H, W), and returns the scores of their classes, (N, C).
ScoreFunction = Callable[[Tensor], Tensor]

# Windows that take pixels away are an eighth of a side long.
WINDOWS = 8
# A batch holds this many windows of every pair.
_AT_ONCE = 8
# The way from the mean colour to the image has this many steps.
_STEPS = 20


class Attribution(NamedTuple):
    """One way to ask what a score owes to pixels.

    Attributes:
        title: Its name in words, at most 20 letters.
        attribute: Takes a score function, the image ``(P, 3, H, W)`` and the class ``(P,)`` of every pair, and returns
            evidence for the class, positive or negative, ``(P, 1, H, W)``.
    """

    title: str
    attribute: Callable[[ScoreFunction, Tensor, Tensor], Tensor]


@torch.no_grad()
def occlusion(
    score: ScoreFunction, image: Tensor, label: Tensor, *, fills: Sequence[str] = ("mean", "neighbours")
) -> Tensor:
    """Return how far a score falls when a window is painted over (Zeiler and Fergus, ECCV 2014), as a mean over fills.

    The windows lie side by side, and no gradient is used. The mean colour shows what a large even ground gives, which
    its own surroundings would paint again. The surroundings are no colour that L_am has trained the network with.

    Args:
        score: Returns the scores ``(N, C)`` of normalised images.
        image: The image of every pair, normalised, ``(P, 3, H, W)``.
        label: The class of every pair, ``(P,)``.
        fills: What windows are painted with, keys of :data:`~gain_lightning.metrics.faithfulness.FILLS` without draws.

    Returns:
        Evidence, the same for all pixels of a window, ``(P, 1, H, W)``.

    Example:
        The score is the sum of all pixels, and a window is a pixel here.

        >>> image = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 3, 1, 4) / 3
        >>> total = lambda image: image.sum((1, 2, 3)).unsqueeze(1)
        >>> occlusion(total, image, torch.tensor([0]), fills=["mean"]).squeeze()
        tensor([0., 1., 2., 3.])
    """
    from captum.attr import Occlusion

    rows, columns = (-(-side // WINDOWS) for side in image.shape[2:])
    window = (image.shape[1], rows, columns)
    found = [
        Occlusion(score).attribute(
            image,
            sliding_window_shapes=window,
            strides=window,
            baselines=_painted(image, (rows, columns), fill),
            target=label,
            perturbations_per_eval=_AT_ONCE,
        )
        for fill in fills
    ]
    # A window covers all colours, so each of them has the same value.
    return torch.stack(found).mean(0)[:, :1]


def _painted(image: Tensor, window: tuple[int, int], fill: str) -> Tensor:
    """Return images in which every window is painted as if it alone were taken away, ``(P, 3, H, W)``."""
    without = FILLS[fill].prepare(image, torch.Generator())
    painted, (height, width) = torch.zeros_like(image), image.shape[2:]
    for top, left in itertools.product(range(0, height, window[0]), range(0, width, window[1])):
        taken = image.new_zeros((len(image), 1, height, width), dtype=torch.bool)
        taken[:, :, top : top + window[0], left : left + window[1]] = True
        painted = torch.where(taken, without(taken), painted)
    return painted


@torch.enable_grad()
def input_gradient(score: ScoreFunction, image: Tensor, label: Tensor) -> Tensor:
    """Return the gradient of a score times the image, see :func:`gain_lightning.attention.input_x_gradient`.

    Args:
        score: Returns the scores ``(N, C)`` of normalised images.
        image: The image of every pair, normalised, ``(P, 3, H, W)``.
        label: The class of every pair, ``(P,)``.

    Returns:
        Evidence, ``(P, 1, H, W)``.

    Example:
        >>> image = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
        >>> input_gradient(lambda image: image.square().sum((1, 2, 3)).unsqueeze(1), image, torch.tensor([0])).squeeze()
        tensor([ 6., 24.])
    """
    image = image.detach().clone().requires_grad_()
    scores = score(image)
    pairs = label_pairs(F.one_hot(label, scores.shape[1]))
    return input_x_gradient(image, scores, pairs, signed=True).detach()


@torch.enable_grad()
def integrated_gradients(score: ScoreFunction, image: Tensor, label: Tensor) -> Tensor:
    """Return the image times the mean gradient on the way to it from the mean colour (Sundararajan et al., ICML 2017).

    The values of an image sum to its score less that of a picture in the mean colour, up to the error of twenty steps.

    Args:
        score: Returns the scores ``(N, C)`` of normalised images.
        image: The image of every pair, normalised, ``(P, 3, H, W)``.
        label: The class of every pair, ``(P,)``.

    Returns:
        Evidence, ``(P, 1, H, W)``.

    Example:
        >>> image = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
        >>> integrated_gradients(
        ...     lambda image: image.square().sum((1, 2, 3)).unsqueeze(1), image, torch.tensor([0])
        ... ).squeeze().round(decimals=3)
        tensor([ 3., 12.])
    """
    from captum.attr import IntegratedGradients

    found: Tensor = IntegratedGradients(score).attribute(
        image.detach(), target=label, n_steps=_STEPS, internal_batch_size=_AT_ONCE * len(image)
    )
    return found.detach().sum(1, keepdim=True)


# Every attribution, by the key that it has in files. A new one is a row here and a function.
ATTRIBUTIONS = {
    "occlusion": Attribution("occlusion", occlusion),
    "gradient": Attribution("input gradient", input_gradient),
    "integrated": Attribution("integrated gradients", integrated_gradients),
}
