"""Data modules: image-level labels for all, pixels for a few."""

from gain_lightning.datasets.folder import FolderDataModule
from gain_lightning.datasets.shapes import ShapesDataModule
from gain_lightning.datasets.voc12 import VOC12DataModule

__all__ = ["FolderDataModule", "ShapesDataModule", "VOC12DataModule"]
