"""The losses of S_am: L_am, Eq. 5 of Li et al., CVPR 2018, and partners that keep maps from growing too far.

L_am alone asks that a class be gone once its map is erased. A map that covers the whole image fulfils that too. Each
partner says where a map must stop, or what it must hold.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gain_lightning.attention import Pairs, margins
from gain_lightning.losses.reduction import at_least_float32, mean_per_image


def attention_mining_loss(
    erased_logits: Tensor, pairs: Pairs, *, score: str = "probability", task: str = "multi_label"
) -> Tensor:
    """L_am, Eq. 5: the score that each class still has once its own attention is erased.

    It is ``1/n sum_c s^c(I*^c)`` over the n classes of an image, then the mean over the batch's images.
    An image without a label adds 0.

    Args:
        erased_logits: The network's logits on each pair's erased image, shape ``(P, C)``.
        pairs: The P pairs.
        score: s^c, a ``probability`` or a ``logit``. A ``probability`` is the sigmoid; for a single label, the
            softmax's excess over chance, 1/C, because a softmax cannot say "none" and less than chance would
            mean another class; in a regression, the amount still seen. None of them falls below 0. A ``logit``
            is Eq. 5 to the letter and has no lower bound.
        task: ``multi_label``, ``single_label`` or ``regression``.

    Returns:
        Scalar.

    Raises:
        ValueError: If ``score`` is neither of the two.

    Example:
        >>> import torch
        >>> from gain_lightning.attention import label_pairs
        >>> attention_mining_loss(torch.tensor([[0.0, 9.0]]), label_pairs(torch.tensor([[1, 0]])))
        tensor(0.5000)
    """
    if score not in ("probability", "logit"):
        raise ValueError(f"score is {score!r}, expected 'probability' or 'logit'")
    scores = at_least_float32(erased_logits)
    if score == "probability":
        scores = remaining_score(scores, task)
    scores = scores.gather(1, pairs.label.unsqueeze(1)).squeeze(1)  # (P,)
    return mean_per_image(scores, pairs, pairs.num_images)


def remaining_score(logits: Tensor, task: str) -> Tensor:
    """Return the score that each class still has on an erased image, at least 0, ``(P, C)``."""
    if task == "single_label":
        return (logits.softmax(1) - 1 / logits.shape[1]).relu()
    return logits.relu() if task == "regression" else logits.sigmoid()


def kept_classes_loss(erased_logits: Tensor, label: Tensor, pairs: Pairs) -> Tensor:
    """Loss of the other labelled classes that an erased image still shows, so maps stay off their neighbours.

    On the image from which class c is erased, every other class of its label must still be found (Kweon et al.,
    *Unlocking the Potential of Ordinary Classifier*, ICCV 2021): ``sum_{k in label, k != c} log(1 + exp(-z^k))``, the
    soft margin loss of those classes, as a mean over an image's pairs and then over images.

    Args:
        erased_logits: Logits z of each pair's erased image, shape ``(P, C)``.
        label: 1 where the class is present, else 0, shape ``(N, C)``.
        pairs: The P pairs.

    Returns:
        Scalar; images of one class add 0.

    Example:
        >>> import torch
        >>> from gain_lightning.attention import label_pairs
        >>> label = torch.tensor([[1, 1]])
        >>> kept_classes_loss(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), label, label_pairs(label))
        tensor(0.6931)
    """
    logits = at_least_float32(erased_logits)
    others = (label[pairs.image] > 0).to(logits.dtype).scatter(1, pairs.label.unsqueeze(1), 0)  # (P, C)
    return mean_per_image((others * F.softplus(-logits)).sum(1), pairs, pairs.num_images)


def sufficiency_loss(kept_logits: Tensor, pairs: Pairs, *, task: str = "multi_label") -> Tensor:
    """Loss of the class of each pair on an image of its attended pixels alone, which must suffice for it.

    L_am asks whether the attended pixels are *necessary*; this asks whether they are *sufficient* (Fong and Vedaldi,
    *Interpretable Explanations of Black Boxes by Meaningful Perturbation*, ICCV 2017, preservation).

    Args:
        kept_logits: Logits of each pair's image of which only the attended pixels are left, shape ``(P, C)``.
        pairs: The P pairs.
        task: ``multi_label``, soft margin loss of the pair's class; or ``single_label``, cross-entropy.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> from gain_lightning.attention import label_pairs
        >>> sufficiency_loss(torch.tensor([[0.0, 9.0]]), label_pairs(torch.tensor([[1, 0]])))
        tensor(0.6931)
    """
    logits = at_least_float32(kept_logits)
    odds = margins(logits) if task == "single_label" else logits
    missing = F.softplus(-odds).gather(1, pairs.label.unsqueeze(1)).squeeze(1)  # (P,)
    return mean_per_image(missing, pairs, pairs.num_images)


def area_loss(mask: Tensor, pairs: Pairs, inside: Tensor | None = None) -> Tensor:
    """Share of its image that each soft mask covers: with a price on it a map grows only where it pays.

    Fong and Vedaldi (ICCV 2017) bound their masks so.

    Args:
        mask: ``soft_mask`` of every pair, shape ``(P, 1, H, W)``.
        pairs: The P pairs.
        inside: 1 where each image shows its picture, 0 in its border, ``(P, 1, H, W)``; None without borders.

    Returns:
        Scalar, 0 to 1: a mean over an image's pairs, then over images.

    Example:
        >>> import torch
        >>> from gain_lightning.attention import label_pairs
        >>> area_loss(torch.tensor([[[[0.0, 0.5]]]]), label_pairs(torch.ones(1, 1)))
        tensor(0.2500)
    """
    inside = torch.ones_like(mask) if inside is None else inside
    return mean_per_image((mask * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)), pairs, pairs.num_images)
