"""``gain predict``: what a checkpoint says of a folder of pictures, and where a classifier looks."""

import argparse
import math
import os
import re
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gain_lightning.attention import EPS, Cells, Pairs, even_cells, place_maps, scale_maps
from gain_lightning.checkpoints import load_model
from gain_lightning.datasets.images import PICTURE_SUFFIXES, load_picture, read_image
from gain_lightning.datasets.readers.voc import CLASSES
from gain_lightning.files import WholeTable, read_text
from gain_lightning.module import GAIN
from gain_lightning.names import as_file, composed, first_pair, written_as
from gain_lightning.plotting import overlay, save_png
from gain_lightning.segmentation.predict import SegmentationWriter
from gain_lightning.walk import files_below, group_unread

DESCRIPTION = """\
Of a classifier: classify every picture below --images and map the attention of its classes. Writes, for a/b.jpg:
  OUT/a/b_CLASS.npy   the map at the picture's size, (H, W) float32, divided by its maximum
  OUT/a/b_CLASS.png   the map over the picture
and OUT/predictions.csv: every class's probability (or amount), whether it was mapped, the map's maximum before scaling,
and the probability's logit, which still tells pictures apart where probabilities round to 0 or 1.

Of a segmentation network (SEC): OUT/a/b.png, the class of every pixel in VOC's palette, after a dense CRF.
"""
# Options that only one kind of checkpoint takes, with their defaults.
_OF_CLASSIFIER = {"classes": None, "threshold": 0.5}
_OF_SEGMENTATION = {"no_crf": False, "crf_workers": None, "voc_submission": False}


