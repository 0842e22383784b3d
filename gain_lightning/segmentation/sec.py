"""SEC: a segmentation network trained on localisation cues (Kolesnikov & Lampert, ECCV 2016)."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gain_lightning.attention import even_cells, place_maps
from gain_lightning.constants import VOID
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.methods.base import Method, share_of_step
from gain_lightning.methods.map_writer import PictureBatch
from gain_lightning.methods.trainer import data_of
from gain_lightning.segmentation.crf.dense import dense_crf
from gain_lightning.segmentation.crf.kernels import Kernels
from gain_lightning.segmentation.crf.pool import CrfPool
from gain_lightning.segmentation.cue_data import CueBatch, CueDataModule, FullSizeBatch
from gain_lightning.segmentation.largefov import build_largefov
from gain_lightning.segmentation.losses import (
    TEST_FLOOR,
    constrain_loss,
    expansion_loss,
    log_probabilities,
    seeding_loss,
)
from gain_lightning.segmentation.record import SegmentationRecord, Segmented
from gain_lightning.segmentation.writer import SegmentationWriter
from gain_lightning.support.names import places_of
from gain_lightning.support.sharing import in_turn
from gain_lightning.support.threads import free_cores


class SeenBatch(CueBatch):
    """A training batch on the device: ``image`` is normalised, ``raw`` ``(N, 3, H, W)`` uint8 as it was."""

    raw: Tensor


class SEC(Method):
    """DeepLab-LargeFOV trained by ``L = L_seed + L_expand + L_constrain`` on image labels and cues alone.

    Args:
        class_names: Names of the C classes, from the data module.
        image_size: Side of the training images in pixels, from the data module; 321 in SEC.
        backbone: Name of a backbone, see :func:`gain_lightning.segmentation.largefov.build_largefov`; ``vgg16`` is
            the published network.
        weights: ``none``, ``default`` (pretrained) or the path of a state dict or of a run's checkpoint.
        output_stride: Input pixels per cell of the score map; null keeps the backbone's own.
        seed_weight: Weight of L_seed.
        expand_weight: Weight of L_expand.
        constrain_weight: Weight of L_constrain; 0 saves the CRF.
        crf_shrink: Divisor of the CRF's widths in pixels in training.
        crf_classes: Classes that the CRF infers in training: ``all``, as in SEC, or those ``present``, which is faster.
        test_crf: Whether the test is also scored with a dense CRF, at the images' own size.
        crf_workers: Number of processes that share these CRFs; 0 stays in this one. See
            :class:`gain_lightning.segmentation.crf.pool.CrfPool`.
        freeze_batch_norm: Whether all BatchNorm statistics stay as they were loaded.
        score_classes: Names of the classes that mean IoU runs over, beside the background, as far as a mask shows
            them; null takes all.
        no_object_classes: Names of the classes that have no place, from the data module; no pixel is asked to be of
            them.
        optimizer: A function of the parameter groups that makes the optimizer.
        lr_scheduler: A function of the optimizer that makes the scheduler; null keeps the rate.
        lr_interval: The scheduler steps every ``epoch`` or ``step``; schedules in shares of the training
            (:mod:`gain_lightning.methods.schedules`) step every step by themselves.
        new_layer_lr_scale: Learning rate of the new layers, relative to the others'. In a pretrained ``vgg16``, whose
            head is pretrained too, only the last layer is new, as in SEC; else the whole head is.

    Raises:
        ValueError: If an argument is out of range or names what does not exist.
    """

    name = "SEC"
    kind = "a segmentation network"
    predict_options: ClassVar[Mapping[str, Any]] = {
        "no_crf": False,
        "crf_workers": None,
        "voc_submission": False,
    }

    def __init__(
        self,
        class_names: list[str],
        image_size: int,
        backbone: str = "vgg16",
        weights: str = "none",
        output_stride: int | None = None,
        seed_weight: float = 1.0,
        expand_weight: float = 1.0,
        constrain_weight: float = 1.0,
        crf_shrink: float = 12.0,
        crf_classes: str = "all",
        test_crf: bool = True,
        crf_workers: int = 0,
        freeze_batch_norm: bool = False,
        score_classes: list[str] | None = None,
        no_object_classes: list[str] | None = None,
        optimizer: Callable[[Iterable], Optimizer] = torch.optim.SGD,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        lr_interval: str = "step",
        new_layer_lr_scale: float = 10.0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        _check(self.hparams)
        num_classes = len(class_names)
        self.backbone = build_largefov(
            backbone, num_classes, weights=weights, output_stride=output_stride, image_size=image_size
        )
        names = class_names if score_classes is None else score_classes
        self.scored = [0, *(place + 1 for place in places_of(names, class_names, "model.score_classes"))]
        self.image_counts: dict[str, dict[str, np.ndarray]] = {}
        # Lightning keeps the modes that it finds.
        self.train()

    @property
    def method(self) -> str:
        """Return ``sec_`` and the method of the run that the cues come from, where that is known."""
        cues: Any = data_of(self.trainer)
        return f"sec_{cues.cue_method}"

    def new_layers(self) -> nn.Module:
        """Return the last layer of a pretrained ``vgg16``, whose head is pretrained too; else the whole head."""
        head_is_pretrained = self.hparams.backbone == "vgg16" and self.hparams.weights != "none"
        return self.backbone.classifier if head_is_pretrained else self.backbone.head

    def validation_scores(self, data: pl.LightningDataModule | None = None) -> list[str]:
        """Return the key of the mean IoU."""
        return ["miou"]

    def recorders(self, run_dir: Path) -> list[pl.Callback]:
        """Return the callback that records scores of every class and image, and draws the first segmentations."""
        return [SegmentationRecord(run_dir)]

    def map_writer(
        self, images: Path, out: Path, pictures: list[Path], options: Mapping[str, Any]
    ) -> SegmentationWriter:
        """Return the callback that writes the segmentation of each picture."""
        if options["voc_submission"] and tuple(self.hparams.class_names) != CLASSES:
            raise ValueError(
                f"--voc_submission: the checkpoint's classes are {list(self.hparams.class_names)}, expected VOC's 20"
            )
        workers = free_cores() if options["crf_workers"] is None else options["crf_workers"]
        return SegmentationWriter(
            images,
            out,
            crf_workers=None if options["no_crf"] else workers,
            voc_submission=options["voc_submission"],
        )

    def check_resumed(self, checkpoint: Mapping[str, Any], data: CueDataModule) -> None:
        """Refuse to go on with other cues."""
        data.refuse_other_cues(checkpoint)

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores ``(N, 1 + C, h, w)`` of normalised images ``(N, 3, H, W)``, the background first."""
        return self.backbone(image)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise the pictures on the device; ``raw`` keeps them as they were."""
        return {**batch, "raw": batch["image"], "image": self.backbone.normalize(batch["image"])}

    def training_step(self, batch: SeenBatch, batch_idx: int) -> Tensor:
        """Log the terms of the loss and return the loss of one step."""
        terms = self.losses(batch)
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, prog_bar=True)
        return terms["loss"] * share_of_step(self.trainer, batch_idx)

    def losses(self, batch: SeenBatch) -> dict[str, Tensor]:
        """Return every term of the loss; the scores are brought to the cues' size first.

        Args:
            batch: ``image`` normalised, ``raw`` ``(N, 3, H, W)`` uint8, ``label`` ``(N, C)``, ``cues`` ``(N, h, w)``.

        Returns:
            ``loss``, ``loss_seed``, ``loss_expand``, and ``loss_constrain`` unless its weight is 0.
        """
        hparams, grid = self.hparams, tuple(batch["cues"].shape[1:])
        size = tuple(batch["image"].shape[2:])
        cells = self.backbone.cells(size).relative_to(even_cells(grid, size))
        scores = place_maps(self(batch["image"]), grid, cells)
        log_probs, label = log_probabilities(scores), self.with_place(batch["label"])
        terms = {
            "loss_seed": seeding_loss(log_probs, batch["cues"]),
            "loss_expand": expansion_loss(log_probs, label),
        }
        loss = hparams.seed_weight * terms["loss_seed"] + hparams.expand_weight * terms["loss_expand"]
        if hparams.constrain_weight:
            small = interpolate(batch["raw"].float(), grid, mode="bilinear", antialias=True)
            small = small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
            present = None
            if hparams.crf_classes == "present":
                present = torch.nn.functional.pad(label > 0, (1, 0), value=True)
            smooth = dense_crf(log_probs, small, Kernels(shrink=hparams.crf_shrink), present=present)
            terms["loss_constrain"] = constrain_loss(log_probs, smooth)
            loss = loss + hparams.constrain_weight * terms["loss_constrain"]
        return {"loss": loss, **terms}

    # Validation and test ----------------------------------------------------------------------------------

    def segment(self, image: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return the scores of images at a size; each cell of the score map is put where it was computed.

        Args:
            image: Normalised images, shape ``(N, 3, H, W)``.
            size: Height and width of the picture itself.

        Returns:
            Shape ``(N, 1 + C, height, width)``.
        """
        seen = tuple(image.shape[2:])
        return place_maps(self(image), size, self.backbone.cells(seen).relative_to(even_cells(size, seen)))

    def on_validation_epoch_start(self) -> None:
        """Forget the counts of earlier images."""
        self.image_counts = {}

    def validation_step(self, batch: FullSizeBatch, batch_idx: int) -> None:
        """Score one image at the size of its file."""
        mask = batch["mask"].long()
        scores = self.segment(batch["image"], mask.shape)
        self.image_counts[batch["id"][0]] = {"": pixel_counts(scores.argmax(1)[0], mask, scores.shape[1])}

    def on_test_start(self) -> None:
        """Open the processes of the CRFs, and forget the counts of earlier images."""
        self.crf_pool = CrfPool(self.hparams.crf_workers)
        self.crf_results: list[tuple[Future[np.ndarray], Tensor, dict[str, np.ndarray]]] = []
        self.image_counts = {}

    def test_step(self, batch: FullSizeBatch, batch_idx: int) -> Segmented:
        """Score one image at the size of its file, without and with a dense CRF, whose result may come later."""
        mask = batch["mask"].long()
        scores = self.segment(batch["image"], mask.shape)
        outputs = Segmented(segmentation=scores.argmax(1)[0])
        counts = {"": pixel_counts(outputs["segmentation"], mask, scores.shape[1])}
        self.image_counts[batch["id"][0]] = counts
        if self.hparams.test_crf:
            log_probs = log_probabilities(scores, floor=TEST_FLOOR)[0]
            outputs["segmentation_crf"] = self.crf_pool.submit(log_probs, batch["picture"])
            self.crf_results.append((outputs["segmentation_crf"], mask, counts))
            while self.crf_results and self.crf_results[0][0].done():
                self._score_crf()
        return outputs

    def _score_crf(self) -> None:
        future, mask, counts = self.crf_results.pop(0)
        segmentation = torch.from_numpy(future.result()).long().to(mask.device)
        counts["_crf"] = pixel_counts(segmentation, mask, 1 + len(self.hparams.class_names))

    def predict_step(self, batch: PictureBatch, batch_idx: int) -> Tensor:
        """Return the scores ``(N, 1 + C, h, w)`` of a batch of pictures."""
        return self(batch["image"])

    def on_validation_epoch_end(self) -> None:
        """Log the validation's mean IoU."""
        self._gather_counts()
        self.log("val/miou", self._miou("")[0])

    def on_test_epoch_end(self) -> None:
        """Log the test's mean IoU."""
        while self.crf_results:
            self._score_crf()
        self.crf_pool.close()
        self._gather_counts()
        self.class_scores = {}
        for kind in ("", "_crf") if self.hparams.test_crf else ("",):
            miou, iou = self._miou(kind)
            self.class_scores[f"iou{kind}"] = iou.tolist()
            self.log(f"test/miou{kind}", miou)
        names = ["background", *self.hparams.class_names]
        is_shown = sum(counts[""][0] for counts in self.image_counts.values()) > 0
        if not_shown := [names[index] for index in self.scored if not is_shown[index]]:
            what = (
                "there is no mean IoU of" if len(not_shown) == len(self.scored) else "the mean IoU is without"
            )
            rank_zero_warn(f"{what} {', '.join(not_shown)}, which no mask of the test shows")

    def _gather_counts(self) -> None:
        """Gather the counts of all processes' images, in the order of the set."""
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, self.image_counts)
            self.image_counts = dict(in_turn(of_rank.items() for of_rank in gathered))

    def _miou(self, kind: str) -> tuple[Tensor, Tensor]:
        """Return the mean IoU of the scored classes that masks show, and every class's IoU ``(1 + C,)``.

        The IoU of a class without a pixel is nan.

        Args:
            kind: The kind of image counts: "" for the bare scores, ``_crf`` for those after the CRF.
        """
        counts = sum(of_image[kind] for of_image in self.image_counts.values())
        true, found, right = torch.from_numpy(counts).double()
        iou = right / (true + found - right)
        return iou[self.scored][true[self.scored] > 0].mean().float(), iou


