"""Every layout on a disk that can be read has a file of its own here and a row of :data:`READERS`; without torch.

The file of a new layout has ``recognises`` and ``read``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.readers import folder, voc, wilds

FOLDER_MODULE = "FolderDataModule"


class Reader(NamedTuple):
    """A layout on a disk is recognised and read.

    Attributes:
        name: The name of the layout in messages.
        recognises: Tells at a glance whether a folder has this layout.
        read: Reads such a folder and looks at every picture, mask and box.
        module: The name of the data module that trains on it.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Contents]
    module: str = FOLDER_MODULE


# The first that recognises a folder reads it. The last reads what none recognises, and says what is missing there.
READERS = (
    Reader("PASCAL VOC 2012", voc.recognises, voc.read, "VOC12DataModule"),
    Reader("a table of WILDS", wilds.recognises, wilds.read),
    Reader("a folder of pictures", folder.recognises, folder.read),
)


def reader_of(root: Path, module: str | None = None) -> Reader:
    """Find the reader of a folder.

    Args:
        root: The folder.
        module: The name of a data module, to choose among its readers alone; None chooses among all.

    Returns:
        The first reader that recognises the folder, else the last.

    Example:
        >>> reader_of(Path("no such folder")).name
        'a folder of pictures'
    """
    readers = [reader for reader in READERS if module in (None, reader.module)]
    return next((reader for reader in readers if reader.recognises(root)), readers[-1])
