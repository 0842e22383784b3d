"""GAIN: a classifier whose attention is part of the loss (Li et al., CVPR 2018)."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gain_lightning.attention import (
    EPS,
    Pairs,
    erase,
    grad_cam,
    label_pairs,
    margins,
    pair_masks,
    place_maps,
    sample_labels,
    scale_maps,
    soft_mask,
)
from gain_lightning.backbones import build_backbone, checkpointed
from gain_lightning.backbones.batch_norm import (
    batch_norm_layers,
    frozen_batch_norm,
    kept_batch_norm_statistics,
)
from gain_lightning.backbones.weights import saved_amount_unit
from gain_lightning.losses import (
    attention_mining_loss,
    attention_supervision_loss,
    classification_loss,
)
from gain_lightning.methods.gain_settings import check_settings
from gain_lightning.methods.layer_sync import check_layer_sync
from gain_lightning.methods.scoring import MapScores, SetScores
from gain_lightning.metrics import center_gaussian
from gain_lightning.support.names import written_as

INFERENCE_MODE = (
    "attention maps need gradients, but the Trainer runs in inference mode: expected "
    "Trainer(inference_mode=False), the default of the command gain"
)


class GAIN(pl.LightningModule):
    """Grad-CAM baseline, GAIN or GAIN_ext, by two weights: ``L = L_cl + am_weight L_am + ext_weight L_ext``.

    Both weights 0: a plain classifier. ``ext_weight`` 0: GAIN. Both positive: GAIN_ext. L_cl and L_am run
    over the weak stream, thus over every training image, L_ext over the masked stream. While the weights
    are 0 in the warm-up, all three methods take the same steps.

    Args:
        class_names: Names of the C classes, from the data module.
        image_size: Side of the training images in pixels, from the data module.
        backbone: ``tiny_cnn``, ``vgg16``, ``vgg19``, ``resnet18`` to ``101``, ``lite0`` or ``timm/<model>``.
        weights: ``none``, ``default`` (pretrained) or the path of a state dict or of a run's checkpoint, of which
            the last layer is taken over too where the classes are the same in the same order.
        output_stride: Input pixels per map cell; null keeps the backbone's own.
        task: ``multi_label`` (soft margin loss), ``single_label`` (cross-entropy) or ``regression`` (squared error):
            then labels are amounts from 0 on, a count or a size, and a class is present where its amount is above 0.
        cl_reduction: ``sum`` or ``mean`` over classes in L_cl, but of single labels. Beside a sum, the two weights
            below mean the same whatever the number of classes.
        am_weight: alpha of Eq. 6 and 8.
        ext_weight: The weight of L_e in Eq. 8 (there called omega; 10 in the paper).
        warmup_epochs: Epochs on L_cl alone; self-guidance from random weights harms.
        ramp_epochs: Epochs in which both weights then rise linearly to their value.
        sigma: Threshold of the soft mask, Eq. 4, in units of the scaled map: 0 to 1, unless ``scaling`` is none.
        omega: Slope of the soft mask, Eq. 4.
        scaling: How a map is brought to [0, 1] for Eq. 4 and 7: ``max``, ``minmax`` or ``none``.
        map_score: Score that maps are of, Eq. 1: the ``logit``, or, single-label only, its ``margin`` over the
            others, which also shows evidence against them.
        am_score: Score of Eq. 5: ``probability`` or ``logit``.
        am_gradient: What L_am moves: ``all`` of the network, also as the judge of erased images; or ``maps``: it
            reaches the network through what is erased alone, so none can learn to deny what an erased image shows.
        ext_resolution: Compare maps and masks in Eq. 7 at the size of the ``image`` or of the ``map``.
        ext_loss: L_e: ``l2`` is Eq. 7; ``l1``, ``energy``, ``rrr`` and ``cross_entropy`` are its rivals, see
            :func:`gain_lightning.losses.attention_supervision_loss`. Each wants a weight of its own.
        ext_reduction: ``mean`` or ``sum`` over pixels in Eq. 7.
        second_order: Let gradients pass through Grad-CAM's channel weights.
        freeze_batch_norm: Keep all BatchNorm statistics as they were loaded. In S_am they always stay.
        max_classes_per_image: Erase at most so many classes of an image, drawn anew each step: bounds memory
            and cost. An unbiased estimate of Eq. 5, with more noise; null erases all.
        am_every: Run S_am in every so many batches only, with as many times the weight. Cheaper; the mean
            gradient is the same, its noise is more. ``train/loss_am`` then is of the last batch in which it ran.
        memory_format: How images and weights lie in memory: ``channels_last``, ``contiguous``, or ``auto``, which
            takes the faster one for this backbone and machine. The same results to rounding.
        compile_features: Compile ``features`` by torch.compile. The same results to rounding; the first
            steps take minutes.
        checkpoint_features: Compute ``features`` again in the backward pass instead of keeping what is in
            between: the same results with less memory, for one more forward pass.
        score_classes: Names of the classes that mean scores run over; null takes all.
        optimizer: Called with the parameter groups.
        lr_scheduler: Called with the optimizer; null keeps the rate.
        lr_interval: Step the scheduler every ``epoch`` or ``step``.
        new_layer_lr_scale: Learning rate of the new last layer, relative to the others'.

    Raises:
        ValueError: If an argument is out of range or names what does not exist.
    """

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        backbone: str = "tiny_cnn",
        weights: str = "none",
        output_stride: int | None = None,
        task: str = "multi_label",
        cl_reduction: str = "sum",
        am_weight: float = 0.0,
        ext_weight: float = 0.0,
        warmup_epochs: int = 0,
        ramp_epochs: float = 0.0,
        sigma: float = 0.5,
        omega: float = 10.0,
        scaling: str = "max",
        map_score: str = "logit",
        am_score: str = "probability",
        am_gradient: str = "all",
        ext_resolution: str = "image",
        ext_loss: str = "l2",
        ext_reduction: str = "mean",
        second_order: bool = True,
        freeze_batch_norm: bool = False,
        max_classes_per_image: int | None = None,
        am_every: int = 1,
        memory_format: str = "auto",
        compile_features: bool = False,
        checkpoint_features: bool = False,
        score_classes: list[str] | None = None,
        optimizer: Callable[[Iterable], Optimizer] = torch.optim.AdamW,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        lr_interval: str = "epoch",
        new_layer_lr_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        check_settings(self.hparams)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        num_classes = len(class_names)
        self.backbone = build_backbone(
            backbone,
            num_classes,
            weights=weights,
            output_stride=output_stride,
            class_names=class_names,
            memory_format=memory_format,
        )
        if compile_features:
            self.backbone.features.compile()  # the number of images becomes a symbol when it changes, their size never
        score_names = class_names if score_classes is None else score_classes
        self.scored = [class_names.index(written_as(name, class_names)) for name in score_names]
        if task == "regression":  # unit of the logits: the mean amount of each class where it is present
            unit = saved_amount_unit(weights, class_names)
            self.register_buffer("amount_unit", torch.ones(num_classes) if unit is None else unit)
            self.starts_from_amounts = unit is not None
        is_regression = task == "regression"
        self.val_metrics = SetScores(num_classes, self.scored, is_regression=is_regression)
        self.test_metrics = SetScores(num_classes, self.scored, is_regression=is_regression)
        # of a map that looks at the centre of every test image
        self.center_metrics = MapScores(num_classes, self.scored)
        self.decisions = nn.ModuleList()  # of every test set, their accuracy or error
        self.judged: dict[
            str, dict[str, int]
        ] = {}  # by split, how many pairs of how many images maps are judged on
        self.zero_maps: tuple[Tensor | int, int] = (0, 0)  # of the last step: zero everywhere, and all
        self.logged: dict[str, Tensor | float] = {}  # every term where it was last computed in this epoch
        self.train()  # Lightning keeps the modes it finds

    @property
    def method(self) -> str:
        """``gradcam``, ``gain`` or ``gain_ext``, by the two weights."""
        return method_name(self.hparams.am_weight, self.hparams.ext_weight)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(N, C)`` of normalised images ``(N, 3, H, W)``."""
        return self.backbone(image)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """List the pairs of a training batch on the CPU, so that no step waits for a GPU to count them."""
        if "image" in batch:  # of validation, test or predict
            return batch
        return {name: self._with_pairs(stream, is_weak=name == "weak") for name, stream in batch.items()}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise the pictures on the device, with the statistics of the backbone's weights."""
        if "image" not in batch:  # the streams of a training batch
            return {
                name: self.on_after_batch_transfer(stream, dataloader_idx) for name, stream in batch.items()
            }
        return {**batch, "image": self.backbone.normalize(batch["image"])}

    # Training ---------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Refuse inference mode, and a GAIN_ext without masks, before any step."""
        if stage != "predict" and self.trainer.validate_loop.inference_mode:
            raise RuntimeError(INFERENCE_MODE)
        if stage == "fit":
            self._check_trainer()
        self._check_amounts(self.trainer.datamodule)
        if self.hparams.task == "single_label":
            self._check_single_labels(self.trainer.datamodule)
        labels = getattr(getattr(self.trainer.datamodule, "train_set", None), "labels", None)
        if stage == "fit" and self.hparams.task == "regression" and labels is not None:
            augmentation = getattr(self.trainer.datamodule, "augmentation", None)
            if augmentation is not None and augmentation.scale[1] > 1:
                raise ValueError(
                    f"data.augmentation.scale is {list(augmentation.scale)}, which cuts parts away, and amounts with "
                    "them: expected at most 1 with model.task regression (and 1, 1 where amounts are sizes)"
                )
            labels = torch.as_tensor(labels, dtype=torch.float32)
            count = (labels > 0).sum(0)
            unit = torch.where(count > 0, labels.sum(0) / count.clamp_min(1), 1).to(self.amount_unit)
            if self.starts_from_amounts:  # the same amounts as before, in the unit of these data
                with torch.no_grad():
                    for parameter in self.backbone.classifier.parameters():
                        parameter.mul_((self.amount_unit / unit).view(-1, *[1] * (parameter.ndim - 1)))
            self.amount_unit.copy_(unit)
        if stage == "fit" and self.hparams.task == "multi_label" and labels is not None:
            if labels.ndim == 2 and labels.shape[1] > 1 and (labels.sum(1) == 1).all():
                rank_zero_warn(
                    "every training image has exactly one label: model.task single_label trains them as exclusive"
                )
        if stage == "fit" and self.hparams.ext_weight > 0:
            if getattr(self.trainer.datamodule, "masked_set", None) is None:
                raise ValueError(
                    f"model.ext_weight is {self.hparams.ext_weight}, but no training image carries a mask: expected "
                    "masks and data.mask_budget > 0, or boxes and data.supervision box, or model.ext_weight 0"
                )

    def _check_trainer(self) -> None:
        """Refuse what maps cannot be taken through, or what would change the network."""
        check_layer_sync(self.trainer, self.backbone)
        strategy = type(self.trainer.strategy).__name__
        if any(name in strategy for name in ("FSDP", "DeepSpeed", "ModelParallel")):
            raise ValueError(
                f"trainer.strategy is {strategy}, which shards weights: maps differentiate the head's a second time, "
                "expected ddp"
            )
        is_guided = self.hparams.am_weight or self.hparams.ext_weight
        if str(self.trainer.precision).startswith("16") and self.hparams.second_order and is_guided:
            raise ValueError(
                f"trainer.precision is {self.trainer.precision}: gradients of gradients leave float16's range, "
                "expected bf16-mixed, 32-true, or model.second_order false"
            )

    def _check_amounts(self, data: Any) -> None:
        """Refuse amounts where the task wants classes, and amounts below 0."""
        is_regression = self.hparams.task == "regression"
        for name, images in _image_sets(data).items():
            labels = np.asarray(getattr(images, "labels", None) if images is not None else ())
            if labels.ndim != 2:
                continue
            fits = labels >= 0 if is_regression else (labels == 0) | (labels == 1)
            if not fits.all():  # nan fits neither
                row, class_idx = np.argwhere(~fits)[0]
                expected = "amounts from 0 on" if is_regression else "0 or 1, or model.task regression"
                raise ValueError(
                    f"{name}: image {images.ids[row]} has {labels[row, class_idx]:g} for "
                    f"{self.hparams.class_names[class_idx]}, expected {expected}"
                )

    def _check_single_labels(self, data: Any) -> None:
        """Refuse images of any set in use that have no label or several."""
        for name, images in _image_sets(data).items():
            labels = getattr(images, "labels", None)
            wrong = [] if labels is None or labels.ndim == 1 else (labels.sum(1) != 1).nonzero()[0]
            if len(wrong):
                raise ValueError(
                    f"model.task is single_label, but {len(wrong)} images of {name} do not have exactly one label, "
                    f"the first {images.ids[wrong[0]]}"
                )

    def train(self, mode: bool = True) -> "GAIN":
        """Training mode; BatchNorm stays in evaluation mode if ``freeze_batch_norm``."""
        super().train(mode)
        if self.hparams.freeze_batch_norm:
            for layer in batch_norm_layers(self.backbone):
                layer.eval()
        return self

    def guidance(self, epoch: float) -> float:
        """Share of both weights in force at a (fractional) epoch: 0 in the warm-up, then a ramp to 1."""
        past = epoch - self.hparams.warmup_epochs
        if past < 0:
            return 0.0
        return min(past / self.hparams.ramp_epochs, 1.0) if self.hparams.ramp_epochs else 1.0

    def on_train_start(self) -> None:
        """Warn of a training that ends before guidance, or S_am, has a turn."""
        hparams, trainer = self.hparams, self.trainer
        per_epoch, epochs = trainer.num_training_batches, trainer.max_epochs
        ends = [per_epoch * epochs] if epochs is not None and epochs >= 0 else []
        ends += [trainer.max_steps * trainer.accumulate_grad_batches] if trainer.max_steps >= 0 else []
        total = min(ends, default=math.inf)  # batches
        if not math.isfinite(total) or not math.isfinite(per_epoch):
            return
        if (hparams.am_weight or hparams.ext_weight) and not self.guidance((total - 1) / per_epoch):
            rank_zero_warn(
                f"guidance never begins: model.warmup_epochs is {hparams.warmup_epochs} and the training has {total} "
                f"batches, {per_epoch} an epoch; expected a longer training or a shorter warm-up"
            )
        elif hparams.am_weight:
            last = total // hparams.am_every * hparams.am_every  # S_am's last turn
            if not self.guidance((last - 1) / per_epoch):
                rank_zero_warn(
                    f"S_am will never run: its turn comes every {hparams.am_every} batches (model.am_every), and the "
                    f"training has {total}, of which model.warmup_epochs takes {hparams.warmup_epochs * per_epoch:g}"
                )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One step over both streams on the same weights."""
        guidance = self.guidance(self.current_epoch + batch_idx / self.trainer.num_training_batches)
        num_batches = self.current_epoch * self.trainer.num_training_batches + batch_idx  # over all epochs
        mine = (num_batches + 1) % self.hparams.am_every == 0
        terms = self.losses(batch["weak"], batch.get("masked"), guidance, mine=mine)
        self.logged.update({f"train/{name}": term.detach() for name, term in terms.items()})
        self.log_dict(self.logged, prog_bar=True)
        self.log("train/guidance", guidance)
        return terms["loss"] * share_of_step(self.trainer, batch_idx)

    def on_train_epoch_end(self) -> None:
        """The next epoch logs its own terms alone."""
        self.logged = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is logged of terms that not every step computes."""
        checkpoint["logged"] = {name: float(term) for name, term in self.logged.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on logging it."""
        self.logged = dict(checkpoint.get("logged", {}))

    def losses(
        self, weak: dict[str, Any], masked: dict[str, Any] | None, guidance: float, *, mine: bool = True
    ) -> dict[str, Tensor]:
        """Every term of the loss.

        Args:
            weak: Batch of the weak stream, images normalised; with its ``pairs``, or they are listed here.
            masked: The same of the masked stream, or None; its images enter L_ext alone.
            guidance: Factor on both weights.
            mine: Whether S_am runs, with ``am_every`` times its weight.

        Returns:
            ``loss``, their weighted sum, ``loss_cl``, and those of ``loss_am`` and ``loss_ext`` in force.
        """
        am_weight = guidance * self.hparams.am_weight * self.hparams.am_every if mine else 0.0
        ext_weight = guidance * self.hparams.ext_weight
        weak = self._with_pairs(weak, is_weak=True)
        streams = [weak]
        if ext_weight and masked is not None:
            masked = self._with_pairs(masked, is_weak=False)
            streams.append(masked)
        image = torch.cat([stream["image"] for stream in streams])
        label = self._multi_hot(weak["label"])
        num_weak = len(weak["image"])

        features = self._features(image, again=kept_batch_norm_statistics)  # (N, K, h, w)
        if not features.requires_grad:  # all their weights are frozen
            features.requires_grad_()
        logits = self.backbone.head(features)  # (N, C)
        hparams = self.hparams
        target = label / self.amount_unit if hparams.task == "regression" else label
        loss = classification_loss(
            logits[:num_weak], target, task=hparams.task, reduction=hparams.cl_reduction
        )
        terms = {"loss_cl": loss}
        if am_weight or len(streams) > 1:
            weak_pairs = weak["pairs"] if am_weight else weak["pairs"].none()
            num_mined = len(weak_pairs.image)
            pairs = weak_pairs.followed_by(masked["pairs"]) if len(streams) > 1 else weak_pairs
            score = self._map_score(logits)
            maps = grad_cam(features, score, pairs, second_order=self.hparams.second_order)  # (P, 1, h, w)
            self.zero_maps = (maps.detach().amax((1, 2, 3)) <= EPS).sum(), len(maps)
            if am_weight:
                terms["loss_am"] = self._mining_loss(image[:num_weak], maps[:num_mined], weak_pairs)
                loss = loss + am_weight * terms["loss_am"]
            if len(streams) > 1:
                terms["loss_ext"] = self._supervision_loss(maps[num_mined:], masked)
                loss = loss + ext_weight * terms["loss_ext"]
        return {"loss": loss, **terms}

    def _features(self, image: Tensor, *, again: Callable[[nn.Module], Any]) -> Tensor:
        """``backbone.features``; ``again`` is the state of BatchNorm in which they are computed once more."""
        if not self.hparams.checkpoint_features:
            return self.backbone.features(image)
        return checkpointed(self.backbone.features, image, again=lambda: again(self.backbone))

    def _with_pairs(self, stream: dict[str, Any], *, is_weak: bool) -> dict[str, Any]:
        """A stream's batch and its pairs; of the weak stream those that S_am erases, all or a random few an image."""
        if "pairs" in stream:
            return stream
        label = self._multi_hot(stream["label"])
        if self.hparams.task == "single_label" and (label.sum(1) != 1).any():
            wrong = stream["id"][int((label.sum(1) != 1).nonzero()[0])]
            raise ValueError(f"model.task is single_label, but image {wrong} does not have exactly one label")
        most = self.hparams.max_classes_per_image
        if is_weak and most is not None:
            step = (torch.initial_seed(), self.global_rank, self.global_step)
            label = sample_labels(label, most, torch.Generator().manual_seed(hash(step)))
        return {**stream, "pairs": label_pairs(label)}

    def _mining_loss(self, image: Tensor, maps: Tensor, pairs: Pairs) -> Tensor:
        """S_am: erase what each map attends to, ask the same network again."""
        hparams = self.hparams
        attention = self.place(scale_maps(maps, hparams.scaling), image.shape[2:])  # (P, 1, H, W)
        erased = erase(image[pairs.image], soft_mask(attention, sigma=hparams.sigma, omega=hparams.omega))
        erased = erased.to(image.dtype)  # maps are float32, where all of the network may be less
        if not len(erased):
            erased_logits = erased.new_zeros(0, len(hparams.class_names))
        else:
            judge = partial(frozen_batch_norm, weights=hparams.am_gradient == "maps")
            with judge(self.backbone):
                erased_logits = self.backbone.head(self._features(erased, again=judge))
        return attention_mining_loss(erased_logits, pairs, score=hparams.am_score, task=hparams.task)

    def _supervision_loss(self, maps: Tensor, masked: dict[str, Any]) -> Tensor:
        """S_e: the maps against the masks."""
        hparams, size = self.hparams, masked["image"].shape[2:]
        attention = scale_maps(maps, hparams.scaling)
        if hparams.ext_resolution == "image":
            attention = self.place(attention, size)
        return attention_supervision_loss(
            attention,
            _pair_masks(masked, masked["pairs"]),
            masked["pairs"],
            loss=hparams.ext_loss,
            reduction=hparams.ext_reduction,
            cells=self.backbone.cells(size),
        )

    def place(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps ``(P, 1, h, w)`` of images of ``size`` = (H, W), each cell where it was computed, ``(P, 1, H, W)``."""
        return place_maps(maps, size, self.backbone.cells(size))

    def _map_score(self, logits: Tensor) -> Tensor:
        return margins(logits) if self.hparams.map_score == "margin" else logits

    def _multi_hot(self, label: Tensor) -> Tensor:
        """Labels as ``(N, C)`` 0/1; class indices ``(N,)`` are spread out."""
        if label.ndim == 2:
            return label
        return nn.functional.one_hot(label, len(self.hparams.class_names)).float()

    def configure_optimizers(self) -> Any:
        """The optimizer with two parameter groups: the backbone and its new last layer."""
        new = list(self.backbone.classifier.parameters())
        known = {id(parameter) for parameter in new}
        old = [parameter for parameter in self.parameters() if id(parameter) not in known]
        optimizer = self.optimizer([{"params": old}, {"params": new}])
        optimizer.param_groups[1]["lr"] *= self.hparams.new_layer_lr_scale
        if self.lr_scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.lr_scheduler(optimizer), "interval": self.hparams.lr_interval}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    # Validation and test ----------------------------------------------------------------------------------

    def attend(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Pairs]:
        """Classify images and map the attention of given classes, without building a graph of ``features``.

        Args:
            image: Normalised images, shape ``(N, 3, H, W)``.
            label: 1 for every class to map, shape ``(N, C)``.

        Returns:
            Logits ``(N, C)``, maps before scaling ``(P, 1, h, w)``, and their pairs.

        Raises:
            RuntimeError: Under ``torch.inference_mode``, where Grad-CAM has no gradient.
        """
        if torch.is_inference_mode_enabled():
            raise RuntimeError(INFERENCE_MODE)
        with torch.no_grad():
            features = self.backbone.features(image)
        with torch.enable_grad():
            features.requires_grad_()
            logits = self.backbone.head(features)
            pairs = label_pairs(label)
            maps = grad_cam(features, self._map_score(logits), pairs)
        return logits.detach(), maps.detach(), pairs

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Score a batch of the validation set."""
        return self._score(batch, self.val_metrics)

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Score a batch of a test set: the first by every metric, all of them by their accuracy."""
        outputs = self._score(batch, None if dataloader_idx else self.test_metrics)
        if dataloader_idx == 0:
            maps = center_gaussian(batch["image"].shape[2:]).to(self.device)
            maps = maps.expand(len(outputs["maps"]), -1, -1, -1)
            self.center_metrics.update_maps(maps, outputs["mask"], outputs["pairs"])
        self.decisions[dataloader_idx].update(self._judged(outputs["score"], batch["label"]))
        return outputs

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Scores and logits ``(N, C)`` of a batch of pictures."""
        logits = self(batch["image"])
        return {"score": self.scores(logits), "logit": self.log_odds(logits)}

    def _score(self, batch: dict[str, Any], metrics: SetScores | None) -> dict[str, Any]:
        """Score and logit (N, C), placed maps before scaling (P, 1, H, W), their masks (P, H, W), and pairs."""
        label = self._multi_hot(batch["label"])
        logits, maps, pairs = self.attend(batch["image"], label)
        score, logit = self.scores(logits), self.log_odds(logits)
        maps, mask = self.place(maps, batch["image"].shape[2:]), _pair_masks(batch, pairs)
        if metrics is not None:
            answer = score if self.hparams.task == "regression" else logit
            metrics.update(answer, label, maps, mask, pairs)
        return {"score": score, "logit": logit, "maps": maps, "mask": mask, "pairs": pairs}

    def scores(self, logits: Tensor) -> Tensor:
        """Probability of every class, or in ``regression`` its amount, ``(N, C)``."""
        logits = logits.float()
        if self.hparams.task == "regression":
            return logits * self.amount_unit
        return logits.softmax(1) if self.hparams.task == "single_label" else logits.sigmoid()

    def log_odds(self, logits: Tensor) -> Tensor:
        """Logit of each probability of :meth:`scores`, ``(N, C)``: it differs where those round to 0 or 1.

        In ``regression`` the network's logits.
        """
        logits = logits.float()
        return margins(logits) if self.hparams.task == "single_label" else logits

    def _judged(self, score: Tensor, label: Tensor) -> Tensor:
        """Each image's error, ``(N,)``; or whether its decision is right: on the accuracy class, else on all scored."""
        label = self._multi_hot(label)
        if self.hparams.task == "regression":
            return (score - label).abs()[:, self.scored].mean(1)
        if self.hparams.task == "single_label":
            return (score.argmax(1) == label.argmax(1)).float()
        decision = (score > 0.5).float()
        name = self.trainer.datamodule.accuracy_class
        if name is None:
            return (decision == label)[:, self.scored].all(1).float()
        class_idx = self.hparams.class_names.index(name)
        return (decision[:, class_idx] == label[:, class_idx]).float()

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        self._log_scores("val", self.val_metrics)

    def on_test_epoch_start(self) -> None:
        """One accuracy, or error, for every test set."""
        metrics = [torchmetrics.MeanMetric() for _ in self.trainer.datamodule.test_sets]
        self.decisions = nn.ModuleList(metrics).to(self.device)

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self.class_scores = self._log_scores("test", self.test_metrics)
        self._log_scores("center", self.center_metrics)
        first, *others = (metric.compute() for metric in self.decisions)
        names = list(self.trainer.datamodule.test_sets)[1:]
        if self.hparams.task == "regression":
            self.log_dict({f"test/{name}_mae": value for name, value in zip(names, others, strict=True)})
            return
        if others or self.hparams.task == "single_label" or self.trainer.datamodule.accuracy_class:
            self.log("test/accuracy", first)  # of many labels at once it says little
        self.log_dict({f"test/{name}": value for name, value in zip(names, others, strict=True)})
        if others:
            self.log("test/biased_accuracy", torch.stack(others).mean())

    def _log_scores(self, split: str, metrics: MapScores) -> dict[str, list[float]]:
        """Log the scores of a set; returns those of every class."""
        result = metrics.compute()
        metrics.reset()
        self.judged[split] = result.judged
        self.log_dict({f"{split}/{name}": value for name, value in result.scores.items()})
        return result.of_class


def method_name(am_weight: float, ext_weight: float) -> str:
    """What the two weights make of :class:`GAIN`.

    Example:
        >>> method_name(0, 0), method_name(1, 0), method_name(1, 10)
        ('gradcam', 'gain', 'gain_ext')
    """
    return "gain_ext" if ext_weight else "gain" if am_weight else "gradcam"


def share_of_step(trainer: pl.Trainer, batch_idx: int) -> float:
    """What to multiply a batch's loss by, so that a step is the mean over its batches.

    Lightning divides every loss by ``accumulate_grad_batches``. The last step of an epoch may have fewer.

    Args:
        trainer: Knows how many batches a step and an epoch have.
        batch_idx: Of the batch in its epoch.

    Example:
        >>> from types import SimpleNamespace
        >>> trainer = SimpleNamespace(accumulate_grad_batches=4, num_training_batches=6)
        >>> [share_of_step(trainer, batch_idx) for batch_idx in range(6)]
        [1.0, 1.0, 1.0, 1.0, 2.0, 2.0]
    """
    most = trainer.accumulate_grad_batches
    left = trainer.num_training_batches - batch_idx // most * most
    return most / min(most, left)


def _image_sets(data: Any) -> dict[str, Any]:
    """The sets of a data module in use, by what they are for."""
    test_sets = getattr(data, "test_sets", None) or {}
    return {
        "training": getattr(data, "train_set", None),
        "validation": getattr(data, "val_set", None),
        **{f"test set {name}": images for name, images in test_sets.items()},
    }


def _pair_masks(batch: dict[str, Any], pairs: Pairs) -> Tensor:
    """The mask of every pair of a batch, ``(P, H, W)``."""
    missing = [key for key in ("mask", "mask_image", "mask_class") if key not in batch]
    if missing:
        raise ValueError(
            f"a batch has no {missing[0]!r}, expected one mask a marked class: mask (M, H, W) of 0, 1 and 255, "
            "mask_image and mask_class, as gain_lightning.datasets.sample.collate makes them; split_index_mask of "
            "datasets.class_masks makes them of one mask of class indices"
        )
    return pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)
