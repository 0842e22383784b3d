"""Records of a test: the scores of every image, class and group, and the maps of the first images."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from gain_lightning.attention import scale_maps
from gain_lightning.datasets.class_masks import ClassMasks, join_to_index_mask
from gain_lightning.datasets.sample import Batch, judged_by
from gain_lightning.methods.outputs import Attends, Scored
from gain_lightning.methods.scoring import SEED_THRESHOLD, judged_pairs, pair_values
from gain_lightning.methods.trainer import data_of, is_trial
from gain_lightning.metrics import box_ious, seed_iou
from gain_lightning.runs.classes import class_table, write_classes
from gain_lightning.runs.groups import write_groups
from gain_lightning.runs.images import PER_IMAGE, ImageFile, ImageRows, join_parts, parts_of
from gain_lightning.runs.map_checks import forget_map_checks
from gain_lightning.runs.maps import NUM_KEPT_MAPS, Maps, write_maps
from gain_lightning.scores import pair_scores
from gain_lightning.support.files import remove_parts

# The column that a kind of truth has in per_image.csv beside its scores: the overlap at the paper's threshold.
_OVERLAP = {"mask": "iou", "box": "box_iou"}


class ImageRecord(pl.Callback):
    """Writes ``per_image.csv`` while a test runs, and after it the tables of classes and groups, and ``maps.npz``.

    Every process writes the rows of its images as they come, and the first process joins the parts, so no process
    ever holds more than a batch's rows. A file appears once it is whole, so a killed test leaves the file of an
    earlier one.

    Args:
        run_dir: The run folder, which all processes share.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        # This file holds the rows of this process alone.
        self.table: ImageFile | None = None
        self.kept: list[Maps] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the table, and remove the parts of a killed test; a run for trial writes no table."""
        if is_trial(trainer):
            return
        if trainer.is_global_zero:
            remove_parts(self.run_dir, PER_IMAGE)
        trainer.strategy.barrier(PER_IMAGE)
        self.table = ImageFile(parts_of(self.run_dir, trainer.world_size)[trainer.global_rank])
        self.kept = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Attends,
        outputs: Scored,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write every image's scores, and keep the first images' maps."""
        if self.table is None:
            return
        test_sets = data_of(trainer).test_sets
        class_names = pl_module.hparams.class_names
        rows = image_rows(
            list(test_sets)[dataloader_idx],
            batch,
            outputs,
            getattr(data_of(trainer), "group_names", ()),
            with_amounts=pl_module.task.has_amounts,
            truths={judged_by(pictures) for pictures in test_sets.values()},
        )
        self.table.add(rows, class_names)
        if dataloader_idx == 0 and sum(len(kept.ids) for kept in self.kept) < NUM_KEPT_MAPS:
            image = pl_module.backbone.denormalize(batch["image"])
            self.kept.append(keep_maps(batch, outputs, image, class_names))

    def on_test_end(self, trainer: pl.Trainer, pl_module: Attends) -> None:
        """Join the rows and write the rest."""
        if self.table is None:
            return
        self.table.finish()
        self.table = None
        trainer.strategy.barrier(PER_IMAGE)
        if trainer.is_global_zero:
            if trainer.world_size > 1:
                join_parts(parts_of(self.run_dir, trainer.world_size), self.run_dir / PER_IMAGE)
            columns, rows = class_table(pl_module.hparams.class_names, pl_module.class_scores)
            write_classes(self.run_dir, columns, rows)
            tables = {"test/per_class": (columns, rows)}
            groups = pl_module.group_tables.get("test")
            write_groups(self.run_dir, groups)
            if groups is not None:
                tables["test/per_group"] = groups.rows()
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    for name, table in tables.items():
                        logger.log_table(name, *table)
            forget_map_checks(self.run_dir)
            write_maps(self.run_dir, self.kept)
        self.kept = []

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Drop this test's table, so that the table of an earlier test stays."""
        if self.table is not None:
            self.table.drop()
            self.table = None


