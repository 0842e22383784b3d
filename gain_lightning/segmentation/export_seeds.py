"""Make localisation cues, maps and pseudo-masks of a run's images from its attention: the work of ``gain seeds``."""

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from gain_lightning.attention import resize_maps, scale_maps
from gain_lightning.datasets.images import read_mask
from gain_lightning.datasets.resize import resize_image
from gain_lightning.datasets.sample import PictureSet
from gain_lightning.drawing.encoding import save_indexed
from gain_lightning.drawing.strips import NUM_STRIPS, TRUTH, save_strip
from gain_lightning.methods.load import load_classifier
from gain_lightning.runs.checkpoints import newest_checkpoint
from gain_lightning.runs.provenance import git_commit
from gain_lightning.runs.settings import CONFIG, read_settings
from gain_lightning.runs.summary import read_summary
from gain_lightning.segmentation.cue_files import (
    check_num_classes,
    file_name,
    write_cues,
    write_exchanged_maps,
)
from gain_lightning.segmentation.provenance import PROVENANCE, read_provenance, write_provenance
from gain_lightning.segmentation.seeds import (
    CUE_SIZE,
    crf_regions,
    gradient_saliency,
    least_salient,
    low_attention,
    make_cues,
    pseudo_mask,
    summed_maps,
)
from gain_lightning.support.files import remove_parts
from gain_lightning.support.home import expand_home
from gain_lightning.support.names import first_pair


@dataclass(frozen=True)
class SeedOptions:
    """The settings by which seeds are made.

    Attributes:
        run: The folder of the run whose attention they come from.
        out: The folder for the seeds.
        background: The source of the background: ``attention``, ``gradient`` or ``saliency``.
        background_value: The share below which a pixel is background.
        threshold: The share of a map's maximum above which a pixel is a seed.
        data: The folder of the data; None takes the run's.
        split: The list of images; None takes the run's training images.
        scales: The sizes at which images are seen, as factors on the run's size.
        flip: Whether the maps of mirrored images are added.
        saliency: The folder of saliency maps ``NAME.png``, for the background ``saliency``.
        crf: Whether a dense CRF makes regions of the maps before both thresholds.
        batch_size: The number of images at a time.
        device: The device of the network; None takes a GPU if there is one.
    """

    run: Path
    out: Path
    background: str
    background_value: float
    threshold: float
    data: str | None = None
    split: str | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    saliency: Path | None = None
    crf: bool = False
    batch_size: int = 16
    device: str | None = None


def export_seeds(options: SeedOptions) -> None:
    """Map the images of a run and write the seeds; ``gain seeds --help`` says which files.

    Raises:
        FileNotFoundError, ValueError: If the run, its data or a saliency map is missing or unfit.
    """
    checkpoint = newest_checkpoint(options.run / "checkpoints")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_classifier(checkpoint).eval().to(device)
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
    provenance = _begin(options, checkpoint, images, names)
    rows = [row for row, name in enumerate(names) if not (options.out / "cues" / f"{name}.png").is_file()]
    if len(rows) < len(names):
        print(f"{len(names) - len(rows)} of {len(names)} images are done already")
    loader = DataLoader(Subset(AtScales(images, options.scales), rows), options.batch_size)
    done = 0
    for batch in tqdm(loader, "seeds", leave=False, disable=None):
        image, label = batch["image"].to(device), batch["label"].to(device)
        seen = [pictures.to(device) for pictures in batch["seen"]]
        size = max(tuple(pictures.shape[2:]) for pictures in [image, *seen])
        maps, pairs = summed_maps(model, seen, label, size=size, flip=options.flip)
        has_gradient = options.background == "gradient"
        saliency = gradient_saliency(model, image, label) if has_gradient else None
        for n in range(len(image)):
            row = rows[done]
            is_of_image = pairs.image == n
            _write(
                options,
                names[row],
                maps[is_of_image],
                pairs.label[is_of_image].cpu().numpy(),
                tuple(images.sizes[row]),
                _background(options, names[row], None if saliency is None else saliency[n]),
                batch["image"][n],
            )
            done += 1
    for row, name in enumerate(names[:NUM_STRIPS]):
        _draw(options.out, name, images, row)
    _finish(options, names, images.labels, provenance)


