"""What a test of SEC leaves of every class and image, and pictures of the first images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from gain_lightning.drawing.strips import NUM_STRIPS, TRUTH, save_strip
from gain_lightning.runs.tables import class_table
from gain_lightning.segmentation.cue_files import file_name
from gain_lightning.support.files import WholeTable, csv_text, write_atomically


class SegmentationRecord(pl.Callback):
    """Writes ``per_class.csv``, ``per_image.csv`` and pictures of the first images.

    A picture shows image, truth, segmentation and that of the CRF.

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
        """The scores of every class, and of every image and class the pixels that they are made of."""
        names = ["background", *pl_module.hparams.class_names]
        if trainer.is_global_zero:
            text = csv_text(*class_table(names, pl_module.class_scores))
            write_atomically(self.run_dir / "per_class.csv", text)
            set_name = next(iter(trainer.datamodule.test_sets))
            with WholeTable(self.run_dir / "per_image.csv") as table:
                table.write(image_table(set_name, names, pl_module.image_counts))


def image_table(
    set_name: str, names: list[str], counts: dict[str, dict[str, np.ndarray]]
) -> Iterator[list[str | int]]:
    """Header and, one by one, a row a (image, class).

    Args:
        set_name: What the data call the set of these images, ``test`` or ``val``.
        names: Of the classes, the background's first.
        counts: By image, and by what is added to a column's name, pixels of the mask, of the segmentation and of both,
            ``(3, 1 + C)``.

    Example:
        >>> _, *rows = image_table("val", ["background", "boat"], {"a": {"": np.array([[3, 2], [4, 1], [3, 1]])}})
        >>> rows
        [['val', 'a', 'background', 3, 4, 3], ['val', 'a', 'boat', 2, 1, 1]]
    """
    kinds = next(iter(counts.values()), {"": None})
    yield ["set", "id", "class", "true", *(f"{what}{kind}" for kind in kinds for what in ("found", "right"))]
    for image_id, of_image in counts.items():
        columns = [of_image[""][0], *(of_image[kind][row] for kind in kinds for row in (1, 2))]
        for name, *pixels in zip(names, *(c.tolist() for c in columns), strict=True):
            yield [set_name, image_id, name, *pixels]
