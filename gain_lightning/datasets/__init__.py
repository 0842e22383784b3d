"""Data modules that give every image its labels, and a few images their pixels too."""

import importlib

# They are imported at first use, for `gain data check` reads folders without torch.
_HOMES = {"FolderDataModule": "folder", "ShapesDataModule": "shapes", "VOC12DataModule": "voc12"}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gain_lightning.datasets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gain_lightning.datasets.{_HOMES[name]}"), name)
