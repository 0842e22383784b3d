"""L_cl: the classification loss of each task, and weights of classes against imbalance."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gain_lightning.losses.reduction import at_least_float32

TASKS = ("multi_label", "single_label", "regression")


def classification_loss(
    logits: Tensor,
    label: Tensor,
    *,
    task: str = "multi_label",
    reduction: str = "sum",
    weights: Tensor | None = None,
) -> Tensor:
    """L_cl, the mean of :func:`classification_losses` over images; its arguments are the same.

    Example:
        >>> classification_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor(1.3863)
        >>> classification_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), reduction="mean")
        tensor(0.6931)
    """
    return classification_losses(logits, label, task=task, reduction=reduction, weights=weights).mean()


def classification_losses(
    logits: Tensor,
    label: Tensor,
    *,
    task: str = "multi_label",
    reduction: str = "sum",
    weights: Tensor | None = None,
) -> Tensor:
    """Each image's loss: the paper's soft margin for many labels, cross-entropy for one, squared error for amounts.

    Args:
        logits: Shape ``(N, C)``.
        label: 1 where the class is present, else 0; in a ``regression`` its amount, in the unit of the logits.
            Shape ``(N, C)``.
        task: ``multi_label``, ``single_label`` or ``regression``.
        reduction: ``sum`` or ``mean`` over the classes of ``multi_label`` and ``regression``. Caffe's sigmoid
            cross-entropy loss sums, torch's ``multilabel_soft_margin_loss`` takes the mean; the paper does not
            say. L_am and L_e do not shrink with the number of classes, so beside a ``mean`` their weights have to.
        weights: Weight of each class, ``(C,)``: an image of a ``single_label`` counts so often by its class; of the
            other tasks, a class's term counts so often where the class is present (torch's ``pos_weight``). The mean
            over a batch is over its images and not over their weights, so that an image counts the same beside any
            others. None weighs all alike.

    Returns:
        Shape ``(N,)``.

    Raises:
        ValueError: If ``task`` or ``reduction`` is unknown.

    Example:
        >>> classification_losses(torch.zeros(2, 2), torch.eye(2), weights=torch.tensor([3.0, 1.0]))
        tensor([2.7726, 1.3863])
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is {reduction!r}, expected 'sum' or 'mean'")
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")
    logits = at_least_float32(logits)
    label = label.to(logits.dtype)
    weights = None if weights is None else weights.to(logits.dtype)
    if task == "single_label":
        # Each image has exactly one label.
        return F.cross_entropy(logits, label.argmax(1), weight=weights, reduction="none")
    if task == "multi_label":
        presence = label if weights is None else label * weights
        losses = -(presence * F.logsigmoid(logits) + (1 - label) * F.logsigmoid(-logits))
    else:
        losses = F.mse_loss(logits, label, reduction="none")
        losses = losses if weights is None else losses * torch.where(label > 0, weights, 1)
    return losses.sum(1) if reduction == "sum" else losses.mean(1)


def balanced_class_weights(label: Tensor, *, task: str) -> Tensor:
    """Return the weights by which rare classes count as much as frequent ones.

    For a single label they are scikit-learn's ``balanced``, ``n / (C n_c)``, with the C classes that occur and the n_c
    images of a class; their mean over the images is 1. For many labels and amounts, ``(n - n_c) / n_c``: a class's
    presence then counts as much in all as its absence. A class that no image or every image shows has weight 1.

    Args:
        label: Labels or amounts of the n training images, ``(n, C)``.
        task: See :func:`classification_losses`.

    Returns:
        Weights, ``(C,)`` float32.

    Example:
        >>> balanced_class_weights(torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1]]), task="single_label")
        tensor([0.6667, 2.0000])
        >>> balanced_class_weights(torch.tensor([[1, 1], [0, 1], [0, 1], [0, 1]]), task="multi_label")
        tensor([3., 1.])
    """
    present = (label > 0).sum(0).double()
    if task == "single_label":
        weights, is_known = len(label) / ((present > 0).sum() * present), present > 0
    else:
        absent = len(label) - present
        weights, is_known = absent / present, (present > 0) & (absent > 0)
    return torch.where(is_known, weights, 1).float()
