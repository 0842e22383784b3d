"""``per_image.csv`` of a run that segments."""

import numpy as np
import pytest

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.pixels import read_pixels, write_pixels


@pytest.mark.parametrize("kinds", [[""], ["", "_crf"]])
def test_what_is_written_is_read_back(tmp_path, kinds):
    draw = np.random.default_rng(0)
    counts = {name: {kind: draw.integers(0, 9, (3, 3)) for kind in kinds} for name in ("b", "a, c")}
    for of_image in counts.values():
        # both are judged against the same mask
        for kind in kinds:
            of_image[kind][0] = of_image[""][0]
    write_pixels(tmp_path, "val", ["background", "boat", "car"], counts)
    table = read_pixels(tmp_path)
    assert (table.set_name, table.ids) == ("val", ["a, c", "b"])
    assert table.class_names == ["background", "boat", "car"]
    assert list(table.pixels) == [f"miou{kind}" for kind in kinds]
    for kind in kinds:
        expected = np.stack([counts[name][kind] for name in table.ids], axis=1)
        np.testing.assert_array_equal(table.pixels[f"miou{kind}"], expected)
    assert read_pixels(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("id,class,true\na,boat,1", "no column 'found', expected id, class, true, found, right"),
        ("id,class,true,found,right\na,boat,1,1,1\na,boat,1,1,1", "row 2: 'a', 'boat' comes twice"),
        ("id,class,true,found,right\na,boat,1,-1,1", "expected numbers of at least 0"),
        ("id,class,true,found,right\na,boat,1,1,1\nb,car,1,1,1", "has 2 rows, expected 2 images x 2 classes"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, rows, reason):
    (tmp_path / "per_image.csv").write_text(f"{rows}\n")
    with pytest.raises(RunError, match=reason):
        read_pixels(tmp_path)


@pytest.mark.parametrize(("column", "expected"), [(("set,", "val,"), "val"), (("", ""), "test")])
def test_pixels_of_a_segmentation_say_of_which_set_they_are(tmp_path, column, expected):
    """VOC scores on val; runs of earlier versions do not say it."""
    head, cell = column
    (tmp_path / "per_image.csv").write_text(f"{head}id,class,true,found,right\n{cell}a,background,4,4,3\n")

    table = read_pixels(str(tmp_path))

    assert (table.set_name, table.ids, table.pixels["miou"].tolist()) == (
        expected,
        ["a"],
        [[[4]], [[4]], [[3]]],
    )
