"""The losses of GAIN and GAIN_ext: Eq. 5 and 7 of Li et al., CVPR 2018, rivals of Eq. 7, and classification losses.

Pure functions on tensors. Axis letters: N images, P (image, class) pairs, C classes, H W image, h w map.
Each is a mean over images, so that a batch of N equals N batches of one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gain_lightning import VOID
from gain_lightning.attention import EPS, Pairs

TASKS = ("multi_label", "single_label", "regression")
SUPERVISION_LOSSES = ("l2", "l1", "energy", "rrr", "cross_entropy")
DARKEST = (
    1e-4  # a map below this costs cross_entropy no more: a ReLU has no gradient at 0, and log 0 is infinite
)


def classification_loss(
    logits: Tensor, label: Tensor, *, task: str = "multi_label", reduction: str = "sum"
) -> Tensor:
    """L_cl: multi-label soft margin loss as in the paper; cross-entropy for single labels, squared error of amounts.

    Args:
        logits: Shape ``(N, C)``.
        label: 1 where the class is present, else 0; or of ``regression`` its amount, in the unit of the logits;
            shape ``(N, C)``.
        task: ``multi_label``, ``single_label`` or ``regression``.
        reduction: Over the classes of ``multi_label`` and ``regression``: ``sum``, as Caffe's sigmoid cross-entropy
            loss, or ``mean``, as torch's ``multilabel_soft_margin_loss``. The paper does not say. L_am and L_e do not
            shrink with the number of classes, so beside a ``mean`` the weights that suit them do.

    Returns:
        Scalar, mean over images.

    Raises:
        ValueError: If ``task`` or ``reduction`` is unknown.

    Example:
        >>> classification_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor(1.3863)
        >>> classification_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), reduction="mean")
        tensor(0.6931)
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is {reduction!r}, expected 'sum' or 'mean'")
    logits = _at_least_float32(logits)
    label = label.to(logits.dtype)
    if task == "multi_label":
        return F.multilabel_soft_margin_loss(logits, label) * (logits.shape[1] if reduction == "sum" else 1)
    if task == "single_label":
        return F.cross_entropy(logits, label.argmax(1))  # exactly one label each
    if task == "regression":
        return F.mse_loss(logits, label) * (logits.shape[1] if reduction == "sum" else 1)
    raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")


def mean_per_image(
    values: Tensor, pairs: Pairs, num_images: Tensor | int, counts: Tensor | None = None
) -> Tensor:
    """``1/num_images sum_images 1/n sum_classes``: the average that Eq. 5 and 7 share.

    Args:
        values: One value a pair, shape ``(P,)``.
        pairs: The pairs they belong to; n counts an image's pairs among these.
        num_images: What to divide by; 0 gives 0.
        counts: Which pairs there are as far as this mean goes, ``(P,)`` bool; None takes all.

    Returns:
        Scalar, 0 without pairs, always in the graph of ``values``.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> mean_per_image(torch.tensor([1.0, 3.0, 4.0]), label_pairs(torch.tensor([[1, 1], [1, 0]])), 2)
        tensor(3.)
    """
    if counts is not None:
        values = torch.where(counts, values, 0)
    count = _num_pairs(pairs, counts)[pairs.image].clamp_min(1)  # (P,)
    divisor = (
        torch.where(num_images > 0, num_images, 1) if isinstance(num_images, Tensor) else max(num_images, 1)
    )
    return (values / count).sum() / divisor


