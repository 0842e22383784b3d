"""The terms of GAIN's loss beside L_cl, each with its weight; they are made of a step and its maps."""

from collections.abc import Container
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gain_lightning.attention import (
    FILLS,
    erase,
    input_x_gradient,
    pool_to_cells,
    resize_antialiased,
    scale_maps,
    soft_mask,
)
from gain_lightning.backbones.batch_norm import frozen_batch_norm
from gain_lightning.constants import VOID
from gain_lightning.datasets.sample import Batch
from gain_lightning.losses import (
    absent_maps_loss,
    area_loss,
    attention_mining_loss,
    attention_supervision_loss,
    kept_classes_loss,
    sufficiency_loss,
)
from gain_lightning.methods.borders import clear_pixels, inside_of
from gain_lightning.methods.classifier import Classifier, masks_of_pairs
from gain_lightning.methods.judge import Judge
from gain_lightning.methods.step import Step


class Term(NamedTuple):
    """One term of the loss.

    Attributes:
        weight: The setting that weighs it.
        every: The setting that says in every how many batches it is computed, with as many times the weight; None
            computes it in all.
        stream: The stream whose maps it takes, ``weak`` or ``masked``.
    """

    weight: str
    every: str | None
    stream: str = "weak"

    def steps_between(self, settings: Any) -> int:
        """Return in every how many batches the term is computed.

        Args:
            settings: The model's settings.
        """
        return 1 if self.every is None else int(settings[self.every])


# Every term beside L_cl. The four of S_am share one pass over its images.
TERMS = {
    "loss_am": Term("am_weight", "am_every"),
    "loss_kept": Term("kept_weight", "am_every"),
    "loss_area": Term("area_weight", "am_every"),
    "loss_sufficiency": Term("sufficiency_weight", "am_every"),
    "loss_view": Term("view_weight", None),
    "loss_ext": Term("ext_weight", "ext_every", stream="masked"),
}


def mining_terms(
    model: Classifier, judge: Judge | None, step: Step, maps: Tensor, wanted: Container[str]
) -> dict[str, Tensor]:
    """Compute the terms of S_am, Eq. 3-5 and partners: change the pixels that maps attend to, and classify again.

    Args:
        model: The classifier, whose settings say how to erase.
        judge: The network that classifies again; None is the classifier itself, as in the paper.
        step: Result of the network's pass.
        maps: Maps of ``step.pairs`` before scaling, ``(P, 1, h, w)``.
        wanted: Names of the terms that are in force.
    """
    if not any(name in wanted for name, term in TERMS.items() if term.every == "am_every"):
        return {}
    hparams, image, pairs = model.hparams, step.image, step.weak_pairs
    attention = scale_maps(maps[: len(pairs.image)], hparams.scaling)
    attention = model.place(attention, image.shape[2:])  # (P, 1, H, W)
    mask = soft_mask(attention, sigma=hparams.sigma, omega=hparams.omega)  # Eq. 4
    mask = clear_pixels(mask, pairs, step.inside)
    inside = None if step.inside is None else step.inside[pairs.image]
    terms = {"loss_area": area_loss(mask, pairs, inside)} if "loss_area" in wanted else {}
    shown, fill = image[pairs.image], FILLS[hparams.am_fill](image)[pairs.image]
    pictures = {}
    if "loss_am" in wanted or "loss_kept" in wanted:
        pictures["erased"] = erase(shown, mask, fill)  # Eq. 3
    if "loss_sufficiency" in wanted:
        pictures["kept"] = erase(shown, clear_pixels(1 - mask, pairs, step.inside), fill)
    # Maps are float32, even if the network has a lower precision.
    logits = judged(model, judge, [picture.to(image.dtype) for picture in pictures.values()])
    found = dict(zip(pictures, logits, strict=True))
    if "loss_am" in wanted:  # Eq. 5
        terms["loss_am"] = attention_mining_loss(
            found["erased"], pairs, score=hparams.am_score, task=hparams.task
        )
    if "loss_kept" in wanted:
        terms["loss_kept"] = kept_classes_loss(found["erased"], step.label, pairs)
    if "loss_sufficiency" in wanted:
        terms["loss_sufficiency"] = sufficiency_loss(found["kept"], pairs, task=hparams.task)
    return terms


