"""Data modules: image-level labels for all, pixels for a few."""

from gain_lightning.datasets.shapes import Shapes, ShapesDataModule
from gain_lightning.datasets.voc12 import VOC12, VOC12DataModule

__all__ = ["VOC12", "Shapes", "ShapesDataModule", "VOC12DataModule"]
