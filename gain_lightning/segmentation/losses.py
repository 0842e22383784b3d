"""The losses of SEC: seed, expand and constrain (Kolesnikov & Lampert, *Seed, Expand and Constrain*, ECCV 2016).

Pure functions on tensors. Axis letters: N images, C classes without the background, h w score map. Channel 0 of
every score map is the background, channel c + 1 the class c, so maps have 1 + C channels.
"""

import torch
from torch import Tensor

from gain_lightning.constants import VOID

# The floor of a probability before the CRF at full size, as in SEC.
TEST_FLOOR = 1e-5
# The floor of a probability before its logarithm is taken.
PROBABILITY_FLOOR = 1e-4
# The decays of global weighted rank pooling: 1 gives the mean, 0 the maximum.
DECAY_PRESENT = 0.996
DECAY_BACKGROUND = 0.999
# In constrain_loss the ratio of the CRF's to the network's probability lies between the inverse of this and this.
RATIO_BOUND = 20.0


def log_probabilities(scores: Tensor, *, floor: float = PROBABILITY_FLOOR) -> Tensor:
    """Return the logarithm of a softmax over channels, which has a floor and is normalised again.

    Args:
        scores: Scores, shape ``(N, 1 + C, h, w)``.
        floor: Number that is added to every probability.

    Returns:
        Logarithms of the same shape, float32 at least; none is below ``log(floor)`` by more than the normalisation.

    Example:
        >>> log_probabilities(torch.tensor([0.0, 900.0]).view(1, 2, 1, 1)).exp().flatten()
        tensor([9.9980e-05, 9.9990e-01])
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    probability = scores.softmax(1) + floor
    return (probability / probability.sum(1, keepdim=True)).log()


def seeding_loss(log_probs: Tensor, cues: Tensor) -> Tensor:
    """L_seed: the cues' classes should be likely where the cues are.

    ``-mean over images of (sum of log p at its cues / their number)``.

    Args:
        log_probs: Output of :func:`log_probabilities`, shape ``(N, 1 + C, h, w)``.
        cues: Cues, shape ``(N, h, w)`` int64: 0 background, 1..C classes, 255 no cue.

    Returns:
        Scalar; an image without cues adds 0 to the mean.

    Raises:
        ValueError: If the sizes differ, or a cue names an unknown class.

    Example:
        >>> log_probs = torch.tensor([0.25, 0.75]).log().view(1, 2, 1, 1).expand(1, 2, 1, 2)
        >>> seeding_loss(log_probs, torch.tensor([[[1, 255]]]))
        tensor(0.2877)
    """
    if log_probs.shape[2:] != cues.shape[1:] or len(log_probs) != len(cues):
        raise ValueError(
            f"cues are {tuple(cues.shape)}, expected (N, h, w) of scores {tuple(log_probs.shape)}"
        )
    is_cue = cues != VOID
    highest = int(cues[is_cue].max()) if is_cue.any() else 0
    if highest >= log_probs.shape[1]:
        raise ValueError(f"a cue is of class {highest}, expected at most {log_probs.shape[1] - 1}")
    chosen = log_probs.gather(1, torch.where(is_cue, cues, 0).unsqueeze(1)).squeeze(1)  # (N, h, w)
    total, count = (chosen * is_cue).flatten(1).sum(1), is_cue.flatten(1).sum(1)
    return -(total / count.clamp_min(1)).mean()


def rank_pool(probability: Tensor, decay: float) -> Tensor:
    """Pool a map by global weighted rank pooling, a mean in which the j-th highest value weighs ``decay ** j``.

    Args:
        probability: Probabilities, shape ``(..., h, w)``.
        decay: 1 gives the mean, 0 the maximum.

    Returns:
        Shape ``(...)``.

    Example:
        >>> rank_pool(torch.tensor([[[0.0, 1.0]]]), 0.5)
        tensor([0.6667])
    """
    falling = probability.flatten(-2).sort(dim=-1, descending=True).values
    weight = decay ** torch.arange(falling.shape[-1], dtype=falling.dtype, device=falling.device)
    return falling @ weight / weight.sum()


def expansion_loss(
    log_probs: Tensor,
    label: Tensor,
    *,
    decay_present: float = DECAY_PRESENT,
    decay_background: float = DECAY_BACKGROUND,
) -> Tensor:
    """L_expand: classes of the label should fill a part of the image, and other classes should be nowhere.

    For every image, with G the rank pooling: the mean of ``-log G`` over present classes, the mean of
    ``-log(1 - max p)`` over absent ones, and ``-log G`` of the background; then the mean over images.

    Args:
        log_probs: Output of :func:`log_probabilities`, shape ``(N, 1 + C, h, w)``.
        label: 1 where a class is present, else 0, shape ``(N, C)``.
        decay_present: Decay of the pooling for present classes.
        decay_background: Decay of the pooling for the background.

    Returns:
        Scalar; an image's part for present or for absent classes is 0 where it has none.

    Raises:
        ValueError: If the label has another number of images or classes.
    """
    if label.shape != (len(log_probs), log_probs.shape[1] - 1):
        expected = (len(log_probs), log_probs.shape[1] - 1)
        raise ValueError(
            f"label is {tuple(label.shape)}, expected {expected} of scores {tuple(log_probs.shape)}"
        )
    probability = log_probs.exp()
    present = label > 0
    filled = -rank_pool(probability[:, 1:], decay_present).log()  # (N, C)
    nowhere = -torch.log1p(-probability[:, 1:].flatten(2).amax(2))  # (N, C)
    background = -rank_pool(probability[:, 0], decay_background).log()  # (N,)
    return (_mean_where(filled, present) + _mean_where(nowhere, ~present) + background).mean()


def constrain_loss(log_probs: Tensor, crf_probs: Tensor) -> Tensor:
    """L_constrain: the network should agree with what a dense CRF makes of its own scores.

    The loss is ``mean over images and pixels of sum_c q log(q / p)``, where p is the network's probability and q the
    CRF's, which is taken as constant. The ratios q / p are held between 1/20 and 20, as in SEC's code.

    Args:
        log_probs: Output of :func:`log_probabilities`, shape ``(N, 1 + C, h, w)``.
        crf_probs: The CRF's probabilities, of the same shape.

    Returns:
        Scalar, 0 where both agree.

    Raises:
        ValueError: If the shapes differ.
    """
    if log_probs.shape != crf_probs.shape:
        raise ValueError(f"crf_probs is {tuple(crf_probs.shape)}, expected {tuple(log_probs.shape)}")
    crf_probs = crf_probs.detach()
    ratio = (crf_probs / log_probs.exp()).clamp(1 / RATIO_BOUND, RATIO_BOUND)
    return (crf_probs * ratio.log()).sum(1).mean()


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of each row's chosen values, ``(N,)``; 0 where none is chosen."""
    return (values * chosen).sum(1) / chosen.sum(1).clamp_min(1)
