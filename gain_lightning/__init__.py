"""Attention-guided training: GAIN and GAIN_ext (Li et al., CVPR 2018) on PyTorch Lightning."""

import importlib
import os

from gain_lightning.constants import VERSION

__version__ = VERSION

# albumentations asks a server for its newest version at import; training never waits for a network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

# Public names and the modules that hold them. They are imported at first use: `gain --help` must not wait for torch.
_HOMES = {
    "Backbone": "backbones",
    "build_backbone": "backbones",
    "GAIN": "methods.gain",
    "FolderDataModule": "datasets",
    "ShapesDataModule": "datasets",
    "VOC12DataModule": "datasets",
    "load_picture": "datasets.images",
    "REQUEUE": "constants",
    "VOID": "constants",
    "attention": "",
    "losses": "",
    "metrics": "",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gain_lightning' has no attribute {name!r}")
    if not _HOMES[name]:
        return importlib.import_module(f"gain_lightning.{name}")
    return getattr(importlib.import_module(f"gain_lightning.{_HOMES[name]}"), name)
