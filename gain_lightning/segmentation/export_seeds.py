"""Make localisation cues, maps and pseudo-masks of the images of a run: the work of ``gain seeds``."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from gain_lightning.datasets.sample import PictureSet
from gain_lightning.drawing.strips import NUM_STRIPS
from gain_lightning.methods.base import Method
from gain_lightning.methods.classifier import Classifier
from gain_lightning.methods.load import load_model
from gain_lightning.runs.checkpoints import tested_checkpoint
from gain_lightning.runs.provenance import git_commit
from gain_lightning.runs.summary import read_summary
from gain_lightning.segmentation import seed_folder
from gain_lightning.segmentation.attention_seeds import AttentionSeeds
from gain_lightning.segmentation.cue_files import check_num_classes, file_name
from gain_lightning.segmentation.run_images import AtScales, run_images
from gain_lightning.segmentation.saliency import SaliencyMaps
from gain_lightning.segmentation.sec import SEC
from gain_lightning.segmentation.sec_seeds import SecSeeds
from gain_lightning.segmentation.seed_folder import ImageSeeds
from gain_lightning.segmentation.seeds import CUE_SIZE
from gain_lightning.support.names import first_pair

# Settings that only the runs of one kind take.
_OF_ATTENTION = ("threshold", "background", "background_value", "saliency")
_OF_SEC = ("confidence",)


@dataclass(frozen=True)
class SeedOptions:
    """The settings by which seeds are made.

    Attributes:
        run: The folder of the run, of a classifier or of SEC.
        out: The folder for the seeds.
        data: The folder of the data; None takes the run's.
        split: The list of images; None takes the run's training images.
        scales: The sizes at which images are seen, as factors on the run's size.
        flip: Whether mirrored images are looked at, too.
        crf: Whether a dense CRF makes regions first.
        threshold: See :class:`AttentionSeeds`, as of the next two.
        background: The source of the background.
        background_value: The share below which a pixel is background.
        saliency: The folder of saliency maps, see :class:`SaliencyMaps`.
        confidence: The least probability of a cue, see :class:`SecSeeds`.
        batch_size: The number of images at a time.
        device: The device of the network; None takes a GPU if there is one.
        export: Formats of annotation files that pseudo-masks are also written in.
    """

    run: Path
    out: Path
    data: str | None = None
    split: str | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    crf: bool = False
    threshold: float | None = None
    background: str | None = None
    background_value: float | None = None
    saliency: Path | None = None
    confidence: float | None = None
    batch_size: int = 16
    device: str | None = None
    export: Sequence[str] = ()


class SeedSource(Protocol):
    """What makes the seeds of images."""

    def settings(self) -> dict[str, Any]:
        """Return the settings that the provenance of seeds keeps."""
        ...

    def of_batch(
        self,
        image: Tensor,
        seen: Sequence[Tensor],
        label: Tensor,
        names: Sequence[str],
        sizes: Sequence[tuple[int, int]],
    ) -> Iterator[ImageSeeds]:
        """Yield the seeds of N images, see :meth:`AttentionSeeds.of_batch`."""
        ...


def export_seeds(options: SeedOptions) -> None:
    """Make and write the seeds of a run's images; ``gain seeds --help`` says which files.

    Raises:
        FileNotFoundError, ValueError: If the run, its data or a saliency map is missing or unfit.
    """
    checkpoint = tested_checkpoint(options.run)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(checkpoint).eval().to(device)
    images = run_images(options.run, options.data, options.split)
    if images.class_names != tuple(model.hparams.class_names):
        raise ValueError(
            f"{options.run}: its classes are {model.hparams.class_names}, the data's {images.class_names}"
        )
    check_num_classes(str(options.run), len(images.class_names))
    names = [file_name(str(image_id)) for image_id in images.ids]
    pair = first_pair(names)
    if pair is not None:
        raise ValueError(f"two images are called {' and '.join(pair)}: their seeds would have the same files")
    source = _source(model, options, names)
    provenance = _provenance(options, checkpoint, images, names, source)
    seed_folder.begin(options.out, provenance)
    rows = [row for row, name in enumerate(names) if not seed_folder.is_done(options.out, name)]
    if len(rows) < len(names):
        print(f"{len(names) - len(rows)} of {len(names)} images are done already")
    loader = DataLoader(Subset(AtScales(images, options.scales), rows), options.batch_size)
    for batch in tqdm(loader, "seeds", leave=False, disable=None):
        of_batch = batch["row"].tolist()
        made = source.of_batch(
            batch["image"].to(device),
            [pictures.to(device) for pictures in batch["seen"]],
            model.with_place(batch["label"].to(device)),
            [names[row] for row in of_batch],
            [tuple(images.sizes[row]) for row in of_batch],
        )
        for row, seeds in zip(of_batch, made, strict=True):
            seed_folder.write_image(options.out, names[row], seeds)
    for row, name in enumerate(names[:NUM_STRIPS]):
        seed_folder.draw_image(options.out, name, images, row)
    seed_folder.finish(options.out, names, images.labels, provenance)
    seed_folder.export_masks(options.out, names, images, options.export, f"gain seeds, {options.run}")


def _source(model: Method, options: SeedOptions, names: Sequence[str]) -> SeedSource:
    """Return what makes the seeds of a model, and refuse settings that it does not take."""
    if not isinstance(model, Classifier | SEC):
        raise ValueError(f"{options.run} is of {model.kind} ({model.name}), expected a classifier's or SEC's")
    is_sec = isinstance(model, SEC)
    foreign = [key for key in (_OF_ATTENTION if is_sec else _OF_SEC) if getattr(options, key) is not None]
    if foreign:
        raise ValueError(
            f"--{foreign[0]}: {options.run} is of {model.kind} ({model.name}), expected "
            f"{', '.join(f'--{key}' for key in (_OF_SEC if is_sec else _OF_ATTENTION))}"
        )
    if isinstance(model, SEC):
        return SecSeeds(model, flip=options.flip, crf=options.crf, confidence=options.confidence)
    return AttentionSeeds(
        model,
        flip=options.flip,
        crf=options.crf,
        threshold=options.threshold,
        background=options.background,
        background_value=options.background_value,
        saliency=None if options.saliency is None else SaliencyMaps(options.saliency, names),
    )


def _provenance(
    options: SeedOptions, checkpoint: Path, images: PictureSet, names: list[str], source: SeedSource
) -> dict[str, Any]:
    """Return where the seeds come from: run, checkpoint, settings and images."""
    labels = "\n".join(names).encode() + np.asarray(images.labels).tobytes()
    return {
        "state": "running",
        "run": options.run.resolve().name,
        "method": _method(options.run),
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        **{key: getattr(options, key) for key in ("split", "scales", "flip", "crf")},
        **source.settings(),
        "cue_size": CUE_SIZE,
        "num_images": len(names),
        "class_names": list(images.class_names),
        "labels_sha256": hashlib.sha256(labels).hexdigest(),
        "git_commit": git_commit(),
    }


def _method(run: Path) -> str | None:
    """Return the method that the run's summary names, with its number of masks."""
    summary = read_summary(run)
    method = summary.get("method")
    return (
        f"{method}_{summary['num_masked']}" if method == "gain_ext" and summary.get("num_masked") else method
    )