def _num_pairs(pairs: Pairs, counts: Tensor | None = None) -> Tensor:
    """Of each image, ``(N,)``; bincount would wait for a GPU."""
    ones = torch.ones_like(pairs.image) if counts is None else counts.long()
    return pairs.image.new_zeros(pairs.num_images).index_add_(0, pairs.image, ones)


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
        >>> from gain_lightning.attention import label_pairs
        >>> attention_mining_loss(torch.tensor([[0.0, 9.0]]), label_pairs(torch.tensor([[1, 0]])))
        tensor(0.5000)
    """
    if score not in ("probability", "logit"):
        raise ValueError(f"score is {score!r}, expected 'probability' or 'logit'")
    scores = _at_least_float32(erased_logits)
    if score == "probability":
        scores = _left(scores, task)
    scores = scores.gather(1, pairs.label.unsqueeze(1)).squeeze(1)  # (P,)
    return mean_per_image(scores, pairs, pairs.num_images)


def _left(logits: Tensor, task: str) -> Tensor:
    """What an erased image still says of each class, at least 0."""
    if task == "single_label":
        return (logits.softmax(1) - 1 / logits.shape[1]).relu()
    return logits.relu() if task == "regression" else logits.sigmoid()


def attention_supervision_loss(
    maps: Tensor,
    mask: Tensor,
    pairs: Pairs,
    *,
    loss: str = "l2",
    reduction: str = "mean",
    num_images: Tensor | None = None,
) -> Tensor:
    """L_e, Eq. 7: squared distance of each attention map A^c from the mask H^c of its class; or a rival.

    Void pixels are left out. So is a pair whose mask shows no pixel of its class: an image's label
    says that the class is there, so such a mask cannot say where. n counts the pairs that remain, and
    the mean runs over the images that have one.

    Maps smaller than the mask are compared at their own size, with the mask averaged over each cell.

    ================= ========================== ==================================================================
    ``loss``          of a map A and its mask H  source
    ================= ========================== ==================================================================
    ``l2``            mean (A - H)^2             Eq. 7 of the paper
    ``l1``            mean abs(A - H)            Gao et al., *RES*, KDD 2022; Rao et al., ICCV 2023
    ``energy``        1 - sum(A H) / sum(A)      Rao et al., *Studying How to Efficiently and Effectively Guide
                                                 Models with Explanations*, ICCV 2023
    ``rrr``           mean (1 - H) A^2           Ross et al., *Right for the Right Reasons*, IJCAI 2017, who punish
                                                 input gradients; of maps, as Rao et al. adapt it
    ``cross_entropy`` -sum(H log A) / sum(H)     the per-pixel cross-entropy of Rao et al.
    ================= ========================== ==================================================================

    ``l2`` and ``l1`` want the whole object bright and the rest dark, ``energy`` and ``rrr`` only the rest dark,
    ``cross_entropy`` only the object bright. So masks may be boxes for ``energy`` and ``rrr`` without harm.

    Args:
        maps: Scaled maps in [0, 1], shape ``(P, 1, h, w)``.
        mask: 0 background, 1..C class, 255 void, shape ``(N, H, W)`` int64.
        pairs: The P pairs.
        loss: Which one.
        reduction: ``mean`` or ``sum`` over a map's pixels; the paper does not say. ``energy`` and
            ``cross_entropy`` bring their own.
        num_images: Divide the sum over images by this and not by the number of images here that have a
            supervised pair: where a batch is shared out among processes, their mean number.

    Returns:
        Scalar, exactly 0 (with a graph) if no image carries a mask.

    Raises:
        ValueError: If ``loss`` or ``reduction`` is unknown.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> maps, mask = torch.tensor([[[[0.5, 0.0, 1.0]]]]), torch.tensor([[[1, 0, 255]]])
        >>> attention_supervision_loss(maps, mask, label_pairs(torch.ones(1, 1)))
        tensor(0.1250)
        >>> attention_supervision_loss(maps, mask, label_pairs(torch.ones(1, 1)), loss="energy")
        tensor(0.)
    """
    if loss not in SUPERVISION_LOSSES:
        raise ValueError(f"loss is {loss!r}, expected one of {', '.join(SUPERVISION_LOSSES)}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}, expected 'mean' or 'sum'")
    pair_mask = mask[pairs.image].unsqueeze(1)  # (P, 1, H, W)
    target = (pair_mask == pairs.label.view(-1, 1, 1, 1) + 1).to(maps.dtype)
    valid = (pair_mask != VOID).to(maps.dtype)
    supervised = target.flatten(1).any(1)  # (P,)
    if maps.shape[2:] != mask.shape[1:]:
        valid_share = _pool(valid, maps.shape[2:])
        target = _pool(target, maps.shape[2:]) / valid_share.clamp_min(1e-6)
        valid = valid_share
    values = _map_losses(loss, maps, target, valid, reduction)
    if num_images is None:
        num_images = num_supervised(mask, pairs)
    return mean_per_image(values, pairs, num_images, supervised)


def _map_losses(loss: str, maps: Tensor, target: Tensor, valid: Tensor, reduction: str) -> Tensor:
    """The loss of every map, ``(P,)``; all else ``(P, 1, h, w)``."""

    def total(values: Tensor) -> Tensor:
        return (valid * values).flatten(1).sum(1)

    if loss == "energy":
        return 1 - total(maps * target) / total(maps).clamp_min(EPS)
    if loss == "cross_entropy":
        return -total(target * maps.clamp_min(DARKEST).log()) / total(target).clamp_min(EPS)
    errors = {
        "l2": (maps - target).square(),
        "l1": (maps - target).abs(),
        "rrr": (1 - target) * maps.square(),
    }
    error = total(errors[loss])
    return error / valid.flatten(1).sum(1).clamp_min(1e-6) if reduction == "mean" else error


def num_supervised(mask: Tensor, pairs: Pairs) -> Tensor:
    """How many images :func:`attention_supervision_loss` averages over: those whose mask shows a labelled class.

    Args:
        mask: Shape ``(N, H, W)``.
        pairs: The P pairs.

    Returns:
        Scalar int64.
    """
    shown = (mask[pairs.image] == pairs.label.view(-1, 1, 1) + 1).flatten(1).any(1)
    return (_num_pairs(pairs, shown) > 0).sum()


def _pool(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Average over each cell of a grid of ``size``; also of no pair at all."""
    return F.adaptive_avg_pool2d(values, size) if len(values) else values.new_zeros((0, 1, *size))


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