def predict_main(argv: list[str]) -> int:
    """Run ``gain predict``.

    Args:
        argv: The words after ``predict``.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: If the folder or the checkpoint is missing.
        ValueError: If the checkpoint is unfit, or, once all others are mapped, if pictures are unreadable.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "gain predict", description=DESCRIPTION, formatter_class=formatter, allow_abbrev=False
    )
    parser.add_argument("--images", required=True, type=Path, help="folder of pictures; its folders too")
    parser.add_argument("--ckpt_path", required=True, type=Path, help="checkpoint of a run")
    parser.add_argument("--out", required=True, type=Path, help="folder for the maps")
    parser.add_argument("--list", type=Path, help="file of names, one a line: these pictures alone")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--accelerator", default="auto", help="as of Lightning's Trainer")
    group = parser.add_argument_group("of a classifier")
    group.add_argument(
        "--classes", nargs="+", help="classes to map (default: those found, else the likeliest)"
    )
    group.add_argument(
        "--threshold", type=float, help="probability (or amount) from which a class is found (default: 0.5)"
    )
    group = parser.add_argument_group("of a segmentation network")
    group.add_argument("--no_crf", action="store_true", default=None, help="the bare scores")
    group.add_argument("--crf_workers", type=int, help="processes (default: one a core)")
    group.add_argument(
        "--voc_submission",
        "--voc-submission",
        action="store_true",
        default=None,
        help="pack OUT/results.tgz as VOC 2012's server takes it (comp6)",
    )
    args = parser.parse_args(argv)

    model = load_model(args.ckpt_path)
    names = list(model.hparams.class_names)
    pictures = Pictures(args.images, model.hparams.image_size, args.out, args.list)
    for kind in group_unread(pictures.unread):
        print(f"not read: {kind}, the first {kind.first}")
    writer: MapWriter | SegmentationWriter
    if isinstance(model, GAIN):
        _settle(args, _OF_CLASSIFIER, _OF_SEGMENTATION, "a classifier")
        if math.isnan(args.threshold):
            raise ValueError("--threshold is nan, expected a number")
        if args.classes:
            args.classes = [written_as(name, names) for name in args.classes]
        unknown = [name for name in args.classes or [] if name not in names]
        if unknown:
            raise ValueError(f"--classes {unknown[0]}: expected names among {', '.join(names)}")
        _refuse_collisions([path.relative_to(args.images) for path in pictures.paths], args.classes or names)
        writer = MapWriter(args.images, args.out, args.classes, args.threshold)
    else:
        _settle(args, _OF_SEGMENTATION, _OF_CLASSIFIER, "a segmentation network")
        if args.voc_submission and tuple(names) != CLASSES:
            raise ValueError(f"--voc_submission: the checkpoint's classes are {names}, expected VOC's 20")
        if args.crf_workers is not None and args.crf_workers < 0:
            raise ValueError(f"--crf_workers is {args.crf_workers}, expected at least 0")
        num_workers = (os.cpu_count() or 1) if args.crf_workers is None else args.crf_workers
        writer = SegmentationWriter(
            args.images,
            args.out,
            crf_workers=None if args.no_crf else num_workers,
            voc_submission=args.voc_submission,
        )
    trainer = pl.Trainer(
        accelerator=args.accelerator,
        devices=1,
        logger=False,
        callbacks=[writer],
        inference_mode=False,
        enable_model_summary=False,
    )
    trainer.predict(model, DataLoader(pictures, args.batch_size), return_predictions=False)
    print(f"{len(pictures) - len(writer.errors)} pictures, {writer.made()}: {args.out}")
    if writer.errors:
        listed = "\n  ".join(writer.errors)
        raise ValueError(f"{len(writer.errors)} of {len(pictures)} pictures were left out:\n  {listed}")
    return 0


def _settle(args: argparse.Namespace, own: dict[str, Any], others: dict[str, Any], kind: str) -> None:
    """Fill in defaults; refuse options that this kind of checkpoint does not take."""
    for name in others:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name}: --ckpt_path {args.ckpt_path} is of {kind}, which does not take it")
    for name, default in own.items():
        if getattr(args, name) is None:
            setattr(args, name, default)


class Pictures(Dataset):
    """Every picture below a folder, resized for the network.

    Args:
        folder: Searched with all its folders.
        image_size: Side that the network was trained at, pixels.
        out: Left out, should it lie below the folder.
        listed: File of names, one a line, with or without ending: these pictures alone, as in VOC's lists.

    Attributes:
        paths: The pictures.
        unread: Other files, of kinds that are not read; none with a list, which says what is meant.

    Raises:
        FileNotFoundError: If there is no such folder or list, no picture, or not every one that is listed.
        ValueError: If two pictures would write to the same files.
    """

    def __init__(
        self, folder: Path, image_size: int, out: Path | None = None, listed: Path | None = None
    ) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"--images {folder}: no such folder")
        files = files_below(folder)
        found = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
        if out is not None:
            files = [path for path in files if not Path(os.path.realpath(path)).is_relative_to(out.resolve())]
        self.paths = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
        self.unread = [path for path in files if path.suffix.lower() not in PICTURE_SUFFIXES]
        if found and not self.paths:
            raise ValueError(
                f"--out {out}: all {len(found)} pictures of --images {folder} lie below, expected it elsewhere"
            )
        if not self.paths:
            kinds = ", ".join(map(str, group_unread(self.unread)))
            raise FileNotFoundError(
                f"--images {folder}: no picture here, expected {' '.join(PICTURE_SUFFIXES)}"
                + (f"; got {kinds}" if kinds else "")
            )
        pair = first_pair(self.paths, lambda path: str(path.relative_to(folder).with_suffix("")))
        if pair is not None:
            raise ValueError(
                f"{pair[0]} and {pair[1]} have the same name, expected one: their maps would collide, if only on a "
                "disk that tells neither case nor Unicode forms"
            )
        if listed is not None:
            self.paths = _listed(listed, {str(path.relative_to(folder)): path for path in self.paths})
            self.unread = []
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, error = self.paths[index], ""
        try:
            picture = load_picture(path, self.image_size)
        except (ValueError, OSError) as failure:  # listed at the end; the others are not lost with it
            picture, error = np.zeros((self.image_size, self.image_size, 3), np.uint8), str(failure)
        return {"image": torch.from_numpy(picture).permute(2, 0, 1), "id": str(path), "error": error}


def _listed(listing: Path, paths: dict[str, Path]) -> list[Path]:
    if not listing.is_file():
        raise FileNotFoundError(f"--list {listing}: no such file")
    by_name = {str(PurePath(name).with_suffix("")): path for name, path in paths.items()} | paths
    by_name = {composed(name): path for name, path in by_name.items()}
    lines = [composed(line.strip()) for line in read_text(listing).splitlines() if line.strip()]
    names = [  # VOC's lists of a class go on: name -1
        line if line in by_name else re.sub(r"\s+(-1|0|1)$", "", line) for line in lines
    ]
    missing = [name for name in names if name not in by_name]
    if missing:
        raise FileNotFoundError(
            f"--list {listing}: {len(missing)} of {len(names)} pictures are not there, the first {missing[0]}"
        )
    if not names:
        raise ValueError(f"--list {listing}: is empty")
    return list(dict.fromkeys(by_name[name] for name in names))


def _in_file_name(class_name: str) -> str:
    return re.sub(r"[^\w-]", "-", composed(class_name))


def _refuse_collisions(pictures: list[PurePath], class_names: list[str]) -> None:
    """Refuse maps that would overwrite each other: their names join those of a picture and of a class.

    Args:
        pictures: Their paths below the folder of pictures, which differ in more than their endings.
        class_names: Of the classes that may be mapped.

    Raises:
        ValueError: If two classes have one name in files, or a picture and a class that of two others.

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


