"""GAIN: a classifier whose attention is part of the loss (Li et al., CVPR 2018)."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gain_lightning.attention import EPS
from gain_lightning.backbones.batch_norm import kept_batch_norm_statistics
from gain_lightning.datasets.sample import Batch
from gain_lightning.methods import borders
from gain_lightning.methods.cost import CostForecast
from gain_lightning.methods.gain_settings import check_settings, method_name, method_of_weights
from gain_lightning.methods.guided import Guided
from gain_lightning.methods.step import Step
from gain_lightning.methods.terms import TERMS, mining_terms, supervision_terms
from gain_lightning.methods.views import view_terms
from gain_lightning.methods.zero_maps import ZeroMaps


class GAIN(Guided):
    """Grad-CAM baseline, GAIN or GAIN_ext, by weights: ``L = L_cl + am_weight L_am + ext_weight L_e``, Eq. 8.

    Without weights it is a plain classifier, with a term that needs no mask GAIN, and with ``ext_weight`` GAIN_ext.
    Terms beside the paper's are in :data:`gain_lightning.methods.terms.TERMS`. L_cl runs over the weak stream, thus
    over every training image; L_e runs over the masked stream. While the weights are 0 in the warm-up, all methods
    take the same steps.

    Args:
        class_names: Names of the C classes, from the data module.
        image_size: Side of the training images in pixels, from the data module.
        resize: What becomes of the aspect of pictures, from the data module: ``squash``, ``letterbox`` or ``crop``.
        tile_size: Side of the tiles in which the network sees larger pictures, in pixels; null shows them whole. See
            :mod:`gain_lightning.backbones.tiles`.
        backbone: ``tiny_cnn``, ``vgg16``, ``vgg19``, ``resnet18`` to ``101``, ``lite0`` or ``timm/<model>``.
        weights: ``none``, ``default`` (pretrained) or the path of a state dict or of a run's checkpoint. The last
            layer of a run is taken over too if its classes are the same in the same order.
        output_stride: Input pixels per map cell; null keeps the backbone's own.
        task: ``multi_label`` (soft margin loss), ``single_label`` (cross-entropy) or ``regression`` (squared error).
            In a regression labels are amounts from 0 on, counts or sizes, and a class is present where its amount
            is above 0.
        cl_reduction: ``sum`` or ``mean`` over classes in L_cl; ``single_label`` ignores it. Beside a sum, the two
            weights below mean the same whatever the number of classes.
        class_weights: How much each class counts in L_cl: ``balanced`` weighs rare classes as much as frequent ones, by
            the training labels, see :func:`gain_lightning.losses.balanced_class_weights`; or a number for each class,
            or by its name. null weighs all alike.
        balance: Meaning of all weights below. ``fixed`` takes them as they are, as in Eq. 8. ``gradient`` takes them as
            shares of the classification's gradient at the features, see
            :class:`gain_lightning.methods.balance.GradientBalance`.
        guided_share: Share of a batch's images whose maps are made for the terms that need no mask; a quarter of the
            images costs a quarter.
        am_weight: alpha of Eq. 6 and 8.
        ext_weight: The weight of L_e in Eq. 8 (there called omega; 10 in the paper).
        warmup: Share of the whole training on L_cl alone, 0 to 1; self-guidance from random weights harms.
        ramp: Share of the whole training, after the warm-up, in which all weights rise linearly to their value.
        guard: Fall of mean AP (in a regression, rise of the error) on validation images below its best so far that is
            taken for harm: after two such validations in a row the weights are halved. null never lowers them.
        sigma: Threshold of the soft mask, Eq. 4, in units of the scaled map: 0 to 1, unless ``scaling`` is none.
        omega: Slope of the soft mask, Eq. 4.
        scaling: Way to bring a map to [0, 1] for Eq. 4 and 7: ``max``, ``minmax`` or ``none``.
        map_method: Class activation map, Eq. 1 and 2: ``grad_cam``.
        map_score: Score that maps explain, Eq. 1: the ``logit``, or its ``margin`` over the others, which also shows
            evidence against them and is for ``single_label`` only.
        map_sign: Evidence that L_e sees: ``positive``, by Eq. 2's ReLU, or ``both``: what speaks against a class
            outside its mask costs too, also in maps of classes that an image does not show. All other terms and all
            scores take the positive part.
        am_score: Score of Eq. 5: ``probability`` or ``logit``.
        am_gradient: Way of L_am's gradient. With ``all`` it moves all of the network, also as the judge of erased
            images. With ``maps`` it reaches the network only through the erased pixels, so the network cannot
            learn to deny what an erased image shows.
        judge: Network that judges erased images: ``shared``, this one, as in the paper; or a copy that is never
            taught to deny, ``frozen`` when guidance began, or the ``average`` of its weights over the steps, see
            :class:`gain_lightning.methods.judge.Judge`.
        judge_momentum: Share of that average that a step keeps.
        am_fill: What stands in place of erased pixels: the ``mean`` colour, as in Eq. 3, the image's ``blur``, or its
            ``local_mean``, see :data:`gain_lightning.attention.FILLS`.
        am_size: Side of the pictures that the judge sees, as a share of the image's. Half of it costs a quarter.
        kept_weight: Weight of what an erased image must still show: the other labelled classes (Kweon et al., 2021).
        area_weight: Price of the share of the image that the soft mask covers.
        sufficiency_weight: Weight of the class on an image of the attended pixels alone, which a second picture for
            each pair shows the judge.
        view_weight: Weight of the agreement of maps with those of an enlarged view, refined by the picture's colours;
            it needs no mask, see :func:`gain_lightning.methods.views.view_targets`.
        view_scale: Side of the view, as a multiple of the image's.
        view_sigma: Threshold of the soft mask, Eq. 4, that such an agreed map becomes.
        ext_resolution: Compare maps and masks in Eq. 7 at the size of the ``image`` or of the ``map``.
        ext_loss: L_e: ``l2`` is Eq. 7; ``l1``, ``energy``, ``rrr`` and ``cross_entropy`` are its rivals, see
            :func:`gain_lightning.losses.attention_supervision_loss`. Each needs a weight of its own.
        ext_reduction: ``mean`` or ``sum`` over pixels in Eq. 7.
        ext_layer: Map that L_e sees: Grad-CAM of the ``features``, or that of the ``input``, where each pixel is
            multiplied by its gradient, see :func:`gain_lightning.attention.input_x_gradient`.
        ext_every: Use the masked stream only in every so many batches, with as many times the weight.
        second_order: Let gradients pass through Grad-CAM's channel weights.
        freeze_batch_norm: Keep all BatchNorm statistics as they were loaded. In S_am they always stay.
        max_classes_per_image: Erase at most this many classes of an image, drawn anew each step, which bounds
            memory and cost. It estimates Eq. 5 without bias but with more noise; null erases all.
        am_every: Run S_am only in every so many batches, with as many times the weight. This is cheaper; the mean
            gradient stays the same, with more noise. ``train/loss_am`` then shows the last batch in which S_am ran.
        memory_format: Layout of images and weights in memory: ``channels_last``, ``contiguous``, or ``auto``, which
            takes the faster one for this backbone and machine. Results are equal to rounding.
        compile_features: Compile ``features`` by torch.compile. Results are equal to rounding; the first steps
            take minutes.
        checkpoint_features: Compute ``features`` again in the backward pass instead of keeping their inner maps.
            Results are the same, with less memory, for one more forward pass.
        score_classes: Names of the classes that mean scores run over; null takes all.
        no_object_classes: Names of the classes that have no place, such as "normal", from the data module: they are
            classified and never erased, mapped, supervised or judged by their maps.
        optimizer: Called with the parameter groups.
        lr_scheduler: Called with the optimizer; null keeps the rate.
        lr_interval: Step the scheduler every ``epoch`` or ``step``; schedules in shares of the training
            (:mod:`gain_lightning.methods.schedules`) step every step by themselves.
        new_layer_lr_scale: Learning rate of the new last layer, relative to the others'.

    Raises:
        ValueError: If an argument is out of range or names what does not exist.
    """

    name = "GAIN"

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        resize: str = "squash",
        tile_size: int | None = None,
        backbone: str = "tiny_cnn",
        weights: str = "none",
        output_stride: int | None = None,
        task: str = "multi_label",
        cl_reduction: str = "sum",
        class_weights: str | list[float] | dict[str, float] | None = None,
        balance: str = "fixed",
        guided_share: float = 1.0,
        am_weight: float = 0.0,
        ext_weight: float = 0.0,
        warmup: float = 0.0,
        ramp: float = 0.0,
        guard: float | None = None,
        sigma: float = 0.5,
        omega: float = 10.0,
        scaling: str = "max",
        map_method: str = "grad_cam",
        map_score: str = "logit",
        map_sign: str = "positive",
        am_score: str = "probability",
        am_gradient: str = "all",
        judge: str = "shared",
        judge_momentum: float = 0.99,
        am_fill: str = "mean",
        am_size: float = 1.0,
        kept_weight: float = 0.0,
        area_weight: float = 0.0,
        sufficiency_weight: float = 0.0,
        view_weight: float = 0.0,
        view_scale: float = 1.5,
        view_sigma: float = 0.5,
        ext_resolution: str = "image",
        ext_loss: str = "l2",
        ext_reduction: str = "mean",
        ext_layer: str = "features",
        ext_every: int = 1,
        second_order: bool = True,
        freeze_batch_norm: bool = False,
        max_classes_per_image: int | None = None,
        am_every: int = 1,
        memory_format: str = "auto",
        compile_features: bool = False,
        checkpoint_features: bool = False,
        score_classes: list[str] | None = None,
        no_object_classes: list[str] | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.AdamW,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        lr_interval: str = "epoch",
        new_layer_lr_scale: float = 1.0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        check_settings(self.hparams)
        self.build()

    @classmethod
    def label(cls, settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
        """Return ``gradcam``, ``gain`` or ``gain_ext``, by the weights, and what the data do against a bias."""
        return method_name(settings, data)

    @property
    def takes_masks(self) -> bool:
        """Return whether L_e is part of the loss."""
        return bool(self.hparams.ext_weight > 0)

    @property
    def guides_maps(self) -> bool:
        """Return whether a term on maps has a weight."""
        return method_of_weights(self.hparams) != "gradcam"

    def recorders(self, run_dir: Path) -> list[pl.Callback]:
        """Return the recorders of a classifier, the forecast of the cost, and the count of zero maps."""
        return [*super().recorders(run_dir), CostForecast(), ZeroMaps()]

    # One step ---------------------------------------------------------------------------------------------

    def losses(
        self,
        weak: Batch,
        masked: Batch | None,
        guidance: float,
        *,
        turn: int | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss and its terms.

        Args:
            weak: Batch of the weak stream, with normalised images; its ``pairs`` are listed here if they are not yet.
            masked: Batch of the masked stream, or None; its images enter L_e alone.
            guidance: Factor on all weights, 0 to 1.
            turn: Number of batches before this one, by which terms take turns; None computes all.

        Returns:
            ``loss``, the weighted sum, and its terms: ``loss_cl``, those of :data:`TERMS` that are in force, and those
            of a subclass.
        """
        weights = self.weights(guidance, turn, has_masks=masked is not None)
        step = self.forward_streams(weak, masked, weights, guidance)
        terms = {"loss_cl": self.classification_term(step, weak)}
        if weights or self.adds_terms(guidance):
            maps = self.explain(step)  # Eq. 1, 2: (P, 1, h, w)
            attention = maps.relu()  # maps are signed where settings say so
            terms |= mining_terms(self, self.judge, step, attention, weights)  # Eq. 3-5
            terms |= view_terms(self, self.judge, step, attention, weights)
            terms |= supervision_terms(self, step, maps, weights)  # Eq. 7
            terms |= self.extra_terms(step, attention) if guidance else {}  # a subclass's own
        balanced = self.balance and self.balance.weigh(weights, terms, step.features, self._trainer)
        return {"loss": weighted_sum(terms, balanced or weights), **terms}  # Eq. 6, 8

    def weights(self, guidance: float, turn: int | None, *, has_masks: bool) -> dict[str, float]:
        """Weights of the terms in force beside L_cl, by name: those of :data:`TERMS`, of Eq. 6 and 8."""
        settings = self.hparams
        return {
            name: guidance * settings[term.weight] * term.steps_between(settings)
            for name, term in TERMS.items()
            if guidance
            and settings[term.weight]
            and (turn is None or (turn + 1) % term.steps_between(settings) == 0)
            and (term.stream == "weak" or has_masks)
        }

    def forward_streams(
        self,
        weak: Batch,
        masked: Batch | None,
        weights: Mapping[str, float],
        guidance: float,
    ) -> Step:
        """Run the network over both streams at once; the masked stream joins only if L_e sees these features."""
        weak = self.pairs_of("weak", weak)
        masked = self.pairs_of("masked", masked) if masked is not None and "loss_ext" in weights else None
        is_joined = self.hparams.ext_layer == "features"
        joined = [weak] if masked is None or not is_joined else [weak, masked]
        image = torch.cat([stream["image"] for stream in joined])
        features = self.features_of(image, recompute_in=kept_batch_norm_statistics)  # (N, K, h, w)
        # Features whose weights are all frozen have no graph of their own.
        if not features.requires_grad:
            features.requires_grad_()
        logits = self.backbone.head(features)  # (N, C)
        is_explained = any(TERMS[name].stream == "weak" for name in weights) or self.adds_terms(guidance)
        weak_pairs = weak["pairs"] if is_explained else weak["pairs"].none()
        label = self.multi_hot(weak["label"])
        inside = borders.joined([borders.inside_of(stream) for stream in joined])
        return Step(image, features, logits, label, weak_pairs, masked, guidance, is_joined, inside)

    def explain(self, step: Step) -> Tensor:
        """Compute Grad-CAM of every pair, Eq. 1 and 2, before scaling, ``(P, 1, h, w)``; signed if settings say so."""
        how = {"second_order": self.hparams.second_order, "signed": self.hparams.map_sign == "both"}
        maps = self.cam(step.features, self.map_score(step.logits), step.pairs, **how)
        maps = borders.clear_cells(maps, step.pairs, step.inside, self.backbone.cells(step.image.shape[2:]))
        self.zero_maps = (maps.detach().amax((1, 2, 3)) <= EPS).sum(), len(maps)
        return maps


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, Tensor | float]) -> Tensor:
    """Return the sum of all terms, each with its weight, Eq. 6 and 8; L_cl and a subclass's own have none.

    Example:
        >>> weighted_sum({"loss_cl": torch.tensor(1.0), "loss_am": torch.tensor(2.0)}, {"loss_am": 0.5})
        tensor(2.)
    """
    loss, *others = (weights[name] * term if name in weights else term for name, term in terms.items())
    for term in others:
        loss = loss + term
    return loss
