"""What a test leaves of every image: its scores, those of its classes, and the maps of the first ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from gain_lightning.attention import Pairs, scale_maps
from gain_lightning.datasets.class_masks import ClassMasks, join_to_index_mask
from gain_lightning.methods.scoring import SEED_THRESHOLD, pair_values
from gain_lightning.metrics import seed_iou, with_mask
from gain_lightning.runs.maps import NUM_KEPT_MAPS, save_maps
from gain_lightning.runs.tables import class_table, join_parts
from gain_lightning.support.files import WholeTable, csv_text, remove_parts, write_atomically


class ImageRecord(pl.Callback):
    """Writes ``per_image.csv`` while a test runs, and after it ``per_class.csv`` and ``maps.npz``.

    Every process writes the rows of its images as they come, and the first one joins them: no process ever holds more
    than a batch's rows. Each file is there once it is whole, so a test that is killed leaves that of an earlier one.

    Args:
        run_dir: The run folder, which all processes share.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.table: WholeTable | None = None  # the rows of this process
        self.is_empty = True
        self.kept: list[dict[str, np.ndarray]] = []

    def _paths(self, trainer: pl.Trainer) -> list[Path]:
        """Where each process's rows lie."""
        path = self.run_dir / "per_image.csv"
        if trainer.world_size == 1:
            return [path]
        return [path.with_name(f"{path.name}.rank{rank}.part") for rank in range(trainer.world_size)]

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the table, and remove what a killed test has left of its own. A run for trial writes none."""
        if trainer.fast_dev_run:
            return
        if trainer.is_global_zero:
            remove_parts(self.run_dir)
        trainer.strategy.barrier("per_image.csv")
        self.table = WholeTable(self._paths(trainer)[trainer.global_rank])
        self.is_empty = True
        self.kept = []

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: dict,
        batch: dict,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write every image's scores, and keep the first images' maps."""
        if self.table is None:
            return
        name = list(trainer.datamodule.test_sets)[dataloader_idx]
        hparams = pl_module.hparams
        rows = per_image_rows(
            name, batch, outputs, hparams.class_names, with_amounts=pl_module.task.has_amounts
        )
        if self.is_empty:
            self.table.write([rows[0].keys()])
            self.is_empty = False
        self.table.write(row.values() for row in rows)
        if dataloader_idx == 0 and sum(len(kept["ids"]) for kept in self.kept) < NUM_KEPT_MAPS:
            self.kept.append(keep_maps(batch, outputs, pl_module.backbone.denormalize(batch["image"])))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Join the rows and write the rest."""
        if self.table is None:
            return
        self.table.finish()
        self.table = None
        trainer.strategy.barrier("per_image.csv")
        if trainer.is_global_zero:
            if trainer.world_size > 1:
                join_parts(self._paths(trainer), self.run_dir / "per_image.csv")
            columns, rows = class_table(pl_module.hparams.class_names, pl_module.class_scores)
            write_atomically(self.run_dir / "per_class.csv", csv_text(columns, rows))
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_table("test/per_class", columns, rows)
            save_maps(self.run_dir / "maps.npz", self.kept, pl_module.hparams.class_names)
        self.kept = []

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the table of an earlier test."""
        if self.table is not None:
            self.table.drop()
            self.table = None


def per_image_rows(
    name: str, batch: dict, outputs: dict, class_names: list[str], *, with_amounts: bool = False
) -> list[dict[str, Any]]:
    """One row a (image, class): the score, and where the image's mask shows the class, the map's scores.

    Scores are written with all digits of float32. Beside a probability stands its logit, which ranks images where
    probabilities round to 0 or 1; beside an amount that of the label.
    """
    maps, pairs, mask = outputs["maps"], outputs["pairs"], outputs["mask"]
    judged = with_mask(mask)
    values = {
        **pair_values(maps, mask),
        "iou": seed_iou(scale_maps(maps), mask, threshold=SEED_THRESHOLD),
    }
    of_pair = {
        (int(pairs.image[p]), int(pairs.label[p])): {
            key: round(float(value[p]), 6) for key, value in values.items()
        }
        for p in judged.nonzero().flatten().tolist()
    }
    present = {(int(image), int(label)) for image, label in zip(pairs.image, pairs.label, strict=True)}
    empty = dict.fromkeys(values, "")
    score = outputs["score"].cpu().numpy()
    beside = ("amount", batch["label"]) if with_amounts else ("logit", outputs["logit"])
    column, other = beside[0], beside[1].cpu().numpy()
    return [
        {
            "set": name,
            "id": image_id,
            "class": class_name,
            "present": int((n, c) in present),
            "score": f"{score[n, c]:.9g}",
            column: f"{other[n, c]:.9g}",
            **of_pair.get((n, c), empty),
        }
        for n, image_id in enumerate(batch["id"])
        for c, class_name in enumerate(class_names)
    ]


def keep_maps(batch: dict, outputs: dict, image: Tensor) -> dict[str, Any]:
    """Images, masks, scaled maps and their maxima before scaling, of a batch, as arrays."""
    pairs: Pairs = outputs["pairs"]
    return {
        "ids": list(batch["id"]),
        "image": image.permute(0, 2, 3, 1).cpu().numpy(),
        "mask": np.stack([index_mask(batch, n) for n in range(len(batch["id"]))]),
        "pair_image": pairs.image.cpu().numpy(),
        "pair_class": pairs.label.cpu().numpy(),
        "pair_mask": outputs["mask"].cpu().numpy().astype(np.uint8),
        "map": scale_maps(outputs["maps"]).squeeze(1).cpu().numpy().astype(np.float16),
        "map_max": outputs["maps"].flatten(1).amax(1).cpu().numpy()
        if len(pairs.image)
        else np.zeros(0, np.float32),
    }


def index_mask(batch: dict, n: int) -> np.ndarray:
    """The mask of a batch's n-th image as class indices, to look at, ``(H, W)`` uint8."""
    mine = batch["mask_image"] == n
    masks = ClassMasks(batch["mask_class"][mine].cpu().numpy(), batch["mask"][mine].cpu().numpy())
    label = batch["label"][n].cpu().numpy()
    return join_to_index_mask(masks, np.arange(label + 1) == label if label.ndim == 0 else label)
