"""Maps that follow the colours of their picture: pixel-adaptive refinement."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Distances to the eight neighbours that a pixel looks at, in pixels.
DISTANCES = (1, 2, 4, 8)
# How many of its own neighbourhood's deviations apart two colours are alike.
DEVIATIONS = 0.1


def refine_maps(maps: Tensor, image: Tensor, *, steps: int = 20) -> Tensor:
    """Let every pixel of a map take the mean of its neighbours of a like colour, several times over.

    The weight of neighbour q of pixel p is a softmax over p's neighbours of ``-mean_c |I_c(p) - I_c(q)| / 0.1 s_c(p)``
    with s the standard deviation of the colours around p, so that maps spread over surfaces of one colour and stop
    at edges (Araslanov and Roth, *Single-Stage Semantic Segmentation from Image Labels*, CVPR 2020, PAMR). It has no
    parameter that is learnt.

    Args:
        maps: Shape ``(P, 1, H, W)``.
        image: The picture of every map, in any scale of colours, shape ``(P, 3, H, W)``.
        steps: How often neighbours are averaged.

    Returns:
        Shape ``(P, 1, H, W)``.

    Example:
        >>> picture = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1, 3, 4, 4)  # two white, two black columns
        >>> maps = torch.zeros(1, 1, 4, 4)
        >>> maps[..., 0] = 1
        >>> refine_maps(maps, picture)[0, 0, 0].round(decimals=1)
        tensor([0.8000, 0.8000, 0.0000, 0.0000])
    """
    around = _neighbours(image)  # (P, 3, Q, H, W)
    centre = image.unsqueeze(2)
    spread = torch.cat([around, centre], 2).std(2, keepdim=True)
    distance = (around - centre).abs() / (DEVIATIONS * spread + 1e-8)
    weight = (-distance.mean(1, keepdim=True)).softmax(2)
    for _ in range(steps):
        maps = (_neighbours(maps) * weight).sum(2)
    return maps


def _neighbours(values: Tensor) -> Tensor:
    """Return the values of every pixel's eight neighbours at each distance, ``(P, C, Q, H, W)``.

    A neighbour outside the picture takes the value of the nearest pixel inside.
    """
    height, width = values.shape[2:]
    found = []
    for distance in DISTANCES:
        padded = F.pad(values, (distance,) * 4, mode="replicate")
        for top in (0, distance, 2 * distance):
            for left in (0, distance, 2 * distance):
                if (top, left) != (distance, distance):
                    found.append(padded[:, :, top : top + height, left : left + width])
    return torch.stack(found, 2)
