"""Write the scores of every class and image that a test of SEC gives, and pictures of the first images."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import pytorch_lightning as pl
from torch import Tensor

from gain_lightning.drawing.strips import NUM_STRIPS, TRUTH, save_strip
from gain_lightning.methods.trainer import data_of
from gain_lightning.runs.classes import class_table, write_classes
from gain_lightning.runs.pixels import write_pixels
from gain_lightning.segmentation.cue_data import FullSizeBatch
from gain_lightning.segmentation.cue_files import file_name


class _Segmented(TypedDict):
    segmentation: Tensor


class Segmented(_Segmented, total=False):
    """What a test says of an image: its segmentation ``(H, W)``, and later the one after the CRF."""

    segmentation_crf: Future[np.ndarray]


class Segments(Protocol):
    """A segmentation network, as far as its recorder knows it."""

    hparams: Any
    class_scores: dict[str, list[float]]
    image_counts: dict[str, dict[str, np.ndarray]]


class SegmentationRecord(pl.Callback):
    """A callback that writes ``per_class.csv``, ``per_image.csv`` and pictures of the first images.

    A picture shows the image, its truth, its segmentation and that of the CRF.

    Args:
        run_dir: The run folder; pictures go to ``segmentations/``.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Segmented,
        batch: FullSizeBatch,
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

    def on_test_end(self, trainer: pl.Trainer, pl_module: Segments) -> None:
        """Write the scores of every class, and the pixel counts of every image and class behind them."""
        names = ["background", *pl_module.hparams.class_names]
        if trainer.is_global_zero:
            write_classes(self.run_dir, *class_table(names, pl_module.class_scores))
            write_pixels(self.run_dir, next(iter(data_of(trainer).test_sets)), names, pl_module.image_counts)
