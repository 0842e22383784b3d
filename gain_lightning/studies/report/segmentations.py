"""The cues that SEC was trained on and its segmentations: the same images through every method's first run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gain_lightning.drawing.encoding import data_uri, shrink
from gain_lightning.drawing.strips import IMAGE, TRUTH, read_strip
from gain_lightning.runs.errors import RunError
from gain_lightning.runs.read import Run
from gain_lightning.studies.comparison.groups import Group, method_title
from gain_lightning.studies.report.examples import Row, Tile, first_runs
from gain_lightning.support.walk import files_below

NUM_ROWS = 8
_SIDE = 224  # longest side of a picture, pixels


def segmentation_rows(groups: Sequence[Group]) -> list[Row]:
    """Return rows of image, truth, and every method's segmentation, after the CRF where there is one.

    Args:
        groups: The methods; those that do not segment are left out.

    Returns:
        Rows of images that all of them drew, at most ``NUM_ROWS``.

    Raises:
        RunError: If a picture is unreadable.
    """
    return _rows(groups, lambda run: Path(run.path) / "segmentations", slice(-1, None))


def cue_rows(groups: Sequence[Group]) -> list[Row]:
    """Return rows of image, truth, and the cues and pseudo-masks that every method was trained on.

    Args:
        groups: The methods; those whose seeds do not exist any more are left out.

    Returns:
        Rows of images that all of them drew, at most ``NUM_ROWS``.

    Raises:
        RunError: If a picture is unreadable.
    """

    def pictures(run: Run) -> Path | None:
        if not run.segments:
            return None
        # The key names a file, or its folder.
        cues = Path(str(run.config["data.cues"])).expanduser()
        return (cues if cues.is_dir() else cues.parent) / "pictures"

    return _rows(groups, pictures, slice(2, None))


def _rows(groups: Sequence[Group], folder: Callable[[Run], Path | None], parts: slice) -> list[Row]:
    """Return rows of image, truth, and the ``parts`` of every method's strip."""
    folders = {
        method_title(group.name): at
        for group, run in zip(groups, first_runs(groups), strict=True)
        if (at := folder(run)) is not None and at.is_dir()
    }
    if not folders:
        return []
    names = set.intersection(
        *(
            {str(path.relative_to(at)) for path in files_below(at) if path.suffix == ".png"}
            for at in folders.values()
        )
    )
    rows = []
    for name in sorted(names)[:NUM_ROWS]:
        strips = {method: _strip(at / name) for method, at in folders.items()}
        image_id = str(Path(name).with_suffix(""))
        first = next(iter(strips.values()))
        tiles = [
            Tile("image", f"Image {image_id}", _uri(first[IMAGE], lossy=True)),
            _tile(TRUTH, first[TRUTH]),
        ]
        for method, strip in strips.items():
            tiles += [_tile(f"{method}, {what}", strip[what]) for what in list(strip)[parts]]
        rows.append(Row(image_id, "", "", tiles))
    return rows


def _strip(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_strip(path)
    except ValueError as error:
        raise RunError(str(error)) from error


def _tile(caption: str, picture: np.ndarray) -> Tile:
    return Tile(caption, caption, _uri(picture, lossy=False))


def _uri(picture: np.ndarray, *, lossy: bool) -> str:
    return data_uri(shrink(picture, _SIDE, smooth=lossy), lossy=lossy)