def _draw(out: Path, name: str, images: PictureSet, row: int) -> None:
    """Draw image, truth where it is known, cues and pseudo-mask side by side."""
    mask = read_mask(out / "masks" / f"{name}.png")
    cues = cv2.resize(
        read_mask(out / "cues" / f"{name}.png"), mask.shape[::-1], interpolation=cv2.INTER_NEAREST
    )
    masks = {TRUTH: images.truth(row), "cues": cues, "pseudo-mask": mask}
    save_strip(out / "pictures" / f"{name}.png", images.picture(row), masks)


def run_images(run: Path, root: str | None, split: str | None, *, enlarge: float = 1.0) -> PictureSet:
    """Return the pictures of a run's data with their labels, without masks and without augmentation.

    Args:
        run: The run's folder.
        root: The folder of the data; None keeps the run's ``data.root``.
        split: The list of images; None takes the run's training images.
        enlarge: Factor on the run's ``image_size`` at which pictures are read from files.

    Raises:
        FileNotFoundError: If the run has no config.
    """
    config = expand_home(read_settings(run).get("data"))
    if not isinstance(config, dict) or not isinstance(config.get("init_args"), dict):
        raise ValueError(f"{run / CONFIG}: names no data, expected the {CONFIG} of a run")
    module, _, name = config["class_path"].rpartition(".")
    settings = {key: value for key, value in config["init_args"].items() if key != "augmentation"}
    settings |= {"mask_budget": 0} | ({"root": root} if root is not None else {})
    if "image_size" in settings:
        settings["image_size"] = round(enlarge * settings["image_size"])
    data = getattr(importlib.import_module(module or "gain_lightning.datasets"), name)(**settings)
    return data.image_set(split)


class AtScales(Dataset):
    """Pictures of a run's data with their labels, each also at other sizes.

    A picture that comes from a file is read anew at each size, as a network of that size reads it.

    Args:
        images: The data set of :func:`run_images`.
        scales: The sizes, as factors on the run's size.
    """

    def __init__(self, images: PictureSet, scales: Sequence[float]) -> None:
        self.images, self.scales = images, scales

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict[str, Any]:
        sample = self.images[row]
        seen = [self._see(row, sample["image"], scale) for scale in self.scales]
        return {"image": sample["image"], "label": sample["label"], "seen": seen}

    def _see(self, row: int, image: Tensor, scale: float) -> Tensor:
        if scale == 1:
            return image
        side = max(round(scale * image.shape[1]), 1)
        return torch.from_numpy(self.images.picture(row, side)).permute(2, 0, 1)


def _begin(options: SeedOptions, checkpoint: Path, images: PictureSet, names: list[str]) -> dict[str, Any]:
    """Write and return the provenance of the seeds.

    A folder that holds other things, or seeds of another provenance, is refused.
    """
    chosen = {
        key: getattr(options, key) for key in ("split", "scales", "flip", "crf", "threshold", "background")
    }
    chosen |= {"background_value": options.background_value}
    if options.saliency is not None:
        chosen["saliency_sha256"] = _hash_of_saliency(options.saliency, names)
    provenance = {
        "state": "running",
        "run": options.run.resolve().name,
        "method": _method(options.run),
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        **chosen,
        "cue_size": CUE_SIZE,
        "num_images": len(names),
        "class_names": list(images.class_names),
        "labels_sha256": hashlib.sha256(
            "\n".join(names).encode() + np.asarray(images.labels).tobytes()
        ).hexdigest(),
        "git_commit": git_commit(),
    }
    if options.out.exists() and not options.out.is_dir():
        raise NotADirectoryError(f"--out {options.out}: is a file, expected a folder")
    if any(_is_content(entry) for entry in options.out.glob("*")):
        _refuse_others(options.out, read_provenance(options.out), provenance)
    # An export that was killed here left parts.
    remove_parts(options.out, "**/*")
    write_provenance(options.out, provenance)
    return provenance


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


