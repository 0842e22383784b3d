"""``per_group.csv``, written and read again."""

import math

import pytest

from gain_lightning.runs.errors import RunError
from gain_lightning.runs.groups import PER_GROUP, GroupTable, read_groups, write_groups


def test_what_is_written_is_read(tmp_path):
    names = ["boat+water", 'a "b", c']
    table = GroupTable(names, {"num_images": [3, 0], "accuracy": [1 / 3, math.nan], "num_train": [7, 1]})
    write_groups(tmp_path, table)
    found = read_groups(tmp_path)
    assert found.names == names
    assert found.columns["num_images"] == [3, 0]
    # no digit is lost
    assert found.columns["accuracy"][0] == 1 / 3
    assert math.isnan(found.columns["accuracy"][1])
    assert found.of("num_train") == dict(zip(names, [7, 1], strict=True))
    assert found.of("mae") == {}
    write_groups(tmp_path, None)
    assert read_groups(tmp_path) is None


def test_a_run_without_groups_has_none(tmp_path):
    assert read_groups(tmp_path) is None


def test_a_broken_cell_is_named(tmp_path):
    (tmp_path / PER_GROUP).write_text("group,num_images,accuracy\nboat+water,3,much\n")
    with pytest.raises(RunError, match=r"per_group\.csv, row 1: 'much' is no number"):
        read_groups(tmp_path)
