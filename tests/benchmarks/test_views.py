"""The figure of ``benchmarks/views.py``: maps of a run, the targets of its views, and maps of a guided run."""

import lzma
import shutil
from pathlib import Path

import numpy as np
from benchmark_scripts import load
from PIL import Image

VIEWS = load("views")
OLD_RUNS = Path(__file__).parents[1] / "old_runs"


def test_a_row_for_every_image_with_the_picture_first(tmp_path, monkeypatch):
    shutil.copytree(OLD_RUNS, tmp_path, dirs_exist_ok=True)
    for packed in (tmp_path / "gain_ext" / "checkpoints").glob("*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
    monkeypatch.chdir(tmp_path)
    VIEWS.main(["gain_ext", "gain_ext", "--split", "val", "--images", "0", "1", "--out", "views.png"])
    drawn = np.asarray(Image.open("views.png").convert("RGB"))
    side, columns = VIEWS.SIDE, len(VIEWS.CAPTIONS)
    assert drawn.shape == (20 + 2 * (side + 6) - 6, columns * (side + 6) - 6, 3)
    # The same run stands twice, so its maps are equal; the target is another picture.
    maps, target, again = (
        drawn[20 : 20 + side, column * (side + 6) : column * (side + 6) + side] for column in (1, 2, 3)
    )
    assert np.array_equal(maps, again)
    assert not np.array_equal(maps, target)
