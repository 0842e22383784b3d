"""``metrics.csv`` of a run. Lightning's writer and a resume: training/test_run_record.py."""

import numpy as np
import pytest

from gain_lightning.runs.curves import (
    curve_columns,
    drop_curves,
    last_epoch,
    read_curves,
    set_columns,
    write_curves,
)

ROWS = [{"epoch": 0, "step": 4, "train/loss": 1.5}, {"epoch": 1, "step": 9, "val/mean_ap": 0.25}]
COLUMNS = ["epoch", "step", "train/loss", "val/mean_ap"]


def test_what_is_written_is_read_back(tmp_path):
    write_curves(tmp_path, COLUMNS, ROWS)
    curves = read_curves(tmp_path)
    assert {name: points.tolist() for name, points in curves.items()} == {
        "train/loss": [[0, 4, 1.5]],
        "val/mean_ap": [[1, 9, 0.25]],
    }
    assert curve_columns(tmp_path) == COLUMNS
    assert last_epoch(tmp_path) == 1


def test_a_folder_without_curves_has_none(tmp_path):
    assert (read_curves(tmp_path), curve_columns(tmp_path)) == ({}, [])
    drop_curves(tmp_path, 3)
    drop_curves(tmp_path)
    with pytest.raises(FileNotFoundError):
        last_epoch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_columns_leave_the_rows(tmp_path):
    write_curves(tmp_path, COLUMNS, ROWS)
    before = read_curves(tmp_path)
    set_columns(tmp_path, ["lr", *COLUMNS])
    assert curve_columns(tmp_path) == ["lr", *COLUMNS]
    after = read_curves(tmp_path)
    assert list(after) == list(before)
    assert all((after[name] == before[name]).all() for name in before)


def test_steps_from_one_on_are_forgotten_and_half_a_line_with_them(tmp_path):
    write_curves(tmp_path, COLUMNS, ROWS)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("1,2")
    drop_curves(tmp_path, 9)
    assert list(read_curves(tmp_path)) == ["train/loss"]
    drop_curves(tmp_path)
    assert not list(tmp_path.iterdir())


def test_read_curves_skips_empty_cells(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train/loss,val/mean_ap\n0,4,1.5,\n0,9,,0.25\n,9,1.25,\n"
    )

    curves = read_curves(str(tmp_path))

    assert list(curves) == ["train/loss", "val/mean_ap"]
    np.testing.assert_array_equal(curves["train/loss"], [[0, 4, 1.5], [np.nan, 9, 1.25]])
    np.testing.assert_array_equal(curves["val/mean_ap"], [[0, 9, 0.25]])
