"""What a test of SEC leaves of every class and of the first images."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from gain_lightning.files import csv_text, write_atomically
from gain_lightning.image_record import class_table
from gain_lightning.segmentation.cue_files import file_name
from gain_lightning.segmentation.strips import NUM_STRIPS, TRUTH, save_strip


class SegmentationRecord(pl.Callback):
    """Writes ``per_class.csv``, and pictures of the first images: image, truth, segmentation, and that of the CRF.

    Args:
        run_dir: The run folder; pictures go to ``segmentations/``.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: dict[str, Any],
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw an image."""
        if batch_idx >= NUM_STRIPS or not trainer.is_global_zero:
            return
        masks = {TRUTH: batch["mask"].cpu().numpy(), "segmentation": outputs["segmentation"].cpu().numpy()}
        if "segmentation_crf" in outputs:
            masks["with CRF"] = outputs["segmentation_crf"].result()
        path = self.run_dir / "segmentations" / f"{file_name(batch['id'][0])}.png"
        save_strip(path, batch["picture"].cpu().numpy(), masks)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The scores of every class."""
        if trainer.is_global_zero:
            names = ["background", *pl_module.hparams.class_names]
            text = csv_text(*class_table(names, pl_module.class_scores))
            write_atomically(self.run_dir / "per_class.csv", text)
