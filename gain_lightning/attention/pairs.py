"""The (image, class) pairs of a batch; each pair has one map, one mask, and one term in Eq. 5 and 7."""

from typing import NamedTuple

import torch
from torch import Tensor

from gain_lightning.constants import VOID


class Pairs(NamedTuple):
    """Every (image, class) pair of a batch whose class is present, ordered by image, then by class.

    Attributes:
        image: Index of the image, ``(P,)`` int64.
        label: Index of the class, ``(P,)`` int64.
        rank: 0 for the first label of an image, 1 for its second, ..., ``(P,)`` int64.
        num_images: N, images without a label included.
        num_ranks: The largest number of labels that one image has.
    """

    image: Tensor
    label: Tensor
    rank: Tensor
    num_images: int
    num_ranks: int

    def none(self) -> "Pairs":
        """Return a batch of as many images, but without a pair."""
        return Pairs(self.image[:0], self.label[:0], self.rank[:0], self.num_images, 0)

    def of_first(self, num_images: int) -> "Pairs":
        """Return the pairs of the first images of the batch.

        Their number depends on the values, so on a GPU this waits for the device.
        """
        count = int((self.image < num_images).sum())
        return Pairs(self.image[:count], self.label[:count], self.rank[:count], num_images, self.num_ranks)

    def followed_by(self, other: "Pairs") -> "Pairs":
        """Return the pairs of two batches as those of one; the images of ``other`` come last."""
        return Pairs(
            torch.cat([self.image, other.image + self.num_images]),
            torch.cat([self.label, other.label]),
            torch.cat([self.rank, other.rank]),
            self.num_images + other.num_images,
            max(self.num_ranks, other.num_ranks),
        )


def label_pairs(label: Tensor) -> Pairs:
    """List the (image, class) pairs of a batch of labels.

    The number of pairs depends on the values of the labels, so on a GPU this waits for the device. A training
    lists the pairs on the CPU, before a batch is moved.

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
    """Look up the mask of every pair among the masks of a batch; a pair without one is unknown throughout.

    Args:
        mask: 1 the class, 0 not the class, 255 unknown, shape ``(M, H, W)``.
        mask_image: Index of each mask's image, ``(M,)``.
        mask_class: Index of each mask's class, ``(M,)``.
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
        most: Number of labels that an image keeps at most; 1 or more.
        generator: A generator on the CPU, which draws the labels.

    Returns:
        Same shape, with at most ``most`` ones in a row.

    Example:
        >>> label = torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0]])
        >>> sample_labels(label, 2, torch.Generator().manual_seed(0)).sum(1).tolist()
        [2, 1]
    """
    draw = torch.rand(label.shape, generator=generator).to(label.device)
    # Present labels come first, in random order: every draw is below 2.
    order = torch.where(label > 0, draw, 2.0).argsort(1).argsort(1)  # (N, C)
    return torch.where(order < most, label, 0)
