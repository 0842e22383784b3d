"""Classifiers split in two, ``features | head``, at the layer whose attention is trained."""

from gain_lightning.backbones.base import Backbone, checkpointed, map_shape
from gain_lightning.backbones.build import BUILDERS, FORMATS, build_backbone, fastest_format, in_tiles

__all__ = [
    "BUILDERS",
    "FORMATS",
    "Backbone",
    "build_backbone",
    "checkpointed",
    "fastest_format",
    "in_tiles",
    "map_shape",
]
