"""Every method once: the one place that a new one is named. Nothing here imports torch.

A checkpoint carries the name of its method, ``--method`` takes one, and a data module that only one method trains on
stands in that method's row.
"""

import importlib
from typing import Any, NamedTuple

DEFAULT = "GAIN"


class MethodRow(NamedTuple):
    """Where a method is.

    Attributes:
        path: Import path of the class.
        data: Import path of the data module that it trains on; subclasses count.
    """

    path: str
    data: str = "gain_lightning.datasets.streams.TwoStreamDataModule"

    def load(self) -> tuple[type, type]:
        """Import both classes."""
        return import_object(self.path), import_object(self.data)


METHODS = {
    "GAIN": MethodRow("gain_lightning.methods.gain.GAIN"),
    "SEC": MethodRow(
        "gain_lightning.segmentation.sec.SEC", "gain_lightning.segmentation.cue_data.CueDataModule"
    ),
}


def method_for(data: str) -> str:
    """Name of the method that a data module is made for.

    Args:
        data: Name or import path of the data module.

    Example:
        >>> method_for("CueDataModule"), method_for("gain_lightning.datasets.shapes.ShapesDataModule")
        ('SEC', 'GAIN')
    """
    name = data.rpartition(".")[2]
    return next((key for key, row in METHODS.items() if row.data.rpartition(".")[2] == name), DEFAULT)


def import_object(path: str) -> Any:
    """What an import path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
