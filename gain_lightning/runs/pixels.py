"""``per_image.csv`` of a run that segments: of every image and class, the pixels that its scores are made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.images import PER_IMAGE
from gain_lightning.runs.tables import read_number, read_table
from gain_lightning.support.files import WholeTable
from gain_lightning.support.messages import printable


def _columns(kinds: Iterable[str]) -> list[str]:
    """The columns of counts: pixels of the mask, and of every kind of segmentation those found and those right."""
    return ["true", *(f"{what}{kind}" for kind in kinds for what in ("found", "right"))]


def write_pixels(
    run_dir: Path, set_name: str, names: Sequence[str], counts: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Write ``per_image.csv``.

    Args:
        run_dir: The run folder.
        set_name: What the data call the set of these images, ``test`` or ``val``.
        names: The classes, the background first.
        counts: By image, and by kind of segmentation, ``""`` and ``"_crf"``, pixels of the mask, of the segmentation
            and of both, ``(3, 1 + C)``.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_pixels(folder, "val", ["background", "boat"], {"a": {"": np.array([[3, 2], [4, 1], [3, 1]])}})
        >>> print((folder / "per_image.csv").read_text(), end="")
        set,id,class,true,found,right
        val,a,background,3,4,3
        val,a,boat,2,1,1
    """
    with WholeTable(run_dir / PER_IMAGE) as table:
        table.write(_rows(set_name, names, counts))


def _rows(
    set_name: str, names: Sequence[str], counts: Mapping[str, Mapping[str, np.ndarray]]
) -> Iterator[list[str | int]]:
    """Yield the header and, one by one, a row a (image, class)."""
    kinds = next(iter(counts.values()), {"": None})
    yield ["set", "id", "class", *_columns(kinds)]
    for image_id, of_image in counts.items():
        columns = [of_image[""][0], *(of_image[kind][row] for kind in kinds for row in (1, 2))]
        for name, *pixels in zip(names, *(column.tolist() for column in columns), strict=True):
            yield [set_name, image_id, name, *pixels]


class PixelTable(NamedTuple):
    """``per_image.csv`` of a run of SEC: sorted ids ``(N,)``, class names with the background ``(1 + C,)``, and counts.

    ``set_name`` is what the data call the set of these images.

    ``pixels`` has, for ``miou`` and where a CRF was judged ``miou_crf``, pixels of the mask, of the segmentation and
    of both, ``(3, N, 1 + C)``.
    """

    ids: list[str]
    class_names: list[str]
    pixels: dict[str, np.ndarray]
    set_name: str = "test"


def read_pixels(path: str | Path) -> PixelTable | None:
    """Read ``per_image.csv`` of a run of SEC; None if there is no such file.

    Args:
        path: Folder of the run.

    Raises:
        RunError: If a row is malformed, missing or twice there.
    """
    name = Path(path, PER_IMAGE)
    header, rows = read_table(name)
    if not rows:
        return None
    kinds = ["", "_crf"] if "found_crf" in header else [""]
    columns = _columns(kinds)
    missing = [column for column in ("id", "class", *columns) if column not in header]
    if missing:
        raise RunError(f"{name}: has no column {missing[0]!r}, expected id, class, {', '.join(columns)}")
    counts: dict[tuple[str, str], list[float]] = {}
    for number, cells in rows:
        row = dict(zip(header, cells, strict=True))
        if (row["id"], row["class"]) in counts:
            raise RunError(f"{name}, row {number}: {row['id']!r}, {row['class']!r} comes twice")
        values = counts[row["id"], row["class"]] = [
            read_number(row[column], name, number) for column in columns
        ]
        if not all(value >= 0 for value in values):
            raise RunError(f"{name}, row {number}: {values} pixels, expected numbers of at least 0")
    ids = sorted({image_id for image_id, _ in counts})
    class_names = list(dict.fromkeys(class_name for _, class_name in counts))
    if len(counts) != len(ids) * len(class_names):
        raise RunError(
            f"{name}: has {len(counts)} rows, expected {len(ids)} images x {len(class_names)} classes"
        )
    table = np.array([[counts[image_id, class_name] for class_name in class_names] for image_id in ids])
    true, *others = np.moveaxis(table, 2, 0)
    pixels = {f"miou{kind}": np.stack([true, *others[2 * i : 2 * i + 2]]) for i, kind in enumerate(kinds)}
    # older runs do not say it
    set_name = printable(rows[0][1][header.index("set")]) if "set" in header else "test"
    return PixelTable(ids, class_names, pixels, set_name)
