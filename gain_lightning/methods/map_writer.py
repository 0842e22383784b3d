"""Maps of a classifier for pictures, and a table of its scores, as ``gain predict`` writes them."""

import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from gain_lightning.attention import EPS, Pairs, scale_maps
from gain_lightning.datasets.images import read_image
from gain_lightning.datasets.resize import frame_of
from gain_lightning.datasets.writers.base import MarkedPicture
from gain_lightning.drawing.encoding import save_png
from gain_lightning.drawing.maps import overlay
from gain_lightning.methods.base import ResultWriter
from gain_lightning.methods.borders import clear_cells, inside_of, on_picture
from gain_lightning.methods.outputs import Attends, Predicted
from gain_lightning.support.files import WholeTable
from gain_lightning.support.names import as_file, composed, first_pair, written_as


def _in_file_name(class_name: str) -> str:
    return re.sub(r"[^\w-]", "-", composed(class_name))


def _refuse_collisions(pictures: list[PurePath], class_names: list[str]) -> None:
    """Refuse maps that would overwrite each other: a map's name joins those of its picture and its class.

    Args:
        pictures: Paths of the pictures below their folder; they differ in more than their endings.
        class_names: Names of the classes that may be mapped.

    Raises:
        ValueError: If two classes have the same name in files, or two pairs of picture and class have.

    Example:
        >>> _refuse_collisions([PurePath("a.jpg"), PurePath("a_b.jpg")], ["c", "b_c"])
        Traceback (most recent call last):
            ...
        ValueError: the maps of a.jpg for 'b_c' and of a_b.jpg for 'c' would have the same names: expected other ...
    """
    pair = first_pair(class_names, _in_file_name)
    if pair is not None:
        raise ValueError(
            f"the maps of {pair[0]!r} and {pair[1]!r} would have the same names: expected --classes with one of them"
        )
    endings = {as_file(_in_file_name(name)): name for name in class_names}
    stems = {as_file(str(path.with_suffix(""))): path for path in pictures}
    for longer, name in endings.items():
        for match in re.finditer("_", longer):
            other = endings.get(longer[match.end() :])
            for stem, path in stems.items() if other is not None else ():
                twin = stems.get(f"{stem}_{longer[: match.start()]}")
                if twin is not None:
                    raise ValueError(
                        f"the maps of {path} for {name!r} and of {twin} for {other!r} would have the same names: "
                        "expected other names of the pictures, or --classes without one of them"
                    )


class _Framed(TypedDict, total=False):
    window: Tensor


class PictureBatch(_Framed):
    """Pictures to predict, ``(N, 3, H, W)``, their paths, and an error text for each, empty if it could be read.

    Where pictures have borders, ``window`` is the part of each image that shows the picture, ``(N, 4)``.
    """

    image: Tensor
    id: list[str]
    error: list[str]


