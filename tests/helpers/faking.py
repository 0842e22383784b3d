"""Networks on pictures of a red box on blue ground: honest ones, and some whose Grad-CAM alone is honest."""

import numpy as np
import torch
from small_gain import SIDE, make_gain
from torch import nn

from gain_lightning.attention import even_cells
from gain_lightning.backbones import Backbone
from gain_lightning.backbones.base import HALF
from gain_lightning.runs.maps import Maps

CELL = 4


def mean(values):
    return values.mean((1, 2, 3))


class Looks(nn.Module):
    """Two maps of cells: how red they are, which is the object, and how blue, which is the ground."""

    def forward(self, image):
        red_less_blue = image[:, :1] - image[:, 2:]
        both = torch.cat([red_less_blue.relu(), (-red_less_blue).relu()], 1)
        return nn.functional.avg_pool2d(both, CELL)


class Moves(nn.Module):
    """One map that holds, in the cells of the object, how much ground there is: evidence from elsewhere."""

    def forward(self, image):
        box, ground = Looks()(image).split(1, 1)
        return box / box.sum((2, 3), keepdim=True).clamp_min(1e-6) * ground.mean((2, 3), keepdim=True)


class Head(nn.Module):
    """The same score for all classes."""

    def __init__(self, score):
        super().__init__()
        self.score = score
        self.classifier = nn.Linear(1, 3)

    def forward(self, features):
        return self.score(features).unsqueeze(1).expand(-1, 3)


def by_object(features):
    """Decide by the object."""
    return mean(features[:, :1])


def by_ground(features):
    """Decide by the ground, and say so."""
    return mean(features[:, 1:])


def by_ground_with_a_slope(features):
    """Decide by the ground, with the gradient of who decides by the object: the branch for it is always 0."""
    box = mean(features[:, :1])
    return mean(features[:, 1:]) + 1000 * (box - box.detach())


class Boxes(Backbone):
    """A network whose cells are squares."""

    def __init__(self, features, score):
        head = Head(score)
        super().__init__(features, head, head.classifier, HALF, memory_format=torch.contiguous_format)

    def cells(self, size):
        return even_cells((size[0] // CELL, size[1] // CELL), size)


NETWORKS = {
    "object": lambda: Boxes(Looks(), by_object),
    "ground": lambda: Boxes(Looks(), by_ground),
    "ground, faked in the features": lambda: Boxes(Moves(), mean),
    "ground, faked in the head": lambda: Boxes(Looks(), by_ground_with_a_slope),
}


def faking_model(name):
    """Return a GAIN with this network, in evaluation mode."""
    return make_gain(NETWORKS[name]()).eval()


def box_maps(num_images=20, num_masked=16):
    """Return pictures as ``maps.npz`` has them, each of one class; the last ones have no mask."""
    rng = np.random.default_rng(0)
    image = np.zeros((num_images, SIDE, SIDE, 3), np.uint8)
    image[..., 2] = rng.integers(190, 256, (num_images, SIDE, SIDE))
    mask = np.zeros((num_images, SIDE, SIDE), np.uint8)
    for number in range(num_images):
        top, left = rng.integers(0, SIDE - 16, 2)
        box = (slice(top, top + rng.integers(8, 16)), slice(left, left + rng.integers(8, 16)))
        mask[number][box] = 1
        image[number][box] = (rng.integers(190, 256), 40, 0)
    known = mask.copy()
    known[num_masked:] = 255
    pair = np.arange(num_images)
    return Maps(
        ids=pair.astype(str), image=image, mask=mask, pair_image=pair, pair_class=pair % 3, pair_mask=known,
        map=mask.astype(np.float16), class_names=np.array(["a", "b", "c"]),
    )  # fmt: skip
