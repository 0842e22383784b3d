"""Maps that agree with those of other views of the same picture, refined by its colours."""

from collections.abc import Container

import torch
import torch.nn.functional as F
from torch import Tensor

from gain_lightning.attention import Pairs, refine_maps, resize_antialiased, scale_maps, soft_mask
from gain_lightning.backbones import Backbone
from gain_lightning.backbones.batch_norm import frozen_batch_norm
from gain_lightning.losses import map_agreement_loss
from gain_lightning.methods.borders import clear_cells, clear_pixels
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.judge import Judge
from gain_lightning.methods.step import Step

# Pixels of an image that a pixel of a target is wide.
PIXELS = 4


def view_terms(
    model: Classifier, judge: Judge | None, step: Step, maps: Tensor, wanted: Container[str]
) -> dict[str, Tensor]:
    """Compare the maps of the weak stream with targets of another view; see :func:`view_targets`.

    Args:
        model: The classifier, whose settings say which view.
        judge: The network that sees the other view; None is the classifier itself.
        step: Result of the network's pass.
        maps: Maps of ``step.pairs`` before scaling, ``(P, 1, h, w)``.
        wanted: Names of the terms that are in force.
    """
    if "loss_view" not in wanted:
        return {}
    pairs = step.weak_pairs
    image = step.image[: pairs.num_images]
    attention = model.place(scale_maps(maps[: len(pairs.image)]), image.shape[2:])
    grid = [-(-side // PIXELS) for side in image.shape[2:]]
    inside = None if step.inside is None else step.inside[: pairs.num_images]
    attention = clear_pixels(attention, pairs, inside)
    attention = F.interpolate(attention, size=grid, mode="area")  # (P, 1, H / 4, W / 4)
    network = model.backbone if judge is None else judge.of(model.backbone)
    with torch.no_grad():
        target = view_targets(model, network, image, pairs, attention, inside)
    return {"loss_view": map_agreement_loss(attention, target, pairs)}


def view_targets(
    model: Classifier,
    network: Backbone,
    image: Tensor,
    pairs: Pairs,
    attention: Tensor,
    inside: Tensor | None = None,
) -> Tensor:
    """Make the maps that a picture's own maps should agree with.

    A network's maps differ with the size and the side of a picture, although the object is the same; where it is
    larger they are sharper. A map and that of the enlarged picture, mirrored in every second step, are therefore added
    (Wang et al., *Self-supervised Equivariant Attention Mechanism*, CVPR 2020), spread over surfaces of one colour
    (:func:`refine_maps`), and turned into soft masks, Eq. 4, with the threshold ``view_sigma``.

    Args:
        model: The classifier, whose settings say how large the view is.
        network: The network that sees the view.
        image: Normalised images, ``(N, 3, H, W)``.
        pairs: The P pairs.
        attention: Scaled maps of the pairs, ``(P, 1, h, w)``.
        inside: See :attr:`Step.inside`.

    Returns:
        Targets in [0, 1), without gradient, ``(P, 1, h, w)``; 0 in borders.
    """
    hparams, size = model.hparams, attention.shape[2:]
    if not len(attention):
        return attention
    enlarged = [round(side * hparams.view_scale) for side in image.shape[2:]]
    view = resize_antialiased(image, enlarged)
    is_mirrored = model.global_step % 2 == 1
    with frozen_batch_norm(network):
        features = network.features(view.flip(3) if is_mirrored else view)
    with torch.enable_grad():
        score = model.map_score(network.head(features.requires_grad_()))
        maps = model.cam(features, score, pairs, second_order=False).detach()
    if inside is not None:
        seen = F.interpolate(inside.flip(3) if is_mirrored else inside, size=enlarged)
        maps = clear_cells(maps, pairs, seen, model.backbone.cells(tuple(enlarged)))
    maps = model.place(scale_maps(maps), (enlarged[0], enlarged[1]))
    maps = resize_antialiased(maps.flip(3) if is_mirrored else maps, size)
    colours = F.interpolate(image, size=size, mode="area").to(maps.dtype)
    target = scale_maps(refine_maps(maps + attention.detach(), colours[pairs.image]))
    target = soft_mask(target, sigma=hparams.view_sigma, omega=hparams.omega)
    if inside is not None:
        target = clear_pixels(target, pairs, F.interpolate(inside, size=size, mode="area"))
    return target