class MapWriter(ResultWriter):
    """Writes each picture's maps and its rows of the table as soon as they are there.

    Args:
        images: Folder that the pictures' names are relative to.
        out: Folder for the maps.
        classes: Names of the classes to map; None maps the classes found in a picture, else the likeliest.
        threshold: Score from which a class counts as found.
        mark_threshold: Share of a map's maximum above which a pixel is marked in annotation files.

    Attributes:
        errors: One text for each picture that could not be read.
    """

    def __init__(
        self,
        images: Path,
        out: Path,
        classes: list[str] | None,
        threshold: float,
        mark_threshold: float,
    ) -> None:
        self.images, self.out, self.classes, self.threshold = images, out, classes, threshold
        self.mark_threshold = mark_threshold
        self.num_maps = self.num_zero = 0
        self.table: WholeTable | None = None
        self.errors: list[str] = []

    @classmethod
    def for_pictures(
        cls,
        images: Path,
        out: Path,
        pictures: list[Path],
        class_names: Sequence[str],
        *,
        classes: list[str] | None,
        threshold: float,
        mark_threshold: float,
    ) -> "MapWriter":
        """Check the options of ``gain predict`` and the names of the files that would be written.

        Args:
            images: Folder that the pictures' names are relative to.
            out: Folder for the maps.
            pictures: Paths of the pictures.
            class_names: Names of the network's classes that have a place.
            classes: Value of ``--classes``.
            threshold: Value of ``--threshold``.
            mark_threshold: Value of ``--mark_threshold``.

        Raises:
            ValueError: If an option is unfit, or two maps would have the same name.
        """
        if math.isnan(threshold):
            raise ValueError("--threshold is nan, expected a number")
        chosen = [written_as(name, list(class_names)) for name in classes] if classes else classes
        unknown = [name for name in chosen or [] if name not in class_names]
        if unknown:
            raise ValueError(f"--classes {unknown[0]}: expected names among {', '.join(class_names)}")
        _refuse_collisions([path.relative_to(images) for path in pictures], list(chosen or class_names))
        return cls(images, out, chosen, threshold, mark_threshold)

    def summary(self) -> str:
        """Say in words what was written."""
        return f"{self.num_maps} maps" + (
            f", {self.num_zero} of them zero everywhere" if self.num_zero else ""
        )

    def on_predict_start(self, trainer: pl.Trainer, pl_module: Attends) -> None:
        """Begin the table."""
        self.table = WholeTable(self.out / "predictions.csv")
        with_amounts = pl_module.task.has_amounts
        score = ("amount",) if with_amounts else ("probability", "logit")
        self.table.write([["picture", "class", *score[:1], "mapped", "map_max", *score[1:]]])

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Attends,
        outputs: Predicted,
        batch: PictureBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the maps and the rows of a batch of pictures."""
        scores, with_amounts = outputs["score"], pl_module.task.has_amounts
        maps, pairs = self._map(pl_module, batch, scores)
        maximum = maps.amax((1, 2, 3)) if len(maps) else maps.new_zeros(0)
        rows: list[list[str]] = []
        for n, path in enumerate(batch["id"]):
            if batch["error"][n]:
                self.errors.append(batch["error"][n])
                continue
            picture = read_image(Path(path))
            hparams = pl_module.hparams
            frame = frame_of(picture.shape[:2], batch["image"].shape[2], hparams.get("resize", "squash"))
            relative = Path(path).relative_to(self.images)
            mapped = {int(pairs.label[p]): p for p in (pairs.image == n).nonzero().flatten().tolist()}
            marks: dict[int, np.ndarray] = {}
            for class_idx, name in enumerate(pl_module.hparams.class_names):
                p = mapped.get(class_idx)
                strength = "" if p is None else f"{float(maximum[p]):.6g}"
                score = f"{float(scores[n, class_idx]):.6g}"
                logit = [] if with_amounts else [f"{float(outputs['logit'][n, class_idx]):.9g}"]
                rows.append([str(relative), name, score, str(int(p is not None)), strength, *logit])
                if p is not None:
                    self.num_zero += bool(maximum[p] <= EPS)
                    cells = pl_module.backbone.cells(batch["image"].shape[2:])
                    placed = on_picture(maps[p : p + 1].cpu().float(), picture.shape[:2], frame, cells)
                    attention = self._write_map(relative, name, picture, placed)
                    marks[class_idx] = attention > self.mark_threshold
            self.export(MarkedPicture(relative.as_posix(), picture.shape[:2], list(marks), marks))
        if self.table is not None:
            self.table.write(rows)

    def _map(self, model: Attends, batch: PictureBatch, scores: Tensor) -> tuple[Tensor, Pairs]:
        """Compute maps before scaling, ``(P, 1, h, w)``, of the classes asked for, else of those found."""
        if self.classes:
            wanted = torch.zeros_like(scores)
            wanted[:, [model.hparams.class_names.index(name) for name in self.classes]] = 1
        else:
            found = scores >= self.threshold
            likeliest = torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1])
            wanted = torch.where(found.any(1, keepdim=True), found, likeliest.bool())
        _, maps, pairs = model.attend(batch["image"], wanted)
        cells = model.backbone.cells(batch["image"].shape[2:])
        return clear_cells(maps, pairs, inside_of(batch), cells), pairs

    def _write_map(self, relative: Path, name: str, picture: np.ndarray, placed: Tensor) -> np.ndarray:
        """Write a map, and return it at the size of its picture, scaled."""
        attention = scale_maps(placed)[0, 0].numpy()
        stem = self.out / relative.parent / f"{relative.stem}_{_in_file_name(name)}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        np.save(stem.with_name(stem.name + ".npy"), attention)
        save_png(stem.with_name(stem.name + ".png"), overlay(picture, attention))
        self.num_maps += 1
        return attention

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finish the table, which is whole now."""
        if self.table is not None:
            self.table.finish()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Drop the table: without the pictures to come it would pass for a whole one."""
        if self.table is not None:
            self.table.drop()