def pixel_counts(segmentation: Tensor, mask: Tensor, num_classes: int) -> np.ndarray:
    """Count the pixels of every class in the mask, in the segmentation, and in both, without void ones.

    Args:
        segmentation: Class indices, shape ``(H, W)`` int64.
        mask: True class indices of the same shape, 255 void.
        num_classes: Number of classes, the background included.

    Returns:
        Shape ``(3, num_classes)`` int64.

    Example:
        >>> pixel_counts(torch.tensor([[0, 1, 1]]), torch.tensor([[1, 1, 255]]), 2).tolist()
        [[0, 2], [1, 1], [0, 1]]
    """
    found, true = segmentation[mask != VOID], mask[mask != VOID]
    parts = [torch.bincount(classes, minlength=num_classes) for classes in (true, found, true[found == true])]
    return torch.stack(parts).cpu().numpy()


def _check(hparams: Any) -> None:
    """Refuse settings out of range, naming the key."""
    choices = {"crf_classes": ("all", "present"), "lr_interval": ("epoch", "step")}
    for key, known in choices.items():
        if hparams[key] not in known:
            raise ValueError(f"model.{key} is {hparams[key]!r}, expected one of {', '.join(known)}")
    for key in ("seed_weight", "expand_weight", "constrain_weight"):
        if not 0 <= hparams[key] < float("inf"):
            raise ValueError(f"model.{key} is {hparams[key]}, expected a number of at least 0")
    for key in ("crf_shrink", "new_layer_lr_scale"):
        if not 0 < hparams[key] < float("inf"):
            raise ValueError(f"model.{key} is {hparams[key]}, expected a positive number")
    if hparams.crf_workers < 0:
        raise ValueError(f"model.crf_workers is {hparams.crf_workers}, expected at least 0")
    places_of(hparams.score_classes or [], hparams.class_names, "model.score_classes")
    places_of(hparams.no_object_classes or [], hparams.class_names, "no_object_classes")
