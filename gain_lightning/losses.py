"""The losses of GAIN and GAIN_ext: Eq. 5 and 7 of Li et al., CVPR 2018, rivals of Eq. 7, and classification losses.

Pure functions on tensors. Axis letters: N images, P (image, class) pairs, C classes, H W image, h w map.
Each is a mean over all images of its batch, so that a batch of N equals N batches of one, on one device or several
and whatever number of batches an optimizer step adds up.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gain_lightning import VOID
from gain_lightning.attention import EPS, Cells, Pairs, pool_to_cells

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


def mean_per_image(values: Tensor, pairs: Pairs, num_images: int, included: Tensor | None = None) -> Tensor:
    """``1/num_images sum_images 1/n sum_classes``: the average that Eq. 5 and 7 share.

    Args:
        values: One value a pair, shape ``(P,)``.
        pairs: The pairs they belong to; n counts an image's pairs among these.
        num_images: What to divide by; 0 gives 0.
        included: Pairs that enter the mean, ``(P,)`` bool; None takes all.

    Returns:
        Scalar, 0 without pairs, always in the graph of ``values``.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> mean_per_image(torch.tensor([1.0, 3.0, 4.0]), label_pairs(torch.tensor([[1, 1], [1, 0]])), 2)
        tensor(3.)
    """
    ones = torch.ones_like(pairs.image)
    if included is not None:
        values, ones = torch.where(included, values, 0), included.long()
    # bincount would wait for a GPU
    count = pairs.image.new_zeros(pairs.num_images).index_add_(0, pairs.image, ones)  # (N,)
    return (values / count[pairs.image].clamp_min(1)).sum() / max(num_images, 1)


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
    cells: Cells | None = None,
) -> Tensor:
    """L_e, Eq. 7: squared distance of each attention map A^c from the mask H^c of its class; or a rival.

    Unknown pixels are left out. So is a pair of whose mask nothing is known; n counts the pairs that remain. The mean
    runs over all images, and an image of which nothing is known adds 0. A mask may say only where its class is not
    (0 there, 255 elsewhere), as people mark what a network shall not look at.

    Maps of cells are compared at their own size, with the mask averaged over each cell.

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
    ``cross_entropy`` only the object bright, so that it learns nothing of a mask that only says where a class is not.
    Of such a mask ``energy`` takes the unknown pixels for the object: no others can be.

    Args:
        maps: Scaled maps in [0, 1], shape ``(P, 1, h, w)``.
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(P, H, W)``.
        pairs: The P pairs.
        loss: Which one.
        reduction: ``mean`` or ``sum`` over a map's pixels; the paper does not say. ``energy`` and
            ``cross_entropy`` bring their own.
        cells: Where the cells of maps that are smaller than the mask lie in the image.

    Returns:
        Scalar, exactly 0 (with a graph) if no image carries a mask.

    Raises:
        ValueError: If ``loss`` or ``reduction`` is unknown, or maps are smaller than the mask and have no cells.

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
    mask = mask.unsqueeze(1)  # (P, 1, H, W)
    target, valid = (mask == 1).to(maps.dtype), (mask != VOID).to(maps.dtype)
    supervised = valid.flatten(1).any(1)  # (P,)
    if loss == "energy":
        valid = torch.where(target.flatten(1).any(1).view(-1, 1, 1, 1), valid, 1)
        target = torch.where(mask == VOID, 1, target)  # counts where valid says so
    if maps.shape[2:] != mask.shape[2:]:
        if cells is None:
            raise ValueError(
                f"maps are {tuple(maps.shape)} and masks {tuple(mask.shape)}, expected equal sizes or cells"
            )
        valid_share = pool_to_cells(valid, maps.shape[2:], cells)
        target = pool_to_cells(target * valid, maps.shape[2:], cells) / valid_share.clamp_min(1e-6)
        valid = valid_share
    values = _map_losses(loss, maps, target, valid, reduction)
    return mean_per_image(values, pairs, pairs.num_images, supervised)


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


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