def judged(model: Classifier, judge: Judge | None, pictures: list[Tensor]) -> list[Tensor]:
    """Classify several sets of P pictures in one pass, at the size that ``am_size`` asks for.

    Args:
        model: The classifier.
        judge: The network that classifies; None is the classifier itself.
        pictures: Sets of pictures, each ``(P, 3, H, W)``.

    Returns:
        The logits of every set, each ``(P, C)``.
    """
    hparams, num_pairs = model.hparams, len(pictures[0]) if pictures else 0
    if not num_pairs:
        logits = model.backbone.mean.new_zeros(0, len(hparams.class_names))
        return [logits + sum(picture.sum() for picture in pictures)] * len(pictures)
    image = torch.cat(pictures)
    if hparams.am_size != 1:
        size = [round(side * hparams.am_size) for side in image.shape[2:]]
        image = resize_antialiased(image, size)
    if judge is not None:
        network = judge.of(model.backbone)
        return list(network(image).split(num_pairs))
    # S_am's pictures are no data: they leave BatchNorm as it is.
    frozen = partial(frozen_batch_norm, weights=hparams.am_gradient == "maps")
    with frozen(model.backbone):
        logits = model.backbone.head(model.features_of(image, recompute_in=frozen))
    return list(logits.split(num_pairs))


def supervision_terms(
    model: Classifier, step: Step, maps: Tensor, wanted: Container[str]
) -> dict[str, Tensor]:
    """Compute L_e, Eq. 7: compare the maps of the masked stream with their masks; see :func:`mining_terms`.

    With ``map_sign: both`` the maps are signed, and there is a map for every class of an image, shown or not.
    """
    if step.masked is None or "loss_ext" not in wanted:
        return {}
    maps = maps[len(step.weak_pairs.image) :]
    if model.hparams.ext_layer == "input":
        maps = input_maps(model, step.masked)
    return {"loss_ext": supervision_loss(model, maps, step.masked)}


def input_maps(model: Classifier, masked: Batch) -> Tensor:
    """Compute input times gradient of a masked batch's pairs by a pass of its own, ``(P, 1, H, W)``.

    Where maps and masks are compared at the size of the map, it is averaged over the cells of the last layer,
    ``(P, 1, h, w)``.
    """
    hparams, pairs = model.hparams, masked["pairs"]
    image = masked["image"].detach().requires_grad_()
    # Each image's map is its own: batch statistics would mix them.
    with frozen_batch_norm(model.backbone):
        features = model.backbone.features(image)
        score = model.map_score(model.backbone.head(features))
        maps = input_x_gradient(image, score, pairs, second_order=True, signed=True)
    if hparams.ext_resolution == "map":
        maps = pool_to_cells(maps, features.shape[2:], model.backbone.cells(image.shape[2:]))
    return maps if hparams.map_sign == "both" else maps.relu()


def supervision_loss(model: Classifier, maps: Tensor, masked: Batch) -> Tensor:
    """Compare maps of a masked batch's pairs, before scaling, with its masks.

    Args:
        model: The classifier, whose settings say how.
        maps: Of the size of the image, or of the last layer's cells, ``(P, 1, h, w)``.
        masked: The batch, with its ``pairs``.
    """
    hparams, pairs, size = model.hparams, masked["pairs"], masked["image"].shape[2:]
    mask, cells = masks_of_pairs(masked, pairs), model.backbone.cells(size)
    inside = inside_of(masked)
    is_present = model.multi_hot(masked["label"])[pairs.image, pairs.label] > 0

    def sized(attention: Tensor) -> Tensor:
        is_drawn = attention.shape[2:] == size or hparams.ext_resolution == "map"
        attention = attention if is_drawn else model.place(attention, size)
        return clear_pixels(attention, pairs, inside) if attention.shape[2:] == size else attention

    loss = attention_supervision_loss(
        sized(scale_maps(maps, hparams.scaling)),
        # A map of a class that is absent has no mask of its own.
        torch.where(is_present.view(-1, 1, 1), mask, VOID),
        pairs,
        loss=hparams.ext_loss,
        reduction=hparams.ext_reduction,
        cells=cells,
    )
    if hparams.map_sign == "both":
        loss = loss + absent_maps_loss(
            sized(maps), mask, pairs, is_present, loss=hparams.ext_loss, cells=cells
        )
    return loss
