"""The pictures of a run's data, as ``gain seeds`` looks at them: with labels, without masks or augmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gain_lightning.datasets.run_data import make_data
from gain_lightning.datasets.sample import PictureSet
from gain_lightning.runs.settings import CONFIG, read_settings
from gain_lightning.support.home import expand_home


def run_images(run: Path, root: str | None, split: str | None, *, enlarge: float = 1.0) -> PictureSet:
    """Return the pictures of a run's data with their labels, without masks and without augmentation.

    Args:
        run: The run's folder. The pictures of a run that trained on cues are those that the cues are of.
        root: The folder of the data; None keeps the run's ``data.root``.
        split: The list of images; None takes the run's training images.
        enlarge: Factor on the run's ``image_size`` at which pictures are read from files.

    Raises:
        FileNotFoundError: If the run has no config.
        ValueError: If its config names no data.
    """
    config, split_of_cues = expand_home(read_settings(run).get("data")), None
    if isinstance(config, dict) and isinstance(inner := _arguments(config).get("images"), dict):
        config, split_of_cues = inner, _arguments(config).get("split")
    changes: dict[str, Any] = {"mask_budget": 0, "select_on": None}
    if isinstance(config, dict) and "image_size" in _arguments(config):
        changes["image_size"] = round(enlarge * _arguments(config)["image_size"])
    data = make_data(config, run / CONFIG, root, **changes)
    return data.image_set(split_of_cues if split is None else split)


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a data module's config; nothing if it has none."""
    arguments = config.get("init_args")
    return arguments if isinstance(arguments, dict) else {}


class AtScales(Dataset):
    """Pictures of a run's data with their labels, each also at other sizes, and its row.

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
        return {"image": sample["image"], "label": sample["label"], "seen": seen, "row": row}

    def _see(self, row: int, image: Tensor, scale: float) -> Tensor:
        if scale == 1:
            return image
        side = max(round(scale * image.shape[1]), 1)
        return torch.from_numpy(self.images.picture(row, side)).permute(2, 0, 1)
