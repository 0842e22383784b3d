"""Write which images to mark, and why: lists, a table, a picture, and files for the tools of annotators."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gain_lightning.attention import scale_maps
from gain_lightning.datasets.resize import frame_of
from gain_lightning.datasets.sample import PictureSet, collate
from gain_lightning.datasets.writers import open_writers
from gain_lightning.datasets.writers.base import MarkedPicture, names_of
from gain_lightning.drawing.encoding import save_png
from gain_lightning.drawing.grids import map_grid
from gain_lightning.methods.borders import normalized, on_picture
from gain_lightning.methods.classifier import Classifier
from gain_lightning.support.files import csv_text, read_text, write_atomically, write_json

# What `gain next` writes into its folder; the settings are written last.
TO_MARK, MASK_LIST, TABLE, GRID, SETTINGS = (
    *("to_mark.txt", "mask_list.txt"),
    *("next.csv", "next.png", "next.json"),
)
IMAGES = "images"
# The picture shows so many images.
_MOST_DRAWN = 60


class Advised(NamedTuple):
    """An image that is worth marking.

    Attributes:
        place: Its place in the order, from 1.
        row: Its number among the training images.
        image_id: Its name.
        class_idx, class_name: The class that it was chosen for.
        group: The name of its group; empty without groups.
        value: The value that the policy gave it.
        score: The probability of the class, or its amount.
        strength: The maximum of the class's map before scaling.
        why: Why it was chosen.
    """

    place: int
    row: int
    image_id: str
    class_idx: int
    class_name: str
    group: str
    value: float
    score: float
    strength: float
    why: str


def refuse_used(out: Path) -> None:
    """Refuse a folder that holds an earlier choice, which somebody may be marking.

    Raises:
        FileExistsError: If it does.
        NotADirectoryError: If it is a file.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out}: is a file, expected a folder")
    for name in (TO_MARK, SETTINGS):
        if (out / name).exists():
            raise FileExistsError(f"--out {out}: holds {name} of an earlier choice, expected another folder")


def write_advice(
    model: Classifier,
    images: PictureSet,
    advised: Sequence[Advised],
    out: Path,
    settings: Mapping[str, Any],
    masked: Path | None,
    threshold: float,
    export: Sequence[str],
) -> None:
    """Write all files of a choice.

    Args:
        model: The classifier in evaluation mode.
        images: All training images.
        advised: What was chosen.
        out: The folder.
        settings: How it was chosen.
        masked: The mask list that the run was trained with; None if it had no mask.
        threshold: The share of a map's maximum above which a pixel is marked in advance.
        export: Formats for annotators, keys of :data:`~gain_lightning.datasets.writers.WRITERS`.
    """
    ids = "".join(f"{one.image_id}\n" for one in advised)
    known = "" if masked is None else read_text(masked)
    write_atomically(out / TO_MARK, ids)
    write_atomically(out / MASK_LIST, known + ids)
    _write_table(advised, out / TABLE)
    folder, names = names_of(images)
    where = out / IMAGES
    writers = open_writers(export, out, images.class_names, where, f"gain next, {settings['run']}")
    tiles: list[tuple[np.ndarray, list[np.ndarray], str]] = []
    for one in advised:
        picture, maps = maps_of(model, images, one.row)
        if len(tiles) < _MOST_DRAWN:
            caption = f"{one.place}. {one.image_id}, {one.class_name}: {one.why}"
            tiles.append((picture, [maps[one.class_idx]], caption))
        if not writers:
            continue
        _put_picture(None if folder is None else folder / names[one.row], where / names[one.row], picture)
        marks = {class_idx: attention > threshold for class_idx, attention in maps.items()}
        for writer in writers:
            writer.add(MarkedPicture(names[one.row], picture.shape[:2], list(maps), marks))
    save_png(out / GRID, map_grid(tiles))
    for writer in writers:
        writer.finish()
    write_json(out / SETTINGS, settings)


def _write_table(advised: Sequence[Advised], path: Path) -> None:
    header = ["place", "id", "class", "group", "value", "score", "map_max", "why"]
    rows = [
        [
            *(str(one.place), one.image_id, one.class_name, one.group),
            *(f"{value:.6g}" for value in (one.value, one.score, one.strength)),
            one.why,
        ]
        for one in advised
    ]
    write_atomically(path, csv_text(header, rows))


def _put_picture(source: Path | None, target: Path, picture: np.ndarray) -> None:
    """Copy the file of a picture, or write one where there is none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source is None:
        save_png(target, picture)
    else:
        shutil.copyfile(source, target)


def maps_of(model: Classifier, images: PictureSet, row: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Map the classes of an image at the size of its file.

    Returns:
        The picture, ``(H, W, 3)`` uint8, and a map in [0, 1] of each class by its index, ``(H, W)``.
    """
    sample, picture = images[row], images.picture(row)
    image = normalized(model.backbone, {**collate([sample]), "image": sample["image"][None].to(model.device)})
    _, maps, pairs = model.attend(image, model.multi_hot(sample["label"][None]).to(model.device))
    side, size = image.shape[2], picture.shape[:2]
    frame = frame_of(size, side, model.hparams.get("resize", "squash"))
    with torch.no_grad():
        placed = scale_maps(on_picture(maps.float(), size, frame, model.backbone.cells((side, side))))
    return picture, dict(zip(pairs.label.tolist(), placed[:, 0].cpu().numpy(), strict=True))
