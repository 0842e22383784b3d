"""Predictions of a checkpoint for pictures: the work of ``gain predict``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from gain_lightning.datasets.images import load_framed
from gain_lightning.datasets.resize import frame_of
from gain_lightning.datasets.writers import open_writers
from gain_lightning.methods.load import load_model


def predict(
    ckpt_path: Path,
    images: Path,
    out: Path,
    pictures: Sequence[Path],
    options: Mapping[str, Any],
    *,
    batch_size: int = 8,
    accelerator: str = "auto",
    export: Sequence[str] = (),
) -> None:
    """Run a checkpoint on pictures and write the results.

    Args:
        ckpt_path: A checkpoint of a run.
        images: Folder that the pictures' names are relative to.
        out: Folder for the results.
        pictures: Paths of the pictures.
        options: Options that only some methods take; None stands for the method's default.
        batch_size: Number of pictures that pass the network at once.
        accelerator: Accelerator of Lightning's Trainer.
        export: Formats of annotation files that what is found is also written in, see
            :data:`~gain_lightning.datasets.writers.WRITERS`.

    Raises:
        ValueError: If the checkpoint is unfit or does not take an option. Unreadable pictures raise it once all
            others are done.
    """
    model = load_model(ckpt_path)
    foreign = [
        name for name, value in options.items() if value is not None and name not in model.predict_options
    ]
    if foreign:
        raise ValueError(
            f"--{foreign[0]}: --ckpt_path {ckpt_path} is of {model.kind}, which does not take it"
        )
    given = {name: value for name, value in options.items() if value is not None}
    found = Pictures(pictures, model.hparams.image_size, model.hparams.get("resize", "squash"))
    writer = model.map_writer(images, out, found.paths, {**model.predict_options, **given})
    writer.exports = open_writers(
        export, out, model.hparams.class_names, images, f"gain predict, {ckpt_path}"
    )
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        callbacks=[writer],
        inference_mode=False,
        enable_model_summary=False,
    )
    trainer.predict(model, DataLoader(found, batch_size), return_predictions=False)
    for exported in writer.exports:
        exported.finish()
    print(f"{len(found) - len(writer.errors)} pictures, {writer.summary()}: {out}")
    if writer.errors:
        listed = "\n  ".join(writer.errors)
        raise ValueError(f"{len(writer.errors)} of {len(found)} pictures were left out:\n  {listed}")


class Pictures(Dataset[dict[str, Any]]):
    """Pictures as a network takes them.

    Args:
        paths: Paths of the pictures.
        image_size: Side of the images that the network was trained on, pixels.
        resize: What became of the aspect of these, see :func:`~gain_lightning.datasets.images.load_picture`.
    """

    def __init__(self, paths: Sequence[Path], image_size: int, resize: str = "squash") -> None:
        self.paths = list(paths)
        self.image_size = image_size
        self.resize = resize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, error = self.paths[index], ""
        try:
            pixels, frame = load_framed(path, self.image_size, self.resize)
        # The failure is listed at the end, so that the other pictures are not lost with this one.
        except (ValueError, OSError) as failure:
            frame = frame_of((1, 1), self.image_size)
            pixels, error = np.zeros((self.image_size, self.image_size, 3), np.uint8), str(failure)
        shown = {"image": torch.from_numpy(pixels).permute(2, 0, 1), "id": str(path), "error": error}
        return shown | ({"window": torch.tensor(frame.window)} if self.resize == "letterbox" else {})
