"""Scores of maps against boxes, one value for each (image, class) pair.

A box holds more than its object, so no score of masks and none of boxes may be compared with each other. Energy and
pointing favour large boxes; the share of the image that boxes cover, and a map that looks at the centre, say how much.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from gain_lightning.attention import Pairs, inside_windows, scale_maps
from gain_lightning.constants import NO, VOID, YES
from gain_lightning.metrics.maps import energy_in_mask, pointing_hit

# The thresholds of the sweep, as shares of a map's maximum.
BOX_THRESHOLDS = tuple(np.arange(0, 1, 0.01).tolist())
# The threshold of the paper's seeds, at which Zhou et al. (CVPR 2016) draw boxes too.
FIXED_THRESHOLD = 0.2
# The overlap with which a box is right.
RIGHT_IOU = 0.5


class PairBoxes(NamedTuple):
    """The boxes of the pairs of a batch.

    Attributes:
        corners: ``(xmin, ymin, xmax, ymax)`` of each box, in pixels from the picture's upper left corner, ``(b, 4)``.
        pair: Index of each box's pair, ``(b,)`` int64.
        num_pairs: P, pairs without a box included.
        window: What the image of each pair shows of its picture, ``(P, 4)``, as ``corners``; None without borders.
    """

    corners: Tensor
    pair: Tensor
    num_pairs: int
    window: Tensor | None = None

    @property
    def exist(self) -> Tensor:
        """The pairs that can be judged: those with a box, ``(P,)`` bool."""
        return torch.bincount(self.pair, minlength=self.num_pairs) > 0

    def masks(self, size: tuple[int, ...]) -> Tensor:
        """Fill the boxes: 1 in the boxes of a pair, 0 outside, 255 in borders and throughout where a pair has none.

        A corner lies between the pixels that are nearest, and a box has at least one pixel.

        Args:
            size: Height and width of the masks, (H, W).

        Returns:
            Shape ``(P, H, W)`` uint8.

        Example:
            >>> boxes = PairBoxes(torch.tensor([[1.0, 0.0, 2.8, 1.0]]), torch.tensor([1]), 2)
            >>> boxes.masks((1, 4)).tolist()
            [[[255, 255, 255, 255]], [[0, 1, 1, 0]]]
        """
        sides = torch.tensor(size[::-1], device=self.corners.device)
        low = torch.minimum(self.corners[:, :2].round().clamp_min(0), sides - 1)
        high = torch.maximum(self.corners[:, 2:].round(), low + 1)
        rows, columns = (torch.arange(side, device=self.corners.device) for side in size)
        in_rows = (rows >= low[:, 1:]) & (rows < high[:, 1:])  # (b, H)
        in_columns = (columns >= low[:, :1]) & (columns < high[:, :1])  # (b, W)
        inside = in_rows.unsqueeze(2) & in_columns.unsqueeze(1)
        count = torch.zeros(self.num_pairs, *size, dtype=torch.int32, device=self.corners.device)
        count.index_add_(0, self.pair, inside.int())
        filled = torch.where(count > 0, YES, NO)
        if self.window is not None:
            filled = filled.masked_fill(inside_windows(self.window, size)[:, 0] == 0, VOID)
        return filled.masked_fill(~self.exist.view(-1, 1, 1), VOID).to(torch.uint8)


def pair_boxes(box: Tensor, box_image: Tensor, box_class: Tensor, pairs: Pairs) -> PairBoxes:
    """Look up the boxes of every pair among those of a batch; boxes of classes without a pair are left out.

    Args:
        box: ``(xmin, ymin, xmax, ymax)``, shape ``(B, 4)``.
        box_image: Index of each box's image, ``(B,)``.
        box_class: Index of each box's class, ``(B,)``.
        pairs: The P pairs.

    Example:
        >>> from gain_lightning.attention import label_pairs
        >>> pairs = label_pairs(torch.tensor([[1, 0], [1, 1]]))
        >>> box = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 1.0]])
        >>> pair_boxes(box, torch.tensor([0, 1]), torch.tensor([1, 1]), pairs)  # the label of image 0 has no class 1
        PairBoxes(corners=tensor([[0., 0., 2., 1.]]), pair=tensor([2]), num_pairs=3, window=None)
    """
    fits = (pairs.image.unsqueeze(1) == box_image) & (pairs.label.unsqueeze(1) == box_class)  # (P, B)
    pair, which = fits.nonzero(as_tuple=True)
    return PairBoxes(box[which], pair, len(pairs.image))


def energy_in_box(maps: Tensor, boxes: PairBoxes) -> Tensor:
    """Return the share of a map's sum that lies in the boxes of its class, as Rao et al. (ICCV 2023) measure it.

    Args:
        maps: Non-negative maps, shape ``(P, 1, H, W)``; an all-zero map counts 0.
        boxes: The boxes of the P pairs.

    Returns:
        Share in [0, 1], shape ``(P,)``; 0 for a pair without a box.

    Example:
        >>> boxes = PairBoxes(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0]), 1)
        >>> energy_in_box(torch.tensor([[[[3.0, 1.0]]]]), boxes)
        tensor([0.7500])
    """
    return energy_in_mask(maps, boxes.masks(maps.shape[2:]))


def pointing_in_box(maps: Tensor, boxes: PairBoxes) -> Tensor:
    """Return 1 where a map's maximum lies in a box of its class, else 0: the pointing game.

    Args and returns are those of :func:`energy_in_box`; an all-zero map misses.
    """
    return pointing_hit(maps, boxes.masks(maps.shape[2:]))


def box_share(maps: Tensor, boxes: PairBoxes) -> Tensor:
    """Return the share of the image that the boxes of a pair cover: the energy of a map that is the same everywhere.

    Args and returns are those of :func:`energy_in_box`; of the maps only their size counts.

    Example:
        >>> boxes = PairBoxes(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0]), 1)
        >>> box_share(torch.zeros(1, 1, 2, 2), boxes)
        tensor([0.2500])
    """
    masks = boxes.masks(maps.shape[2:]).flatten(1)
    return (masks == YES).sum(1) / (masks != VOID).sum(1).clamp_min(1)


def box_accuracy(maps: Tensor, boxes: PairBoxes) -> Tensor:
    """Return 1 where the box of a map fits a box of its class, else 0: localisation of a known class.

    The box is that of the largest body of pixels above 20 % of the map's maximum (Zhou et al., CVPR 2016), and fits
    with an IoU of at least 0.5. Boxes are compared as by :func:`box_ious`.

    Args and returns are those of :func:`energy_in_box`.
    """
    return (box_ious(maps, boxes, (FIXED_THRESHOLD,))[:, 0, 0] >= RIGHT_IOU).to(maps.dtype)


def box_ious(maps: Tensor, boxes: PairBoxes, thresholds: Sequence[float] = BOX_THRESHOLDS) -> Tensor:
    """Compare the boxes of maps that are cut at thresholds with the true ones, as the published evaluator does.

    It follows ``evaluation.py`` of clovaai/wsolevaluation (Choe et al., CVPR 2020, and its journal version for
    MaxBoxAccV2): a map is scaled from its minimum to its maximum and kept with 8 bits; boxes are those of the
    contours of what exceeds a threshold, holes among them; "largest" means the area that a contour encloses between
    the centres of pixels; and both corners of a box count as its own.

    Args:
        maps: Maps before scaling, shape ``(P, 1, H, W)``.
        boxes: The boxes of the P pairs.
        thresholds: Shares of a map's maximum, T of them.

    Returns:
        IoU of the largest contour's box with the true box that fits it best, and the best IoU of any contour's box,
        ``(P, 2, T)`` float32 on the CPU; 0 for a pair without a box.

    Example:
        >>> boxes = PairBoxes(torch.tensor([[0.0, 0.0, 2.0, 3.0]]), torch.tensor([0]), 1)
        >>> two_bodies = torch.zeros(1, 1, 8, 9)
        >>> two_bodies[..., :3, :2], two_bodies[..., 4:8, 4:8] = 0.5, 1
        >>> box_ious(two_bodies, boxes, (0.2, 0.7)).tolist()
        [[[0.0, 0.0], [1.0, 0.0]]]
    """
    height, width = maps.shape[2:]
    if boxes.window is not None:
        # a border is as dark as the darkest pixel of its picture
        inside = inside_windows(boxes.window, (height, width)) > 0
        darkest = maps.masked_fill(~inside, torch.inf).amin((2, 3), keepdim=True)
        maps = torch.where(inside, maps, darkest)
    # an expanded map is the same for all pairs, so its boxes are found once
    is_shared = len(maps) > 1 and maps.stride(0) == 0
    bytes_of = (scale_maps(maps[:1] if is_shared else maps, "minmax") * 255).to(torch.uint8).cpu().numpy()
    # A corner that divides evenly may lie just below its whole number.
    corners = (boxes.corners.cpu().double() + 1e-3).floor().clamp_min(0).long().numpy()
    corners = np.minimum(corners, (width - 1, height - 1) * 2)
    pair = boxes.pair.cpu().numpy()
    ious = torch.zeros(len(maps), 2, len(thresholds))
    found: list[np.ndarray] = []
    for row in np.unique(pair).tolist():
        if not (found and is_shared):
            found = _contour_boxes(bytes_of[0 if is_shared else row, 0], thresholds)
        true = corners[pair == row]
        best = _overlap(np.concatenate(found), true).max(1)
        starts = np.cumsum([0, *(len(of_threshold) for of_threshold in found)])[:-1]
        ious[row, 0] = torch.from_numpy(best[starts])
        ious[row, 1] = torch.from_numpy(np.maximum.reduceat(best, starts))
    return ious


def _contour_boxes(image: np.ndarray, thresholds: Sequence[float]) -> list[np.ndarray]:
    """Return ``(xmin, ymin, xmax, ymax)`` of the contours above every threshold, ``(k, 4)``, the largest first.

    Where nothing exceeds a threshold, there is the box of the first pixel.
    """
    height, width = image.shape
    levels = (np.asarray(thresholds) * image.max()).astype(int).tolist()
    found = []
    for level in levels:
        above = (image > level).view(np.uint8)
        contours, _ = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        corners = [_corners(contour, height, width) for contour in contours] or [(0, 0, 0, 0)]
        if len(contours) > 1:
            largest = max(range(len(contours)), key=lambda which: cv2.contourArea(contours[which]))
            corners.insert(0, corners[largest])
        found.append(np.array(corners))
    return found


def _corners(contour: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    left, top, across, down = cv2.boundingRect(contour)
    return left, top, min(left + across, width - 1), min(top + down, height - 1)


def _overlap(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes ``(k, 4)`` with boxes ``(b, 4)``, whose last row and column are their own, ``(k, b)``."""
    low = np.maximum(found[:, None, :2], true[:, :2])
    high = np.minimum(found[:, None, 2:], true[:, 2:])
    shared = (high - low + 1).clip(0).prod(2)
    area, true_area = ((box[:, 2:] - box[:, :2] + 1).prod(1) for box in (found, true))
    iou: np.ndarray = shared / (area[:, None] + true_area - shared)
    return iou
