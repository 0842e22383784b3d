"""What a test leaves of every image: its scores, those of its classes, and the maps of the first ones."""

import contextlib
import csv
import itertools
import math
import os
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from gain_lightning.attention import Pairs, scale_maps
from gain_lightning.datasets.class_masks import ClassMasks, join_to_index_mask
from gain_lightning.datasets.streams import in_turn
from gain_lightning.files import WholeTable, csv_text, write_atomically
from gain_lightning.metrics import energy_in_mask, pointing_hit, seed_iou, with_mask
from gain_lightning.module import SEED_THRESHOLD

NUM_KEPT_MAPS = 32  # test images whose maps are kept; a report shows those that change most


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
            for left in self.run_dir.glob("per_image.csv.*.part"):
                left.unlink()
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
            name, batch, outputs, hparams.class_names, with_amounts=hparams.task == "regression"
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


def join_parts(parts: list[Path], path: Path) -> None:
    """Make one table of those of several processes, in the order that one process would have written, and remove them.

    Args:
        parts: Table of each process r of R, which has the images r, r + R, r + 2R, ... of every test set.
        path: Of the whole table.

    Raises:
        FileNotFoundError: If a process wrote elsewhere.
    """
    with contextlib.ExitStack() as files, WholeTable(path) as whole:
        tables = []
        for part in parts:
            if not part.is_file():
                raise FileNotFoundError(
                    f"{part}: no such file, expected a run folder that all processes share"
                )
            file = files.enter_context(part.open(encoding="utf-8", errors="surrogateescape", newline=""))
            tables.append(csv.reader(file))
        whole.write([next(table) for table in tables][:1])  # the same header
        for shares in zip(*(itertools.groupby(table, itemgetter(0)) for table in tables), strict=True):
            images = (itertools.groupby(rows, itemgetter(1)) for _, rows in shares)
            for _, rows in in_turn(images):
                whole.write(rows)
    for part in parts:
        part.unlink()


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
        "energy": energy_in_mask(maps, mask),
        "pointing": pointing_hit(maps, mask),
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


def class_table(
    class_names: list[str], scores: dict[str, list[float]]
) -> tuple[list[str], list[list[str | float | None]]]:
    """Header and a row a class; None where nothing could be judged.

    Example:
        >>> class_table(["boat"], {"num_images": [3], "ap": [0.5], "energy": [math.nan]})
        (['class', 'num_images', 'ap', 'energy'], [['boat', 3, 0.5, None]])
    """
    shown = (
        [None if math.isnan(value) else round(value, 6) for value in values] for values in scores.values()
    )
    return ["class", *scores], [list(row) for row in zip(class_names, *shown, strict=True)]


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


def save_maps(path: Path, kept: list[dict[str, Any]], class_names: list[str]) -> None:
    """Write the first ``NUM_KEPT_MAPS`` of the kept images to one ``.npz``, without half a file ever."""
    offsets = np.cumsum([0, *(len(batch["ids"]) for batch in kept)])
    pair_image = np.concatenate(
        [batch["pair_image"] + offset for batch, offset in zip(kept, offsets, strict=False)]
    )
    first = pair_image < NUM_KEPT_MAPS
    arrays = {
        key: np.concatenate([batch[key] for batch in kept])
        for key in ("image", "mask", "pair_class", "pair_mask", "map", "map_max")
    }
    part = path.with_name("part_" + path.name)
    np.savez_compressed(
        part,
        ids=np.array([image_id for batch in kept for image_id in batch["ids"]][:NUM_KEPT_MAPS]),
        image=arrays["image"][:NUM_KEPT_MAPS],
        mask=arrays["mask"][:NUM_KEPT_MAPS],
        pair_image=pair_image[first],
        pair_class=arrays["pair_class"][first],
        pair_mask=arrays["pair_mask"][first],
        map=arrays["map"][first],
        map_max=arrays["map_max"][first],
        class_names=np.array(class_names),
    )
    os.replace(part, path)
