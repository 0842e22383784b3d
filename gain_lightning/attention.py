"""Attention maps, soft masks and erased images: Eq. 1-4 of Li et al., CVPR 2018 (arXiv 1802.10171).

Pure functions on tensors. Axis letters: N images, P (image, class) pairs, C classes, K channels,
H W image, h w map.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gain_lightning import VOID

EPS = 1e-8  # below this a map counts as all zero
RANKS_AT_ONCE = 4  # a vectorised backward pass holds this many gradients of the features


class Pairs(NamedTuple):
    """Every (image, class present) of a batch, ordered by image, then by class.

    Attributes:
        image: Index of the image, ``(P,)`` int64.
        label: Index of the class, ``(P,)`` int64.
        rank: 0 for the first label of an image, 1 for its second, ..., ``(P,)`` int64.
        num_images: N, images without a label included.
        num_ranks: The largest number of labels of one image.
    """

    image: Tensor
    label: Tensor
    rank: Tensor
    num_images: int
    num_ranks: int

    def none(self) -> "Pairs":
        """As many images, without a pair."""
        return Pairs(self.image[:0], self.label[:0], self.rank[:0], self.num_images, 0)

    def followed_by(self, other: "Pairs") -> "Pairs":
        """The pairs of two batches as of one, ``other`` behind."""
        return Pairs(
            torch.cat([self.image, other.image + self.num_images]),
            torch.cat([self.label, other.label]),
            torch.cat([self.rank, other.rank]),
            self.num_images + other.num_images,
            max(self.num_ranks, other.num_ranks),
        )


def label_pairs(label: Tensor) -> Pairs:
    """List the (image, class) pairs of a batch of labels.

    How many there are is known only when it is done, so on a GPU this waits for the device. A training lists
    them on the CPU, before a batch is moved.

    Args:
        label: 1 where the class is present, else 0, shape ``(N, C)``.

    Returns:
        The P pairs.

    Example:
        >>> pairs = label_pairs(torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]]))
        >>> pairs.image.tolist(), pairs.label.tolist(), pairs.rank.tolist()
        ([0, 0, 2], [0, 2, 1], [0, 1, 0])
    """
    present = label > 0
    image, class_idx = present.nonzero(as_tuple=True)
    rank = present.cumsum(1)[image, class_idx] - 1
    return Pairs(image, class_idx, rank, len(label), int(rank.max()) + 1 if len(rank) else 0)


def pair_masks(mask: Tensor, mask_image: Tensor, mask_class: Tensor, pairs: Pairs) -> Tensor:
    """The mask of every pair, from the masks of a batch; unknown throughout where nobody drew one.

    Args:
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(M, H, W)``.
        mask_image: Index of the image that each mask is of, ``(M,)``.
        mask_class: Index of its class, ``(M,)``.
        pairs: The P pairs.

    Returns:
        Shape ``(P, H, W)``, dtype of ``mask``.

    Example:
        >>> pairs = label_pairs(torch.tensor([[1, 0], [1, 1]]))
        >>> mask = torch.tensor([[[0, 1]]], dtype=torch.uint8)  # of image 1, class 1
        >>> pair_masks(mask, torch.tensor([1]), torch.tensor([1]), pairs).flatten(1).tolist()
        [[255, 255], [255, 255], [0, 1]]
    """
    if not len(mask):
        return mask.new_full((len(pairs.image), *mask.shape[1:]), VOID)
    fits = (pairs.image.unsqueeze(1) == mask_image) & (pairs.label.unsqueeze(1) == mask_class)  # (P, M)
    return torch.where(fits.any(1).view(-1, 1, 1), mask[fits.int().argmax(1)], VOID)


def sample_labels(label: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Keep ``most`` random labels of each image that has more.

    Eq. 5 is a mean over an image's classes, so its mean over a random few has the same expectation.

    Args:
        label: 1 where the class is present, else 0, shape ``(N, C)``.
        most: Labels an image keeps, at least 1.
        generator: Of the CPU; draws the labels.

    Returns:
        Same shape, at most ``most`` ones a row.

    Example:
        >>> label = torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0]])
        >>> sample_labels(label, 2, torch.Generator().manual_seed(0)).sum(1).tolist()
        [2, 1]
    """
    draw = torch.rand(label.shape, generator=generator).to(label.device)
    order = torch.where(label > 0, draw, 2.0).argsort(1).argsort(1)  # the present ones in random order, first
    return torch.where(order < most, label, 0)


def grad_cam(features: Tensor, logits: Tensor, pairs: Pairs, *, second_order: bool = False) -> Tensor:
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

    Returns:
        Maps before any scaling, shape ``(P, 1, h, w)``, float32 at least.

    Raises:
        RuntimeError: If ``features`` carries no graph (computed under ``no_grad``).

    Example:
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
    chosen = logits.new_zeros((pairs.num_ranks, *logits.shape))  # row r: the r-th label of each image
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
        return torch.einsum("pk,pkhw->phw", weight, feature).relu().unsqueeze(1)


