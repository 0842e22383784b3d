"""The table of methods: a new method is a row here. Nothing here imports torch.

A checkpoint carries the name of its method, and ``--method`` takes a name. A data module that only one method trains
on stands in that method's row.
"""

import importlib
from typing import Any, NamedTuple

DEFAULT = "GAIN"


class MethodRow(NamedTuple):
    """The place of a method.

    Attributes:
        path: Import path of the class.
        data: Import path of the data module that it trains on; its subclasses count too.
    """

    path: str
    data: str = "gain_lightning.datasets.streams.TwoStreamDataModule"

    def load(self) -> tuple[type, type]:
        """Import both classes."""
        return import_object(self.path), import_object(self.data)


METHODS = {
    "GAIN": MethodRow("gain_lightning.methods.gain.GAIN"),
    "GroupDRO": MethodRow("gain_lightning.methods.group_dro.GroupDRO"),
    "JTT": MethodRow("gain_lightning.methods.jtt.JTT"),
    "DFR": MethodRow("gain_lightning.methods.dfr.DFR"),
    "SEC": MethodRow(
        "gain_lightning.segmentation.sec.SEC", "gain_lightning.segmentation.cue_data.CueDataModule"
    ),
}


def method_for(data: str) -> str:
    """Return the name of the method that a data module is made for.

    Args:
        data: Name or import path of the data module.

    Example:
        >>> method_for("CueDataModule"), method_for("gain_lightning.datasets.shapes.ShapesDataModule")
        ('SEC', 'GAIN')
    """
    name = data.rpartition(".")[2]
    return next((key for key, row in METHODS.items() if row.data.rpartition(".")[2] == name), DEFAULT)


def import_object(path: str) -> Any:
    """Import the object that an import path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
