"""Class activation maps: Grad-CAM, Eq. 1 and 2 of Li et al., CVPR 2018, and the scores that maps explain."""

import torch
from torch import Tensor

from gain_lightning.attention.pairs import Pairs

# A vectorised backward pass holds this many gradients of the features.
RANKS_AT_ONCE = 4


def grad_cam(
    features: Tensor, logits: Tensor, pairs: Pairs, *, second_order: bool = False, signed: bool = False
) -> Tensor:
    """Grad-CAM of every pair, Eq. 1 and 2: ``A = ReLU(sum_k w_k f_k)``, ``w = GAP(ds/df)``.

    ``s`` is the logit of the pair's class. The gradient goes through the head only, in one backward pass
    vectorised over the first, second, ... label of each image (four at a time); no hook is set and no
    ``.grad`` is touched. The head must treat images independently (no BatchNorm in training mode).

    Args:
        features: Last convolutional features f, shape ``(N, K, h, w)``, in the graph of ``logits``.
        logits: ``head(features)``, shape ``(N, C)``.
        pairs: The pairs to explain.
        second_order: Keep the graph of w, so that a loss on the maps also reaches the head. The
            paper's "we do not update parameters after obtaining w" leaves this open.
        signed: Leave out Eq. 2's ReLU, so that evidence against the class is below 0.

    Returns:
        Maps before any scaling, shape ``(P, 1, h, w)``, float32 at least.

    Raises:
        RuntimeError: If ``features`` carries no graph (computed under ``no_grad``).

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> features = torch.tensor([[[[1.0, 2.0]], [[4.0, 0.0]]]], requires_grad=True)  # (1, 2, 1, 2)
        >>> logits = features.mean((2, 3)) @ torch.tensor([[2.0], [-1.0]])  # GAP and one linear unit
        >>> grad_cam(features, logits, label_pairs(torch.ones(1, 1))).squeeze()
        tensor([0., 2.], grad_fn=<SqueezeBackward0>)
    """
    if not features.requires_grad:
        raise RuntimeError(
            "grad_cam needs features that require grad; run the head under torch.enable_grad()"
        )
    dtype = torch.promote_types(features.dtype, torch.float32)
    if len(pairs.image) == 0:
        return features.new_zeros((0, 1, *features.shape[2:]), dtype=dtype)
    # Row r chooses the r-th label of each image.
    chosen = logits.new_zeros((pairs.num_ranks, *logits.shape))  # (R, N, C)
    chosen[pairs.rank, pairs.image, pairs.label] = 1
    weights = []
    for some in chosen.split(RANKS_AT_ONCE):
        (gradient,) = torch.autograd.grad(  # (R, N, K, h, w)
            logits, features, some, retain_graph=True, create_graph=second_order, is_grads_batched=True
        )
        weights.append(gradient.mean((3, 4)))
    weight = torch.cat(weights)[pairs.rank, pairs.image].to(dtype)  # (P, K)
    with torch.autocast(features.device.type, enabled=False):
        feature = features[pairs.image].to(dtype)  # (P, K, h, w)
        maps = torch.einsum("pk,pkhw->phw", weight, feature).unsqueeze(1)
        return maps if signed else maps.relu()


def input_x_gradient(
    image: Tensor, scores: Tensor, pairs: Pairs, *, second_order: bool = False, signed: bool = False
) -> Tensor:
    """Input times gradient of every pair: how much each pixel adds to the score, to first order.

    Source: Shrikumar et al., *Not Just a Black Box*, 2016; Rao et al. (ICCV 2023) guide it beside the last layer.
    A cell of the last layer sees much of the picture, so its place says little about the pixels that a score depends
    on. This map is made of the pixels themselves, at the price of a backward pass through the whole network, and of a
    second one for a loss on it.

    Args:
        image: Normalised images, in which 0 is the mean colour, shape ``(N, 3, H, W)``, in the graph of ``scores``.
        scores: The scores to explain, shape ``(N, C)``; those of an image depend on that image alone.
        pairs: The pairs to explain.
        second_order: Keep the graph, so that a loss on the maps reaches the network.
        signed: Keep what is below 0, where a pixel speaks against the class.

    Returns:
        Maps before any scaling, shape ``(P, 1, H, W)``.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> image = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]]], requires_grad=True)  # (1, 2, 1, 2)
        >>> scores = image.sum((2, 3)) @ torch.tensor([[2.0], [-1.0]])
        >>> input_x_gradient(image, scores, label_pairs(torch.ones(1, 1)), signed=True).detach()
        tensor([[[[-1., -4.]]]])
    """
    gradients = []
    for rank in range(pairs.num_ranks):
        of_rank = pairs.rank == rank
        total = scores[pairs.image[of_rank], pairs.label[of_rank]].sum()
        (gradient,) = torch.autograd.grad(total, image, retain_graph=True, create_graph=second_order)
        gradients.append(gradient)
    if not gradients:
        return image.new_zeros((0, 1, *image.shape[2:]))
    gradient = torch.stack(gradients)[pairs.rank, pairs.image]  # (P, 3, H, W)
    maps = (gradient * image[pairs.image]).sum(1, keepdim=True)
    return maps if signed else maps.relu()


def margins(logits: Tensor) -> Tensor:
    """Return each logit's lead over all others, ``s^c - log sum exp of the others``: the log-odds of a softmax.

    A softmax decides by differences, so evidence against the other classes counts as much as evidence for
    the class itself. A map of the margin shows evidence of both kinds, a map of the logit only the second.

    Args:
        logits: Shape ``(N, C)``, C at least 2.

    Returns:
        Shape ``(N, C)``.

    Example:
        >>> margins(torch.tensor([[3.0, 1.0]]))
        tensor([[ 2., -2.]])
    """
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    # Row c lacks its own logit.
    others = logits.unsqueeze(1).masked_fill(own, float("-inf"))  # (N, C, C)
    return logits - others.logsumexp(2)


# Every class activation map, by the name that ``model.map_method`` takes. A new one is a row here and a function
# that takes features, the scores to explain, pairs, ``second_order`` and ``signed``, and returns ``(P, 1, h, w)``.
CAMS = {"grad_cam": grad_cam}