def margins(logits: Tensor) -> Tensor:
    """Each logit's lead over all others, ``s^c - log sum exp of the others``: the log-odds of a softmax.

    A softmax decides by differences, so evidence against the other classes counts as much as evidence for
    one's own; a map of the logit alone does not show it, a map of the margin does.

    Args:
        logits: Shape ``(N, C)``, C at least 2.

    Returns:
        Shape ``(N, C)``.

    Example:
        >>> margins(torch.tensor([[3.0, 1.0]]))
        tensor([[ 2., -2.]])
    """
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    others = logits.unsqueeze(1).masked_fill(own, float("-inf"))  # (N, C, C): row c without its own logit
    return logits - others.logsumexp(2)


def scale_maps(maps: Tensor, scaling: str = "max") -> Tensor:
    """Bring every map to [0, 1] on its own, never over the batch; an all-zero map stays zero.

    The gradient passes through the extremes, so a loss on scaled maps does not depend on strength.

    Args:
        maps: Non-negative maps, shape ``(P, 1, h, w)``.
        scaling: ``max`` (divide by the maximum), ``minmax`` (subtract the minimum first) or ``none``.

    Returns:
        Scaled maps, same shape.

    Raises:
        ValueError: If ``scaling`` is none of the three.

    Example:
        >>> scale_maps(torch.tensor([[[[1.0, 2.0, 4.0]]]]), "max")
        tensor([[[[0.2500, 0.5000, 1.0000]]]])
    """
    if scaling == "none":
        return maps
    if scaling == "minmax":
        maps = maps - maps.amin((2, 3), keepdim=True)
    elif scaling != "max":
        raise ValueError(f"scaling is {scaling!r}, expected 'max', 'minmax' or 'none'")
    return maps / maps.amax((2, 3), keepdim=True).clamp_min(EPS)


class Cells(NamedTuple):
    """Where the cells of a map lie in a picture: cell (i, j) is centred at ``(top + step_y i, left + step_x j)``.

    In pixels of the picture, whose first pixel is centred at 0. Cells of 2 x 2 pools (VGG) are centred between pixels,
    those of strided 3 x 3 convolutions with symmetric padding (ResNet) on the first pixel.

    Attributes:
        top, left: Centre of the first cell.
        step_y, step_x: Distance of two cells.
    """

    top: float
    left: float
    step_y: float
    step_x: float

    def relative_to(self, grid: "Cells") -> "Cells":
        """The same cells in units of another grid: its cell (0, 0) is then the first pixel.

        Example:
            >>> Cells(7.5, 7.5, 16, 16).relative_to(even_cells((2, 2), (8, 8)))  # cells of 4 pixels, centred at 1.5
            Cells(top=1.5, left=1.5, step_y=4.0, step_x=4.0)
        """
        return Cells(
            (self.top - grid.top) / grid.step_y,
            (self.left - grid.left) / grid.step_x,
            self.step_y / grid.step_y,
            self.step_x / grid.step_x,
        )


def even_cells(grid: tuple[int, int], size: tuple[int, int]) -> Cells:
    """The cells of a picture that is cut into ``grid`` = (h, w) equal parts, as pictures are resized.

    Args:
        grid: Rows and columns.
        size: Height and width of the picture, pixels.

    Example:
        >>> even_cells((14, 7), (224, 224))
        Cells(top=7.5, left=15.5, step_y=16.0, step_x=32.0)
    """
    (rows, columns), (height, width) = grid, size
    step_y, step_x = height / rows, width / columns
    return Cells((step_y - 1) / 2, (step_x - 1) / 2, step_y, step_x)


