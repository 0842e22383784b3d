"""L_cl: the classification loss of each task."""

import torch.nn.functional as F
from torch import Tensor

from gain_lightning.losses.reduction import at_least_float32

TASKS = ("multi_label", "single_label", "regression")


def classification_loss(
    logits: Tensor, label: Tensor, *, task: str = "multi_label", reduction: str = "sum"
) -> Tensor:
    """L_cl: the paper's soft margin loss for many labels, cross-entropy for one, squared error for amounts.

    Args:
        logits: Shape ``(N, C)``.
        label: 1 where the class is present, else 0; in a ``regression`` its amount, in the unit of the logits.
            Shape ``(N, C)``.
        task: ``multi_label``, ``single_label`` or ``regression``.
        reduction: ``sum`` or ``mean`` over the classes of ``multi_label`` and ``regression``. Caffe's sigmoid
            cross-entropy loss sums, torch's ``multilabel_soft_margin_loss`` takes the mean; the paper does not
            say. L_am and L_e do not shrink with the number of classes, so beside a ``mean`` their weights have to.

    Returns:
        Scalar, the mean over images.

    Raises:
        ValueError: If ``task`` or ``reduction`` is unknown.

    Example:
        >>> import torch
        >>> classification_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor(1.3863)
        >>> classification_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), reduction="mean")
        tensor(0.6931)
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is {reduction!r}, expected 'sum' or 'mean'")
    logits = at_least_float32(logits)
    label = label.to(logits.dtype)
    if task == "multi_label":
        return F.multilabel_soft_margin_loss(logits, label) * (logits.shape[1] if reduction == "sum" else 1)
    if task == "single_label":
        # Each image has exactly one label.
        return F.cross_entropy(logits, label.argmax(1))
    if task == "regression":
        return F.mse_loss(logits, label) * (logits.shape[1] if reduction == "sum" else 1)
    raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")
