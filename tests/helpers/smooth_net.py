"""A network without kinks, its guidance losses written out, and their gradient by finite differences."""

import functools

import numpy as np
import reference
import torch
from fake_batch import oracle_masks
from torch import nn

from gain_lightning.backbones import Backbone
from gain_lightning.constants import VOID


class SmoothNet(Backbone):
    """A network in float64 of two smooth convolutions and a head, which is linear or has a hidden layer."""

    def __init__(self, hidden):
        features = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.Softplus(), nn.Conv2d(4, 5, 3, padding=1), nn.Softplus()
        )
        classifier = nn.Linear(6 if hidden else 5, 3)
        layers = [nn.Linear(5, 6), nn.Tanh()] if hidden else []
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers, classifier)
        super().__init__(features, head, classifier)
        self.double()

    def channel_weights(self, features, label):
        """Return d s_c / d f, averaged over the map, ``(P, 5)``; the derivative is written by hand."""
        out = []
        for n, c in reference.pairs(label):
            if len(self.head) == 3:
                gradient = self.head[2].weight[c]
            else:
                hidden = self.head[3](self.head[2](features[n].mean((1, 2))))
                gradient = (self.head[4].weight[c] * (1 - hidden**2)) @ self.head[2].weight
            out.append(gradient / features[n, 0].numel())
        return torch.stack(out)


@functools.cache
def drawn(num_pixels, num_cells, start, step):
    """Return the weights by which each pixel of a square picture takes each cell of its map, from the oracle."""
    cells = torch.eye(num_cells**2, dtype=torch.double).view(-1, num_cells, num_cells).numpy()
    placed = [reference.place(cell, num_pixels, num_pixels, start, start, step, step) for cell in cells]
    return torch.from_numpy(np.stack(placed)).flatten(1).T


def composed_loss(net, batch, name, held=None):
    """Return L_am or L_e written out for ``net``; with ``held``, the channel weights are these numbers."""
    image, label, masks = batch["image"], batch["label"], oracle_masks(batch)
    # The first convolution has kernel 3 and stride 2 without padding.
    drawing = drawn(11, 5, start=1, step=2)
    features = net.features(image)
    weights = net.channel_weights(features, label) if held is None else held
    total, count = 0.0, {n: int(row.sum()) for n, row in enumerate(label)}
    for (n, c), weight, mask in zip(reference.pairs(label), weights, masks, strict=True):
        attention = (weight[:, None, None] * features[n]).sum(0).relu()
        assert attention.max() > 1e-3
        attention = attention / attention.max()
        large = (drawing @ attention.flatten()).view(1, 11, 11)
        if name == "loss_am":
            erased = image[n] * (1 - torch.sigmoid(10 * (large - 0.5)))
            value = torch.sigmoid(net(erased[None])[0, c])
        else:
            valid = torch.from_numpy(mask != VOID)
            value = ((large[0] - torch.from_numpy(mask == 1).double())[valid] ** 2).mean()
        total = total + value / count[n] / len(image)
    return total


def signed_loss(net, batch, held=None):
    """Return L_e of signed maps written out for ``net``, with the maps of the classes that an image does not show.

    With ``held``, the strengths of maps where they have no gradient are those of this network.
    """
    features, masks = net.features(batch["image"]), iter(oracle_masks(batch))
    drawing, num_images = drawn(11, 5, start=1, step=2), len(batch["image"])
    every = torch.ones_like(batch["label"])
    weights = iter(net.channel_weights(features, every))
    fixed = net if held is None else held
    with torch.no_grad():
        frozen = torch.einsum(
            "pk,pkhw->phw",
            fixed.channel_weights(fixed.features(batch["image"]), every),
            fixed.features(batch["image"]).repeat_interleave(every.shape[1], 0),
        ).unflatten(0, (num_images, -1))
    total = 0.0
    for n in range(num_images):
        maps = {c: (next(weights)[:, None, None] * features[n]).sum(0) for c in range(every.shape[1])}
        shown = {c: torch.from_numpy(next(masks)) for c in maps if batch["label"][n, c] > 0}
        outside = torch.stack([mask == 0 for mask in shown.values()]).all(0)
        unit = max(maps[c].abs().max() for c in shown)
        errors: dict[bool, list] = {True: [], False: []}
        for c, attention in maps.items():
            # The strength of an absent class's map is a number where it is larger than that of those shown.
            scale = attention.abs().max() if c in shown else max(unit, frozen[n, c].abs().max())
            large = (drawing @ (attention / scale).flatten()).view(11, 11)
            known = shown[c] != VOID if c in shown else outside
            target = (shown[c] == 1).double() if c in shown else 0
            errors[c in shown].append(((large - target) ** 2)[known].mean())
        total = total + sum(sum(values) / len(values) for values in errors.values() if values) / num_images
    return total


def central_differences(net, function, step=1e-5):
    out = []
    with torch.no_grad():
        for parameter in net.parameters():
            flat, gradient = parameter.view(-1), torch.zeros(parameter.numel(), dtype=torch.double)
            for index in range(len(flat)):
                kept = flat[index].item()
                flat[index] = kept + step
                up = function()
                flat[index] = kept - step
                gradient[index] = (up - function()) / (2 * step)
                flat[index] = kept
            out.append(gradient.view_as(parameter))
    return torch.cat([gradient.flatten() for gradient in out])