class MapWriter(pl.Callback):
    """Writes each picture's maps and its rows of the table as soon as they are there.

    Args:
        images: Folder that the pictures' names are relative to.
        out: Folder for the maps.
        classes: Names of those to map; None maps those found, else the likeliest.
        threshold: Score from which a class is found.

    Attributes:
        errors: What is wrong with pictures that could not be read.
    """

    def __init__(self, images: Path, out: Path, classes: list[str] | None, threshold: float) -> None:
        self.images, self.out, self.classes, self.threshold = images, out, classes, threshold
        self.num_maps = self.num_zero = 0
        self.table: WholeTable | None = None
        self.errors: list[str] = []

    def made(self) -> str:
        """What was written, in words."""
        return f"{self.num_maps} maps" + (
            f", {self.num_zero} of them zero everywhere" if self.num_zero else ""
        )

    def on_predict_start(self, trainer: pl.Trainer, pl_module: GAIN) -> None:
        """Refuse maps that would stand beside those of another call."""
        if (self.out / "predictions.csv").exists():
            raise FileExistsError(
                f"--out {self.out}: holds predictions.csv of an earlier call, expected a new folder: the maps would mix"
            )
        self.table = WholeTable(self.out / "predictions.csv")
        with_amounts = pl_module.hparams.task == "regression"
        score = ("amount",) if with_amounts else ("probability", "logit")
        self.table.write([["picture", "class", *score[:1], "mapped", "map_max", *score[1:]]])

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: GAIN,
        outputs: dict,
        batch: dict,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        scores, with_amounts = outputs["score"], pl_module.hparams.task == "regression"
        maps, pairs = self._map(pl_module, batch["image"], scores)
        maximum = maps.amax((1, 2, 3)) if len(maps) else maps.new_zeros(0)
        for n, path in enumerate(batch["id"]):
            if batch["error"][n]:
                self.errors.append(batch["error"][n])
                continue
            picture = read_image(Path(path))
            cells = self._cells(pl_module, batch["image"], picture)
            relative = Path(path).relative_to(self.images)
            mapped = {int(pairs.label[p]): p for p in (pairs.image == n).nonzero().flatten().tolist()}
            for class_idx, name in enumerate(pl_module.hparams.class_names):
                p = mapped.get(class_idx)
                strength = "" if p is None else f"{float(maximum[p]):.6g}"
                score = f"{float(scores[n, class_idx]):.6g}"
                logit = [] if with_amounts else [f"{float(outputs['logit'][n, class_idx]):.9g}"]
                self.table.write([[str(relative), name, score, str(int(p is not None)), strength, *logit]])
                if p is not None:
                    self.num_zero += bool(maximum[p] <= EPS)
                    self._write_map(relative, name, picture, maps[p : p + 1], cells)

    def _map(self, model: GAIN, image: Tensor, scores: Tensor) -> tuple[Tensor, Pairs]:
        """Maps (P, 1, h, w) before scaling: of the classes asked for, else of those found."""
        if self.classes:
            wanted = torch.zeros_like(scores)
            wanted[:, [model.hparams.class_names.index(name) for name in self.classes]] = 1
        else:
            found = scores >= self.threshold
            likeliest = torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1])
            wanted = torch.where(found.any(1, keepdim=True), found, likeliest.bool())
        _, maps, pairs = model.attend(image, wanted)
        return maps, pairs

    def _cells(self, model: GAIN, image: Tensor, picture: np.ndarray) -> Cells:
        """Where the map's cells lie in the picture itself, which the network saw at another size."""
        size = tuple(image.shape[2:])
        return model.backbone.cells(size).relative_to(even_cells(picture.shape[:2], size))

    def _write_map(self, relative: Path, name: str, picture: np.ndarray, raw: Tensor, cells: Cells) -> None:
        attention = place_maps(raw.cpu().float(), picture.shape[:2], cells)
        attention = scale_maps(attention)[0, 0].numpy()
        stem = self.out / relative.parent / f"{relative.stem}_{_in_file_name(name)}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        np.save(stem.with_name(stem.name + ".npy"), attention)
        save_png(stem.with_name(stem.name + ".png"), overlay(picture, attention))
        self.num_maps += 1

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The table is whole."""
        self.table.finish()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """A table without the pictures to come would pass for a whole one."""
        if self.table is not None:
            self.table.drop()