def _hash_of_saliency(folder: Path, names: list[str]) -> str:
    """Return one hash of all saliency maps; a folder that lacks one is refused."""
    missing = [name for name in names if not (folder / f"{name}.png").is_file()]
    if missing:
        raise FileNotFoundError(
            f"--saliency {folder}: {len(missing)} of {len(names)} images have no saliency map, the first "
            f"{missing[0]}: expected {missing[0]}.png"
        )
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256((folder / f"{name}.png").read_bytes()).digest())
    return digest.hexdigest()


def _method(run: Path) -> str | None:
    """Return the method that the run's summary names, with its number of masks."""
    summary = read_summary(run)
    method = summary.get("method")
    return (
        f"{method}_{summary['num_masked']}" if method == "gain_ext" and summary.get("num_masked") else method
    )


def _background(
    options: SeedOptions, name: str, saliency: Tensor | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that finds the background of an image's maps ``(n, h, w)``, at their size."""
    if saliency is not None:
        values = saliency.cpu().numpy()
        return lambda maps: least_salient(_resized(values, maps.shape[1:]), options.background_value)
    if options.background == "attention" or options.saliency is None:
        return lambda maps: low_attention(maps, options.background_value)
    values = np.array(Image.open(options.saliency / f"{name}.png").convert("L"), np.float32) / 255
    return lambda maps: _resized(values, maps.shape[1:]) < options.background_value


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    is_smaller = size[0] < values.shape[0]
    return cv2.resize(
        values.astype(np.float32),
        size[::-1],
        interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR,
    )


def _write(
    options: SeedOptions,
    name: str,
    maps: Tensor,
    classes: np.ndarray,
    size: tuple[int, int],
    background: Callable[[np.ndarray], np.ndarray],
    image: Tensor,
) -> None:
    """Write the maps, the pseudo-mask and, last, the cues of one image, each file whole or not at all."""

    def at(height: int, width: int) -> np.ndarray:
        return scale_maps(resize_maps(maps, (height, width)))[:, 0].cpu().numpy()

    high_res, small = at(*size), at(CUE_SIZE, CUE_SIZE)
    content = {"keys": classes, "cam": at(-(-size[0] // 4), -(-size[1] // 4)), "high_res": high_res}
    write_exchanged_maps(options.out / "maps" / f"{name}.npy", content)
    threshold, empty, empty_high_res = options.threshold, background(small), background(high_res)
    if options.crf:
        picture = resize_image(image[None], (CUE_SIZE, CUE_SIZE))[0].permute(1, 2, 0).numpy()
        sure, perhaps = crf_regions(small, picture, [threshold, options.background_value])
        if options.background == "attention":
            # A map that is 0 throughout does not say where its class is, so no pixel is background then.
            empty = np.logical_and(~perhaps.any(0), small.any((1, 2)).all())
            empty_high_res = _resized(empty, size) > 0.5
        small, threshold = sure, 0.5
        high_res = np.array([_resized(region, size) for region in sure]).reshape(len(sure), *size)
    mask = pseudo_mask(high_res, classes.tolist(), empty_high_res, threshold=threshold)
    save_indexed(options.out / "masks" / f"{name}.png", mask)
    cues = make_cues(small, classes.tolist(), empty, threshold=threshold)
    save_indexed(options.out / "cues" / f"{name}.png", cues)


def _finish(options: SeedOptions, names: list[str], labels: np.ndarray, provenance: dict[str, Any]) -> None:
    """Write all cues into one file, and note the labels that have no cue."""
    cues = {name: read_mask(options.out / "cues" / f"{name}.png") for name in names}
    write_cues(options.out, cues, labels)
    without = []
    for (name, cue), label in zip(cues.items(), labels, strict=True):
        missing = [provenance["class_names"][c] for c in np.flatnonzero(label) if not (cue == c + 1).any()]
        if missing:
            without.append([name, *missing])
    provenance |= {"state": "finished", "without_cue": without}
    write_provenance(options.out, provenance)
    print(f"{len(names)} images: {options.out}")
    if without:
        listed = "; ".join(f"{name} ({', '.join(missing)})" for name, *missing in without[:3])
        print(
            f"{len(without)} images have no cue of a labelled class: {listed}{'; ...' if len(without) > 3 else ''}"
        )
