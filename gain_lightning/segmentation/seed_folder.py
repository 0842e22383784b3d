"""The folder that ``gain seeds`` writes: what an image has there, where all comes from, and when it is finished."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gain_lightning.datasets.images import read_mask
from gain_lightning.datasets.sample import PictureSet
from gain_lightning.datasets.writers import open_writers
from gain_lightning.datasets.writers.base import names_of, of_index_mask
from gain_lightning.drawing.encoding import save_indexed
from gain_lightning.drawing.strips import TRUTH, save_strip
from gain_lightning.segmentation.cue_files import write_cues, write_exchanged_maps
from gain_lightning.segmentation.provenance import PROVENANCE, read_provenance, write_provenance
from gain_lightning.support.files import remove_parts


@dataclass(frozen=True)
class ImageSeeds:
    """The seeds of one image with n classes.

    Attributes:
        classes: The indices of the classes from 0, ``(n,)``.
        cam: Maps in [0, 1] at a quarter of the image's size, ``(n, h, w)``.
        high_res: The maps at the image's size, ``(n, H, W)``.
        cues: 0 background, c + 1 class c, 255 no cue, ``(41, 41)`` uint8.
        mask: The pseudo-mask, 255 where unsure, ``(H, W)`` uint8.
    """

    classes: np.ndarray
    cam: np.ndarray
    high_res: np.ndarray
    cues: np.ndarray
    mask: np.ndarray


def begin(out: Path, provenance: dict[str, Any]) -> None:
    """Write the provenance of seeds that begin.

    Raises:
        NotADirectoryError: If ``out`` is a file.
        ValueError: If the folder holds other things, or seeds of another provenance.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out}: is a file, expected a folder")
    if any(_is_content(entry) for entry in out.glob("*")):
        _refuse_others(out, read_provenance(out), provenance)
    # An export that was killed here left parts.
    remove_parts(out, "**/*")
    write_provenance(out, provenance)


def _is_content(entry: Path) -> bool:
    """Return whether an entry is content: a start without seeds leaves provenance, hidden files and parts."""
    return entry.name != PROVENANCE and not entry.name.startswith(".") and entry.suffix != ".part"


def _refuse_others(out: Path, earlier: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Refuse a folder that holds no seeds, and seeds that come from elsewhere."""
    if "checkpoint_sha256" not in earlier:
        raise ValueError(f"--out {out}: holds other things than seeds, expected a new or empty folder")
    # Old folders of seeds do not know this hash.
    earlier.setdefault("labels_sha256", provenance["labels_sha256"])
    for key in provenance:
        if key not in ("state", "git_commit", "run", "method") and earlier.get(key) != provenance[key]:
            raise ValueError(
                f"{out} holds seeds of {key} {earlier.get(key)}, expected {provenance[key]}: choose another --out"
            )


def is_done(out: Path, name: str) -> bool:
    """Return whether the seeds of an image are written: its cues are written last."""
    return (out / "cues" / f"{name}.png").is_file()


def write_image(out: Path, name: str, seeds: ImageSeeds) -> None:
    """Write the maps, the pseudo-mask and, last, the cues of one image, each file whole or not at all."""
    content = {"keys": seeds.classes, "cam": seeds.cam, "high_res": seeds.high_res}
    write_exchanged_maps(out / "maps" / f"{name}.npy", content)
    save_indexed(out / "masks" / f"{name}.png", seeds.mask)
    save_indexed(out / "cues" / f"{name}.png", seeds.cues)


def draw_image(out: Path, name: str, images: PictureSet, row: int) -> None:
    """Draw image, truth where it is known, cues and pseudo-mask side by side."""
    mask = read_mask(out / "masks" / f"{name}.png")
    cues = cv2.resize(
        read_mask(out / "cues" / f"{name}.png"), mask.shape[::-1], interpolation=cv2.INTER_NEAREST
    )
    masks = {TRUTH: images.truth(row), "cues": cues, "pseudo-mask": mask}
    save_strip(out / "pictures" / f"{name}.png", images.picture(row), masks)


def finish(out: Path, names: Sequence[str], labels: np.ndarray, provenance: dict[str, Any]) -> None:
    """Write all cues into one file, and note the labels that have no cue."""
    cues = {name: read_mask(out / "cues" / f"{name}.png") for name in names}
    write_cues(out, cues, labels)
    without = []
    for (name, cue), label in zip(cues.items(), labels, strict=True):
        missing = [provenance["class_names"][c] for c in np.flatnonzero(label) if not (cue == c + 1).any()]
        if missing:
            without.append([name, *missing])
    write_provenance(out, provenance | {"state": "finished", "without_cue": without})
    print(f"{len(names)} images: {out}")
    if without:
        listed = "; ".join(f"{name} ({', '.join(missing)})" for name, *missing in without[:3])
        print(
            f"{len(without)} images have no cue of a labelled class: {listed}{'; ...' if len(without) > 3 else ''}"
        )


def export_masks(
    out: Path, names: Sequence[str], images: PictureSet, formats: Sequence[str], source: str
) -> None:
    """Write all pseudo-masks in the formats of annotators' tools.

    Args:
        out: The folder of the seeds.
        names: The name of each image there.
        images: The images.
        formats: Keys of :data:`~gain_lightning.datasets.writers.WRITERS`.
        source: What made the seeds, in words.
    """
    if not formats:
        return
    folder, files = names_of(images)
    writers = open_writers(formats, out, images.class_names, folder or out, source)
    for name, file, label in zip(names, files, images.labels, strict=True):
        mask = read_mask(out / "masks" / f"{name}.png")
        picture = of_index_mask(file, mask, np.flatnonzero(label).tolist())
        for writer in writers:
            writer.add(picture)
    for writer in writers:
        writer.finish()
