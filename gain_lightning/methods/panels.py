"""Pictures of attention while a network trains, for W&B and the run folder."""

from pathlib import Path
from typing import TypedDict

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from gain_lightning.datasets.sample import Batch
from gain_lightning.drawing.encoding import save_png
from gain_lightning.drawing.grids import panel_grid
from gain_lightning.drawing.maps import overlay
from gain_lightning.methods.image_record import keep_maps
from gain_lightning.methods.outputs import Attends, Scored
from gain_lightning.methods.trainer import is_trial
from gain_lightning.runs.maps import Maps
from gain_lightning.support.masks import class_to_index_mask


class PanelRow(TypedDict):
    """One pair of a panel: the index of its image, and its image, mask, scaled map (all ``(H, W)``) and caption."""

    image_idx: int
    image: np.ndarray
    mask: np.ndarray
    map: np.ndarray
    caption: str


class AttentionPanels(pl.Callback):
    """Draws image | mask or box | map of the first validation images, into the run folder and to W&B.

    Args:
        run_dir: The run folder; pictures go to ``panels/``.
        num_images: Number of images.
    """

    def __init__(self, run_dir: Path, num_images: int = 6) -> None:
        self.run_dir = run_dir
        self.num_images = num_images
        self.kept: list[Maps] = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Attends,
        outputs: Scored,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images of the validation set."""
        if (
            trainer.is_global_zero
            and not dataloader_idx
            and sum(len(kept.ids) for kept in self.kept) < self.num_images
        ):
            image = pl_module.backbone.denormalize(batch["image"])
            self.kept.append(keep_maps(batch, outputs, image, pl_module.hparams.class_names))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Attends) -> None:
        """Draw the images that were kept."""
        kept, self.kept = self.kept, []
        if not kept or trainer.state.fn != "fit" or is_trial(trainer):
            return
        rows = panel_rows(kept)
        rows = [row for row in rows if row["image_idx"] < self.num_images]
        # Images without a label have no map.
        if not rows:
            return
        grid = panel_grid(
            [row["image"] for row in rows],
            [row["mask"] for row in rows],
            [row["map"] for row in rows],
            [row["caption"] for row in rows],
        )
        path = self.run_dir / "panels" / f"epoch_{trainer.current_epoch:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(path, grid)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                log_to_wandb(logger, rows, pl_module.hparams.class_names, trainer.global_step)


def panel_rows(kept: list[Maps]) -> list[PanelRow]:
    """Return one row for each pair: its image, mask, scaled map ``(H, W)`` and caption."""
    rows: list[PanelRow] = []
    first = 0
    for batch in kept:
        for pair, (image_idx, class_idx) in enumerate(zip(batch.pair_image, batch.pair_class, strict=True)):
            raw = batch.map[pair].astype(np.float32)
            mask, caption = batch.mask[image_idx], f"{batch.ids[image_idx]}: {batch.class_names[class_idx]}"
            if batch.pair_box is not None:
                mask, caption = class_to_index_mask(batch.pair_box[pair], class_idx), f"{caption}, its box"
            rows.append(
                {
                    "image_idx": first + image_idx,
                    "image": batch.image[image_idx],
                    "mask": mask,
                    "map": raw / max(float(raw.max()), 1e-8),
                    "caption": caption,
                }
            )
        first += len(batch.ids)
    return rows


def log_to_wandb(logger: WandbLogger, rows: list[PanelRow], class_names: list[str], step: int) -> None:
    """Log each row as a ``wandb.Image``: its map over the image, and the mask as W&B's own overlay."""
    import wandb

    labels = {0: "background", 255: "void", **{index + 1: name for index, name in enumerate(class_names)}}
    panels = [
        wandb.Image(
            np.concatenate([row["image"], overlay(row["image"], row["map"])], axis=1),
            caption=row["caption"],
            masks={"truth": {"mask_data": np.concatenate([row["mask"]] * 2, axis=1), "class_labels": labels}},
        )
        for row in rows
    ]
    logger.experiment.log({"panels": panels, "trainer/global_step": step})
