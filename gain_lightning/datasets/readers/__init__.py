"""The layouts on a disk that are read, each in a file of its own here; without torch.

A new layout is a file with ``recognises`` and ``read``, and a row of :data:`READERS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.readers import folder, voc

FOLDER_MODULE = "FolderDataModule"


class Reader(NamedTuple):
    """How a layout is told and read.

    Attributes:
        name: What the layout is called in messages.
        recognises: Whether a folder has this layout, which a glance tells.
        read: Read such a folder and look at every picture, mask and box.
        module: Name of the data module that trains on it.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Contents]
    module: str = FOLDER_MODULE


# The first that recognises a folder reads it. The last one reads what none recognises, for it says what is missing.
READERS = (
    Reader("PASCAL VOC 2012", voc.recognises, voc.read, "VOC12DataModule"),
    Reader("a folder of pictures", folder.recognises, folder.read),
)


def reader_of(root: Path, module: str | None = None) -> Reader:
    """Find the reader of a folder.

    Args:
        root: The folder.
        module: Name of a data module, to choose among its readers alone; None chooses among all.

    Returns:
        The first that recognises the folder, else the last.

    Example:
        >>> reader_of(Path("no such folder")).name
        'a folder of pictures'
    """
    readers = [reader for reader in READERS if module in (None, reader.module)]
    return next((reader for reader in readers if reader.recognises(root)), readers[-1])
