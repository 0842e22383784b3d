"""Attention maps, soft masks and erased images: Eq. 1-4 of Li et al., CVPR 2018 (arXiv 1802.10171).

Pure functions on tensors. Axis letters: N images, P (image, class) pairs, C classes, K channels,
H W image, h w map.
"""

from gain_lightning.attention.cams import CAMS, grad_cam, input_x_gradient, margins
from gain_lightning.attention.erasing import FILLS, erase, soft_mask
from gain_lightning.attention.maps import (
    EPS,
    Cells,
    even_cells,
    inside_windows,
    place_maps,
    pool_to_cells,
    resize_antialiased,
    resize_maps,
    scale_maps,
    without_border,
)
from gain_lightning.attention.pairs import Pairs, label_pairs, pair_masks, sample_labels
from gain_lightning.attention.refining import refine_maps

__all__ = [
    "CAMS",
    "EPS",
    "FILLS",
    "Cells",
    "Pairs",
    "erase",
    "even_cells",
    "grad_cam",
    "input_x_gradient",
    "inside_windows",
    "label_pairs",
    "margins",
    "pair_masks",
    "place_maps",
    "pool_to_cells",
    "refine_maps",
    "resize_antialiased",
    "resize_maps",
    "sample_labels",
    "scale_maps",
    "soft_mask",
    "without_border",
]