def image_rows(
    name: str,
    batch: Batch,
    outputs: Scored,
    group_names: Sequence[str] = (),
    *,
    with_amounts: bool = False,
    truths: Collection[str] = ("mask",),
) -> ImageRows:
    """Return the rows that a batch of the test set ``name`` adds to ``per_image.csv``.

    Args:
        name: The name of the set.
        batch: The batch.
        outputs: What the method says of it.
        group_names: The names of the groups of images.
        with_amounts: If true, the label's amounts stand beside the scores; otherwise logits do.
        truths: What maps of any of the test sets are judged by, ``mask`` or ``box``: it decides about the columns.
    """
    maps, pairs, mask, boxes = outputs["maps"], outputs["pairs"], outputs["mask"], outputs.get("boxes")
    groups = batch["group"].tolist() if group_names else []
    column, beside = ("amount", batch["label"]) if with_amounts else ("logit", outputs["logit"])
    values = pair_values(maps, mask, boxes)
    if boxes is None:
        values[_OVERLAP["mask"]] = seed_iou(scale_maps(maps), mask, threshold=SEED_THRESHOLD)
    else:
        values[_OVERLAP["box"]] = box_ious(maps, boxes, (SEED_THRESHOLD,))[:, 0, 0]
    columns = [
        column
        for truth in _OVERLAP
        if truth in truths
        for column in (*(score.key for score in pair_scores(truth)), _OVERLAP[truth])
    ]
    label = batch["label"]
    present = (
        label > 0 if label.ndim == 2 else torch.nn.functional.one_hot(label, outputs["score"].shape[1]) > 0
    )
    return ImageRows(
        name,
        batch["id"],
        present=present.cpu().numpy(),
        score=outputs["score"].cpu().numpy(),
        beside=(column, beside.cpu().numpy()),
        pair_image=pairs.image.cpu().numpy(),
        pair_class=pairs.label.cpu().numpy(),
        judged=judged_pairs(mask, boxes).cpu().numpy(),
        pair_scores={key: values[key].cpu().numpy() if key in values else None for key in columns},
        groups=["" if group < 0 else group_names[group] for group in groups],
    )


def keep_maps(batch: Batch, outputs: Scored, image: Tensor, class_names: Sequence[str]) -> Maps:
    """Return a batch's images, masks, filled boxes, scaled maps and the maxima before scaling, as arrays."""
    pairs, maps, boxes = outputs["pairs"], outputs["maps"], outputs.get("boxes")
    return Maps(
        ids=np.array(batch["id"]),
        image=image.permute(0, 2, 3, 1).cpu().numpy(),
        mask=np.stack([index_mask(batch, n) for n in range(len(batch["id"]))]),
        pair_image=pairs.image.cpu().numpy(),
        pair_class=pairs.label.cpu().numpy(),
        pair_mask=outputs["mask"].cpu().numpy().astype(np.uint8),
        map=scale_maps(maps).squeeze(1).cpu().numpy().astype(np.float16),
        class_names=np.array(class_names),
        map_max=maps.flatten(1).amax(1).cpu().numpy() if len(maps) else np.zeros(0, np.float32),
        pair_box=None if boxes is None else boxes.masks(maps.shape[2:]).cpu().numpy(),
        window=batch["window"].cpu().numpy() if "window" in batch else None,
    )


def index_mask(batch: Batch, n: int) -> np.ndarray:
    """Return the mask of a batch's n-th image as class indices, to look at, ``(H, W)`` uint8."""
    of_image = batch["mask_image"] == n
    masks = ClassMasks(batch["mask_class"][of_image].cpu().numpy(), batch["mask"][of_image].cpu().numpy())
    label = batch["label"][n].cpu().numpy()
    return join_to_index_mask(masks, np.arange(int(label) + 1) == label if label.ndim == 0 else label)
