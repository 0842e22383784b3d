"""The data of a run, opened anew from its ``config.yaml``: for those who look at pictures without a training."""

import copy
import importlib
from pathlib import Path
from typing import Any

from gain_lightning.datasets.image_set import ImageSet
from gain_lightning.datasets.sample import PictureSet
from gain_lightning.datasets.streams import TwoStreamDataModule
from gain_lightning.runs.settings import CONFIG, read_settings
from gain_lightning.support.home import expand_home

# How a training varies its pictures and what it makes of their marks; who looks at them wants both as they are.
_OF_TRAINING = ("augmentation", "mask_noise", "void_border", "box_dilation")


def open_run_data(run: Path, root: str | None = None, **changes: Any) -> TwoStreamDataModule:
    """Open the data module of a run, with pictures and marks as they are, and not as its training changed them.

    Args:
        run: The run's folder.
        root: The folder of the data; None keeps the run's ``data.root``.
        **changes: Settings of the data module that take the place of the run's.

    Raises:
        FileNotFoundError: If the run has no config.
        ValueError: If its config names no data, or data that lie in no folder although ``root`` is given.
    """
    return make_data(expand_home(read_settings(run).get("data")), run / CONFIG, root, **changes)


def make_data(config: Any, where: Path, root: str | None = None, **changes: Any) -> TwoStreamDataModule:
    """Make the data module that a config names; see :func:`open_run_data`.

    Args:
        config: The config's ``data``, with ``class_path`` and ``init_args``.
        where: The file that it stands in.
        root: See :func:`open_run_data`.
        **changes: See :func:`open_run_data`.
    """
    if not isinstance(config, dict) or not isinstance(config.get("init_args"), dict):
        raise ValueError(f"{where}: names no data, expected the {CONFIG} of a run")
    module, _, name = config["class_path"].rpartition(".")
    kept = {key: value for key, value in config["init_args"].items() if key not in _OF_TRAINING}
    settings = {**kept, **changes}
    if root is not None and "root" not in settings:
        raise ValueError(f"--data {root}: {where} names {name}, which lies in no folder; expected no --data")
    if root is not None:
        settings["root"] = root
    data_class = getattr(importlib.import_module(module or "gain_lightning.datasets"), name)
    made: TwoStreamDataModule = data_class(**settings)
    return made


def marked_pictures(data: TwoStreamDataModule, split: str | None = None) -> tuple[str, PictureSet]:
    """Open a split with all masks that it has; where it has none, boxes take their place.

    Args:
        data: A data module whose ``mask_budget`` is 1.0, as :func:`open_run_data` makes it with that change.
        split: ``train``, ``val``, or the name of a test set; None takes the first test set.

    Returns:
        The name of the split, and its pictures.

    Raises:
        ValueError: If there is no such split, if it has neither mask nor box, or if classes are what lies outside of
            boxes.
    """
    if data.supervision == "outside_box":
        raise ValueError(
            "data.supervision is outside_box, so that the classes are grounds; expected classes of objects"
        )
    if split == "train":
        return split, _marked_training(data)
    data.setup("test")
    sets = dict(data.test_sets)
    if split not in (None, *sets):
        data.setup("validate")
        sets.setdefault("val", data.val_set)
    name = next(iter(sets)) if split is None else split
    if name not in sets:
        known = ", ".join(dict.fromkeys(["train", "val", *sets]))
        raise ValueError(f"there is no split {name!r}, expected one of {known}")
    return name, _with_boxes(sets[name], name)


def _marked_training(data: TwoStreamDataModule) -> PictureSet:
    for data.supervision in ("mask", "box"):
        data.setup("fit")
        images = data.masked_set
        if isinstance(images, ImageSet):
            # pictures are looked at as they are
            images.train_transform = None
        if images is not None:
            return images
    raise ValueError("no picture of train has a mask or a box, expected masks or boxes of some")


def _with_boxes(images: PictureSet, name: str) -> PictureSet:
    """Return the pictures with their boxes, where these are all that is marked."""
    if not isinstance(images, ImageSet) or images.listing.has_pixels.any():
        return images
    if not images.listing.has_box.any():
        raise ValueError(f"no picture of {name} has a mask or a box, expected masks or boxes of some")
    images = copy.copy(images)
    images.supervision = "box"
    return images
