"""A classifier whose maps are scored: the common part of GAIN and its rivals."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
import torchmetrics
from torch import Tensor, nn

from gain_lightning.attention import CAMS, Pairs, label_pairs, margins, pair_masks, place_maps, sample_labels
from gain_lightning.backbones import build_backbone, checkpointed, in_tiles
from gain_lightning.datasets.sample import Batch
from gain_lightning.methods.base import INFERENCE_MODE, Method
from gain_lightning.methods.borders import clear_pixels, inside_of, normalized
from gain_lightning.methods.group_scores import (
    GroupScores,
    WorstClass,
    begin_group_scores,
    keys_to_choose_by,
)
from gain_lightning.methods.image_record import ImageRecord
from gain_lightning.methods.map_writer import MapWriter, PictureBatch
from gain_lightning.methods.outputs import Predicted, Scored
from gain_lightning.methods.panels import AttentionPanels
from gain_lightning.methods.scoring import MapScores, SetResult, SetScores
from gain_lightning.methods.tasks import TASKS, MultiLabel
from gain_lightning.methods.trainer import data_of
from gain_lightning.metrics import PairBoxes, center_gaussian, pair_boxes
from gain_lightning.support.names import places_of


class Classifier(Method):
    """A network ``features | head`` with a task, scored with its Grad-CAM maps; a subclass adds the training step.

    A subclass keeps its arguments by ``save_hyperparameters`` and then calls :meth:`build`.

    Attributes:
        backbone: See :class:`gain_lightning.Backbone`.
        cam: The class activation map, see :data:`gain_lightning.attention.CAMS`.
        task: The meaning of labels, see :mod:`gain_lightning.methods.tasks`.
        scored: Indices of the classes that mean scores run over.
        class_scores: Columns of ``per_class.csv`` after a test.
        selected_threshold: The threshold of seeds that is best on the masked images for choosing, as of the last
            validation; None without such images.
    """

    kind = "a classifier"
    predict_options: ClassVar[Mapping[str, Any]] = {"classes": None, "threshold": 0.5, "mark_threshold": 0.2}

    def build(self) -> None:
        """Make the network, the task and the metrics that the settings ask for."""
        hparams = self.hparams
        class_names = hparams.class_names
        backbone = build_backbone(
            hparams.backbone,
            len(class_names),
            weights=hparams.weights,
            output_stride=hparams.output_stride,
            class_names=class_names,
            memory_format=hparams.memory_format,
        )
        self.backbone = in_tiles(backbone, hparams.get("tile_size"))
        # torch.compile takes a changing number of images for a symbol; the size of images never changes.
        if hparams.compile_features:
            self.backbone.features.compile()
        score_names = class_names if hparams.score_classes is None else hparams.score_classes
        self.scored = places_of(score_names, class_names, "model.score_classes")
        self.task.prepare()
        self.cam = CAMS[hparams.map_method]
        self.val_metrics = self._new_scores()
        self.test_metrics = self._new_scores()
        self.select_metrics = MapScores(len(class_names), self.scored)
        self.selected_threshold: float | None = None
        # Scores of the map that looks at the centre of every test image.
        self.center_metrics = MapScores(len(class_names), self.scored)
        # Mean decision, or mean error, on every test set.
        self.decisions = cast("Sequence[torchmetrics.MeanMetric]", nn.ModuleList())
        # Scores of groups, or of the worst class, by split; the data say which groups there are.
        self.group_scores = cast("dict[str, GroupScores | WorstClass]", nn.ModuleDict())
        # The latest value of every term of the loss in this epoch.
        self.logged: dict[str, Tensor | float] = {}
        # Lightning keeps the modes that it finds.
        self.train()

    @property
    def task(self) -> MultiLabel:
        """The meaning of labels, see :mod:`gain_lightning.methods.tasks`."""
        # The task is made anew on each access: a kept task and its model would hold each other in memory.
        return TASKS[self.hparams.task](self)

    def _new_scores(self) -> SetScores:
        return SetScores(len(self.hparams.class_names), self.scored, is_regression=self.task.has_amounts)

    def new_layers(self) -> nn.Module:
        """Return the last layer."""
        return self.backbone.classifier

    def validation_scores(self, data: pl.LightningDataModule | None = None) -> list[str]:
        """Return the keys of the scores of the predictions, then those of the maps and of groups."""
        of_groups = keys_to_choose_by(self.task, has_groups=bool(getattr(data, "group_names", ())))
        return [*self.val_metrics.keys(), *of_groups]

    def recorders(self, run_dir: Path) -> list[pl.Callback]:
        """Return the callbacks that record every image's scores and maps, and draw attention."""
        return [ImageRecord(run_dir), AttentionPanels(run_dir)]

    def map_writer(
        self, images: Path, out: Path, pictures: list[Path], options: Mapping[str, Any]
    ) -> MapWriter:
        """Return the callback that writes the maps of each picture, and a table of its scores."""
        names = self.hparams.class_names
        mapped = self.with_place(torch.ones(1, len(names)))[0].nonzero().flatten().tolist()
        return MapWriter.for_pictures(images, out, pictures, [names[index] for index in mapped], **options)

    def setup(self, stage: str) -> None:
        """Begin the scores of groups, which the data name."""
        super().setup(stage)
        if stage != "predict":
            split = "test" if stage == "test" else "val"
            self.group_scores[split] = begin_group_scores(
                split, self.task, self.scored, data_of(self.trainer)
            )

    # The network and its maps -----------------------------------------------------------------------------

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits ``(N, C)`` of normalised images ``(N, 3, H, W)``."""
        logits: Tensor = self.backbone(image)
        return logits

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise the pictures on the device, with the statistics of the backbone's weights."""
        # A training batch holds one batch for each stream.
        if "image" not in batch:
            return {
                name: self.on_after_batch_transfer(stream, dataloader_idx) for name, stream in batch.items()
            }
        return {**batch, "image": normalized(self.backbone, batch)}

    def attend(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Pairs]:
        """Classify images and map the attention of given classes, without building a graph of ``features``.

        Args:
            image: Normalised images, shape ``(N, 3, H, W)``.
            label: 1 for every class to map, shape ``(N, C)``; a class without a place gets no map.

        Returns:
            The logits ``(N, C)``, the maps before scaling ``(P, 1, h, w)``, and the pairs of the maps.

        Raises:
            RuntimeError: Under ``torch.inference_mode``, where Grad-CAM has no gradient.
        """
        if torch.is_inference_mode_enabled():
            raise RuntimeError(INFERENCE_MODE)
        with torch.no_grad():
            features = self.backbone.features(image)
        return self.attend_features(features, label)

    def attend_features(self, features: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Pairs]:
        """Classify and map as :meth:`attend` does, from features ``(N, K, h, w)`` that have no graph."""
        with torch.enable_grad():
            features.requires_grad_()
            logits = self.backbone.head(features)
            pairs = label_pairs(self.with_place(label))
            maps = self.cam(features, self.map_score(logits), pairs, second_order=False)
        return logits.detach(), maps.detach(), pairs

    def features_of(
        self, image: Tensor, *, recompute_in: Callable[[nn.Module], AbstractContextManager[None]]
    ) -> Tensor:
        """Compute ``backbone.features``.

        Args:
            image: Normalised images, shape ``(N, 3, H, W)``.
            recompute_in: Context that sets BatchNorm where checkpointing computes the features a second time.
        """
        if not self.hparams.checkpoint_features:
            features: Tensor = self.backbone.features(image)
            return features
        return checkpointed(self.backbone.features, image, recompute_in=lambda: recompute_in(self.backbone))

    def map_score(self, logits: Tensor) -> Tensor:
        """Return the scores that maps explain, s^c of Eq. 1: the logits, or their margins, ``(N, C)``."""
        return margins(logits) if self.hparams.map_score == "margin" else logits

    def place(self, maps: Tensor, size: tuple[int, ...]) -> Tensor:
        """Draw maps ``(P, 1, h, w)`` at the ``size`` = (H, W) of their images, each cell where it was computed."""
        return place_maps(maps, size, self.backbone.cells(size))

    def multi_hot(self, label: Tensor) -> Tensor:
        """Return labels as ``(N, C)`` 0/1; class indices ``(N,)`` are spread out."""
        if label.ndim == 2:
            return label
        return nn.functional.one_hot(label, len(self.hparams.class_names)).float()

    def with_pairs(self, batch: Batch, most: int | None = None) -> Batch:
        """Return the batch with its pairs, which are listed here unless they are already.

        Args:
            batch: A batch with ``label``.
            most: Number of classes that are listed for an image at most; where it shows more, they are drawn anew
                each step. None lists all.
        """
        if "pairs" in batch:
            return batch
        label = self.multi_hot(batch["label"])
        self.task.check_batch(label, batch)
        label = self.with_place(label)
        if most is not None:
            step = (torch.initial_seed(), self.global_rank, self.global_step)
            label = sample_labels(label, most, torch.Generator().manual_seed(hash(step)))
        return {**batch, "pairs": label_pairs(label)}

    def scores(self, logits: Tensor) -> Tensor:
        """Return the probability of every class, or in ``regression`` its amount, ``(N, C)``."""
        return self.task.scores(logits)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return the logit of each probability of :meth:`scores`, ``(N, C)``.

        Logits still differ where probabilities round to 0 or 1. In ``regression`` they are the network's own.
        """
        return self.task.log_odds(logits)

    # The terms of the loss --------------------------------------------------------------------------------

    def log_terms(self, terms: Mapping[str, Tensor]) -> None:
        """Log the terms of the loss; a term that this step did not compute keeps its last value of this epoch."""
        self.logged.update({f"train/{name}": term.detach() for name, term in terms.items()})
        self.log_dict(self.logged, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        """Forget the terms, so that the next epoch logs only its own."""
        self.logged = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the last values of terms that not every step computes, and the threshold that was chosen."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["selected_threshold"] = self.selected_threshold
        checkpoint["logged"] = {name: float(term) for name, term in self.logged.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on logging the terms that the checkpoint kept, with the threshold that it chose."""
        self.selected_threshold = checkpoint.get("selected_threshold")
        self.logged = dict(checkpoint.get("logged", {}))

    # Validation, test and prediction ----------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Scored:
        """Score a batch of the validation set, or of the masked images that settings are chosen on."""
        if dataloader_idx == 0:
            outputs = self._score(batch, self.val_metrics)
            self._judge("val", batch, outputs)
            return outputs
        outputs = self._score(batch, None)
        self.select_metrics.update_maps(outputs["maps"], outputs["mask"], outputs["pairs"])
        return outputs

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Scored:
        """Score a batch of a test set: the first set by every metric, all sets by their accuracy."""
        outputs = self._score(batch, None if dataloader_idx else self.test_metrics)
        if dataloader_idx == 0:
            maps = center_gaussian(batch["image"].shape[2:]).to(self.device)
            maps = maps.expand(len(outputs["maps"]), -1, -1, -1)
            self.center_metrics.update_maps(maps, outputs["mask"], outputs["pairs"], outputs["boxes"])
        judged = self._judge("" if dataloader_idx else "test", batch, outputs)
        self.decisions[dataloader_idx].update(judged)
        return outputs

    def predict_step(self, batch: Batch | PictureBatch, batch_idx: int) -> Predicted:
        """Return the scores and logits ``(N, C)`` of a batch of pictures."""
        logits = self(batch["image"])
        return Predicted(score=self.scores(logits), logit=self.log_odds(logits))

    def _score(self, batch: Batch, metrics: SetScores | None) -> Scored:
        """Run a batch and update ``metrics``.

        Returns:
            ``score`` and ``logit`` ``(N, C)``, placed ``maps`` before scaling ``(P, 1, H, W)``, each pair's
            ``mask`` ``(P, H, W)``, the ``pairs``, and their ``boxes``.
        """
        label = self.multi_hot(batch["label"])
        logits, maps, pairs = self.attend(batch["image"], label)
        score, logit = self.scores(logits), self.log_odds(logits)
        maps = clear_pixels(self.place(maps, batch["image"].shape[2:]), pairs, inside_of(batch))
        mask = masks_of_pairs(batch, pairs)
        boxes = boxes_of_pairs(batch, pairs)
        if metrics is not None:
            metrics.update(score if self.task.has_amounts else logit, label, maps, mask, pairs, boxes)
        return Scored(score=score, logit=logit, maps=maps, mask=mask, pairs=pairs, boxes=boxes)

    def _judge(self, split: str, batch: Batch, outputs: Scored) -> Tensor:
        """Judge the decision on each image, ``(N,)``, and count it in the groups of the split."""
        label = self.multi_hot(batch["label"])
        judged = self.task.judge(outputs["score"], label, data_of(self.trainer).accuracy_class)
        if split in self.group_scores:
            self.group_scores[split].update(judged, label, batch["group"])
        return judged

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores, and choose the threshold of seeds where there are images for it."""
        self._log_scores("val", self.val_metrics)
        if getattr(data_of(self.trainer), "select_set", None) is not None:
            chosen = self._log_scores("select", self.select_metrics)
            self.selected_threshold = float(chosen.scores["seed_threshold_best"])

    def on_test_epoch_start(self) -> None:
        """Begin one mean for every test set."""
        metrics = [torchmetrics.MeanMetric() for _ in data_of(self.trainer).test_sets]
        self.decisions = cast("Sequence[torchmetrics.MeanMetric]", nn.ModuleList(metrics).to(self.device))

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self.class_scores = self._log_scores("test", self.test_metrics, self.selected_threshold).per_class
        self._log_scores("center", self.center_metrics)
        data = data_of(self.trainer)
        judged = [metric.compute() for metric in self.decisions]
        self.log_dict(self.task.set_scores(judged, list(data.test_sets)[1:], data.accuracy_class))

    def _log_scores(self, split: str, metrics: MapScores, threshold: float | None = None) -> SetResult:
        """Log and return the scores of a set, those at a threshold that was chosen elsewhere among them."""
        result = metrics.compute(threshold)
        metrics.reset()
        self.judged[split] = result.judged
        scores = dict(result.scores)
        if split in self.group_scores:
            of_groups, table = self.group_scores[split].compute(result.per_class)
            scores |= of_groups
            self.group_tables |= {split: table} if table else {}
        self.log_dict({f"{split}/{name}": value for name, value in scores.items()})
        return result


def masks_of_pairs(batch: Batch, pairs: Pairs) -> Tensor:
    """Return the mask of every pair of a batch, ``(P, H, W)``.

    Raises:
        ValueError: If the batch lacks a key that :func:`gain_lightning.datasets.sample.collate` makes.
    """
    missing = [key for key in ("mask", "mask_image", "mask_class") if key not in batch]
    if missing:
        raise ValueError(
            f"a batch has no {missing[0]!r}, expected one mask a marked class: mask (M, H, W) of 0, 1 and 255, "
            "mask_image and mask_class, as gain_lightning.datasets.sample.collate makes them; split_index_mask of "
            "datasets.class_masks makes them of one mask of class indices"
        )
    return pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)


def boxes_of_pairs(batch: Batch, pairs: Pairs) -> PairBoxes | None:
    """Return the boxes of every pair of a batch; None of a set that is not judged by boxes."""
    if "box" not in batch:
        return None
    boxes = pair_boxes(batch["box"], batch["box_image"], batch["box_class"], pairs)
    return boxes._replace(window=batch["window"][pairs.image]) if "window" in batch else boxes
