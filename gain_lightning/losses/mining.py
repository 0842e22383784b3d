"""L_am, Eq. 5 of Li et al., CVPR 2018: the scores that the classes still have on erased images."""

from torch import Tensor

from gain_lightning.attention import Pairs
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
