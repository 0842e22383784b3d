"""Write segmentations of a folder of pictures, and the archive that VOC 2012's evaluation server takes."""

import tarfile
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from gain_lightning.attention import even_cells, place_maps
from gain_lightning.datasets.images import read_image
from gain_lightning.datasets.writers.base import of_index_mask
from gain_lightning.drawing.encoding import save_indexed
from gain_lightning.methods.base import Method, ResultWriter
from gain_lightning.methods.map_writer import PictureBatch
from gain_lightning.segmentation.crf.pool import CrfPool
from gain_lightning.segmentation.losses import TEST_FLOOR, log_probabilities
from gain_lightning.support.files import remove_parts, written_whole

# The folder is that of competition 6: segmentation with training data beyond VOC's own, such as ImageNet.
SUBMISSION = Path("results/VOC2012/Segmentation/comp6_test_cls")


class SegmentationWriter(ResultWriter):
    """A callback that writes each picture's segmentation as a PNG with VOC's palette, at the picture's size.

    Args:
        images: Folder that the pictures' names are relative to.
        out: Folder for the segmentations.
        crf_workers: Number of processes of the dense CRF; 0 stays in this one, None leaves the CRF out.
        voc_submission: Whether they are written where VOC 2012's server looks for them, and packed as ``results.tgz``.

    Attributes:
        errors: An error message for each picture that could not be read.
    """

    def __init__(self, images: Path, out: Path, *, crf_workers: int | None, voc_submission: bool) -> None:
        self.images, self.out, self.voc_submission = images, out, voc_submission
        self.folder = out / SUBMISSION if voc_submission else out
        self.crf = None if crf_workers is None else CrfPool(crf_workers)
        self.waiting: list[tuple[Path, Future[np.ndarray]]] = []
        self.written: list[Path] = []
        self.errors: list[str] = []

    def summary(self) -> str:
        """Say what was written."""
        packed = f", packed in {self.out / 'results.tgz'}" if self.voc_submission and not self.errors else ""
        return f"{len(self.written)} segmentations{packed}"

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the archive of an earlier call, which does not hold these pictures."""
        if self.voc_submission:
            (self.out / "results.tgz").unlink(missing_ok=True)
            remove_parts(self.out, "results.tgz")

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Method,
        outputs: Tensor,
        batch: PictureBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a batch, or begin its CRFs."""
        seen = tuple(batch["image"].shape[2:])
        cells = pl_module.backbone.cells(seen)
        for scores, path, error in zip(outputs, batch["id"], batch["error"], strict=True):
            if error:
                self.errors.append(error)
                continue
            picture = torch.from_numpy(read_image(Path(path)))
            size = tuple(picture.shape[:2])
            scores = place_maps(scores[None], size, cells.relative_to(even_cells(size, seen)))
            relative = Path(path).relative_to(self.images)
            if self.crf is None:
                self._write(relative, scores[0].argmax(0).cpu().numpy().astype(np.uint8))
            else:
                log_probs = log_probabilities(scores, floor=TEST_FLOOR)[0]
                self.waiting.append((relative, self.crf.submit(log_probs, picture)))
            while self.waiting and self.waiting[0][1].done():
                self._write_next()

    def _write_next(self) -> None:
        relative, segmentation = self.waiting.pop(0)
        self._write(relative, segmentation.result())

    def _write(self, relative: Path, segmentation: np.ndarray) -> None:
        target = self.folder / relative.with_suffix(".png")
        save_indexed(target, segmentation)
        self.export(of_index_mask(relative.as_posix(), segmentation, []))
        self.written.append(target)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the segmentations that still wait for their CRF, and pack all if none is missing."""
        while self.waiting:
            self._write_next()
        if self.crf is not None:
            self.crf.close()
        if self.voc_submission and not self.errors:
            with written_whole(self.out / "results.tgz") as part, tarfile.open(part, "w:gz") as archive:
                for path in self.written:
                    archive.add(path, path.relative_to(self.out))
