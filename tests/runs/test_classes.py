"""``per_class.csv`` of a run."""

import math

import pytest

from gain_lightning.runs.classes import class_table, read_classes, write_classes
from gain_lightning.runs.errors import RunError


def test_what_is_written_is_read_back(tmp_path):
    scores = {"num_images": [3, 0], "ap": [0.12345678, math.nan], "energy": [math.nan, math.nan]}
    write_classes(tmp_path, *class_table(["boat", "car, red"], scores))
    # what is nan stands nowhere
    assert read_classes(tmp_path) == {"num_images": {"boat": 3, "car, red": 0}, "ap": {"boat": 0.123457}}
    assert read_classes(tmp_path / "nothing") == {}


def test_a_cell_that_is_no_number_is_named(tmp_path):
    (tmp_path / "per_class.csv").write_text("class,ap\nboat,high\n")
    with pytest.raises(RunError, match=r"per_class\.csv, row 1: 'high' is no number"):
        read_classes(tmp_path)