def place_maps(maps: Tensor, size: tuple[int, int], cells: Cells) -> Tensor:
    """Draw maps of cells at the size of their picture, each cell where it was computed, bilinear between centres.

    Beyond the outermost centres the outermost cells go on.

    Args:
        maps: Shape ``(P, C, h, w)``.
        size: H and W of the picture, pixels.
        cells: Where the cells lie in it, as :meth:`gain_lightning.backbones.Backbone.cells` says.

    Returns:
        Shape ``(P, C, H, W)``.

    Example:
        >>> place_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4), Cells(0, 0, 1, 2))  # cells on pixels 0 and 2
        tensor([[[[0.0000, 0.5000, 1.0000, 1.0000]]]])
        >>> place_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4), even_cells((1, 2), (1, 4)))
        tensor([[[[0.0000, 0.2500, 0.7500, 1.0000]]]])
    """
    rows = _interpolation(maps.shape[2], size[0], cells.top, cells.step_y, maps.dtype, maps.device)
    columns = _interpolation(maps.shape[3], size[1], cells.left, cells.step_x, maps.dtype, maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps @ columns.T


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # what is kept serves training too
def _interpolation(
    num_cells: int, num_pixels: int, start: float, step: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """What each pixel takes of each cell along one axis, ``(num_pixels, num_cells)``."""
    place = ((torch.arange(num_pixels, dtype=torch.float64) - start) / step).clamp(0, num_cells - 1)
    distance = (place.unsqueeze(1) - torch.arange(num_cells, dtype=torch.float64)).abs()
    return (1 - distance).clamp_min(0).to(device, dtype)


def pool_to_cells(values: Tensor, grid: tuple[int, int], cells: Cells) -> Tensor:
    """Average pixels over cells: what :func:`place_maps` spreads out, each cell from half a step before its centre on.

    Args:
        values: Shape ``(P, C, H, W)``.
        grid: Rows and columns of the cells, (h, w).
        cells: Where they lie. Of a cell that reaches beyond the picture the part inside counts, and of one that lies
            outside the nearest pixel.

    Returns:
        Shape ``(P, C, h, w)``.

    Example:
        >>> pool_to_cells(torch.tensor([[[[0.0, 1.0, 2.0, 4.0]]]]), (1, 2), even_cells((1, 2), (1, 4)))
        tensor([[[[0.5000, 3.0000]]]])
    """
    rows = _coverage(grid[0], values.shape[2], cells.top, cells.step_y, values.dtype, values.device)
    columns = _coverage(grid[1], values.shape[3], cells.left, cells.step_x, values.dtype, values.device)
    with torch.autocast(values.device.type, enabled=False):
        return rows @ values @ columns.T


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # what is kept serves training too
def _coverage(
    num_cells: int, num_pixels: int, start: float, step: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Share of each pixel in each cell along one axis, ``(num_cells, num_pixels)``; rows sum to 1."""
    centre = start + step * torch.arange(num_cells, dtype=torch.float64).unsqueeze(1)
    pixel = torch.arange(num_pixels, dtype=torch.float64)
    half = abs(step) / 2  # of a map that is mirrored
    low = torch.maximum(centre - half, pixel - 0.5)
    inside = (torch.minimum(centre + half, pixel + 0.5) - low).clamp_min(0)
    nearest = (pixel - centre).abs()
    nearest = (nearest == nearest.amin(1, keepdim=True)).double()
    share = torch.where(inside.sum(1, keepdim=True) > 1e-9, inside, nearest)
    return (share / share.sum(1, keepdim=True)).to(device, dtype)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps that lie pixel for pixel on a picture, as the picture is resized: bilinear, corners not aligned.

    Maps of a network's cells are placed by :func:`place_maps`.

    Args:
        maps: Shape ``(P, 1, h, w)``.
        size: Height and width in pixels.

    Returns:
        Shape ``(P, 1, H, W)``.

    Example:
        >>> resize_maps(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
        tensor([[[[0.0000, 0.2500, 0.7500, 1.0000]]]])
    """
    if len(maps) == 0:
        return maps.new_zeros((0, 1, *size))
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def soft_mask(attention: Tensor, *, sigma: float = 0.5, omega: float = 10.0) -> Tensor:
    """Turn attention maps into differentiable masks, Eq. 4: ``T(A) = sigmoid(omega * (A - sigma))``.

    Args:
        attention: Maps in [0, 1], shape ``(P, 1, H, W)``.
        sigma: Threshold, in the units of ``attention``. The paper gives no value; see docs/method.md.
        omega: Slope, > 0. Large values approach a hard threshold, and the gradient vanishes.

    Returns:
        Masks in (0, 1), same shape: near 1 where the network looks.

    Raises:
        ValueError: If ``omega`` is not positive.

    Example:
        >>> soft_mask(torch.tensor([[[[0.0, 0.5, 1.0]]]]), sigma=0.5, omega=10.0)
        tensor([[[[0.0067, 0.5000, 0.9933]]]])
    """
    if not omega > 0:
        raise ValueError(f"omega is {omega}, expected a positive slope")
    return torch.sigmoid(omega * (attention - sigma))


def erase(image: Tensor, mask: Tensor) -> Tensor:
    """Erase the attended pixels, Eq. 3: ``I* = I - T(A) * I``, one erased image per pair.

    On normalised images an erased pixel has the mean colour of the backbone's training set.

    Args:
        image: The image of every pair, ``image[pairs.image]``, shape ``(P, 3, H, W)``.
        mask: ``soft_mask`` of every pair, shape ``(P, 1, H, W)``.

    Returns:
        Erased images, shape ``(P, 3, H, W)``.

    Example:
        >>> erase(torch.full((1, 1, 1, 2), 8.0), torch.tensor([[[[0.25, 1.0]]]]))
        tensor([[[[6., 0.]]]])
    """
    return image - mask * image
