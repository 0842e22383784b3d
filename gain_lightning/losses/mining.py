"""L_am, Eq. 5 of Li et al., CVPR 2018: what an erased image still shows."""

from torch import Tensor

from gain_lightning.attention import Pairs
from gain_lightning.losses.reduction import at_least_float32, mean_per_image


def attention_mining_loss(
    erased_logits: Tensor, pairs: Pairs, *, score: str = "probability", task: str = "multi_label"
) -> Tensor:
    """L_am, Eq. 5: what is left of each class once its own attention is erased.

    ``1/n sum_c s^c(I*^c)`` over the n classes of an image, then the mean over the batch's images;
    an image without a label adds 0.

    Args:
        erased_logits: The network's logits on each pair's erased image, shape ``(P, C)``.
        pairs: The P pairs.
        score: s^c as a ``probability`` (sigmoid; or, single-label, what a softmax says above chance, 1/C: it
            cannot say "none", so asking for less would be asking for another class; or, regression, the amount
            that is still seen; all are bounded below by 0) or as a ``logit`` (Eq. 5 to the letter; without a
            lower bound).
        task: ``multi_label``, ``single_label`` or ``regression``.

    Returns:
        Scalar.

    Raises:
        ValueError: If ``score`` is neither.

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
        scores = _left(scores, task)
    scores = scores.gather(1, pairs.label.unsqueeze(1)).squeeze(1)  # (P,)
    return mean_per_image(scores, pairs, pairs.num_images)


def _left(logits: Tensor, task: str) -> Tensor:
    """What an erased image still says of each class, at least 0."""
    if task == "single_label":
        return (logits.softmax(1) - 1 / logits.shape[1]).relu()
    return logits.relu() if task == "regression" else logits.sigmoid()
