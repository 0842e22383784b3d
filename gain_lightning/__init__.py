"""Attention-guided training: GAIN and GAIN_ext (Li et al., CVPR 2018) on PyTorch Lightning."""

import importlib
import os

# albumentations asks a server for its newest version at import; training never waits for a network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__version__ = "0.1.0"

VOID = 255  # mask pixels that say nothing: unlabelled, or too close to a border
REQUEUE = 75  # exit status of a training that was told to stop and can go on: EX_TEMPFAIL of <sysexits.h>

# Public names, imported at first use: `gain --help` must not wait for torch.
_HOMES = {
    "Backbone": "backbones",
    "build_backbone": "backbones",
    "GAIN": "module",
    "FolderDataModule": "datasets",
    "ShapesDataModule": "datasets",
    "VOC12DataModule": "datasets",
    "load_picture": "datasets.images",
    "attention": "",
    "losses": "",
    "metrics": "",
}

__all__ = ["REQUEUE", "VOID", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gain_lightning' has no attribute {name!r}")
    if not _HOMES[name]:
        return importlib.import_module(f"gain_lightning.{name}")
    return getattr(importlib.import_module(f"gain_lightning.{_HOMES[name]}"), name)
