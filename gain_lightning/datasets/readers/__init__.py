"""Every layout on a disk that can be read has a file of its own here and a row of :data:`READERS`; without torch.

The file of a new layout has ``recognises`` and ``read``. Annotations of other tools are read by
:mod:`~gain_lightning.datasets.readers.annotations`, which has a file and a row for each of their formats.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gain_lightning.datasets.contents import Contents
from gain_lightning.datasets.readers import annotations, folder, voc, wilds
from gain_lightning.datasets.readers.annotations import Asked

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


def reader_of(root: Path, module: str | None = None, asked: Asked = Asked()) -> Reader:  # noqa: B008, immutable
    """Find the reader of a folder, or of a file of annotations.

    Args:
        root: The folder or the file.
        module: The name of a data module, to choose among its readers alone; None chooses among all.
        asked: What a person says of annotations besides.

    Returns:
        The first reader that recognises the folder; where none does, or where pictures in ``images/`` have no table
        of labels, that of the annotations there; else the last.

    Raises:
        ValueError: If something is said of annotations where there are none.
        FileNotFoundError: If nothing is there at all, and something is said of annotations.

    Example:
        >>> reader_of(Path("no such folder")).name
        'a folder of pictures'
    """
    readers = [reader for reader in READERS if module in (None, reader.module)]
    own = next((reader for reader in readers if reader.recognises(root)), readers[-1])
    is_labelled = own is not readers[-1] or folder.has_table(root)
    found = [] if is_labelled else annotations.formats_of(root)
    if found:
        kind, _ = found[0]
        read = partial(annotations.read, kind=kind, asked=asked, others=found[1:])
        return Reader(kind.tool, Path.exists, read)
    if asked != Asked():
        if not root.exists():
            raise FileNotFoundError(f"{root}: no such file, expected annotations or a folder that holds them")
        raise ValueError(
            f"{root}: {own.name} has pictures and labels of its own, expected neither image_folder nor unannotated"
        )
    return own
