import json

import numpy as np
import pytest

from gain_lightning.runs.background import (
    VERSIONS,
    Objects,
    background_scores,
    read_background,
    weighted_scores,
    write_background,
)
from gain_lightning.runs.errors import RunError


@pytest.fixture
def objects():
    rng = np.random.default_rng(0)
    names = [(f"a, {number // 2}", "Bär", f"own {number}", "other") for number in range(9)]
    return Objects(names, rng.random((9, len(VERSIONS))) < 0.6)


def test_both_files_are_read_as_they_were_written(tmp_path, objects):
    write_background(tmp_path, {"split": "val", "trusted": True}, objects)
    found = read_background(tmp_path)
    assert found.result == {"split": "val", "trusted": True}
    assert found.objects.names == objects.names
    np.testing.assert_array_equal(found.objects.recognised, objects.recognised)
    header = (tmp_path / "background.csv").read_text().splitlines()[0]
    assert header == "id,class,own,other,as_is,alone,own_ground,other_ground,removed,control"
    assert objects.image.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_scores_are_those_of_a_loop(tmp_path, objects):
    weight = np.random.default_rng(1).integers(0, 3, (4, 9)).astype(float)
    scores = weighted_scores(objects, weight)
    for resample, times in enumerate(weight.astype(int).tolist()):
        rows = [
            row for row, count in zip(objects.recognised.tolist(), times, strict=True) for _ in range(count)
        ]
        own, other = (sum(row[column] for row in rows) / len(rows) for column in (2, 3))
        assert scores["test/swapped_grounds"][resample] == pytest.approx(other)
        assert scores["test/background_gap"][resample] == pytest.approx(own - other)
    write_background(tmp_path, {"split": "val"}, objects)
    every = weighted_scores(objects, np.ones((1, 9)))
    assert background_scores(tmp_path) == {key: values[0] for key, values in every.items()}


def test_a_run_that_nobody_looked_at_has_no_such_scores(tmp_path):
    assert read_background(tmp_path) is None
    assert background_scores(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",1\n", ",2\n", 1), r"background.csv, row \d: '2', expected 0 or 1"),
        (
            lambda text: text.replace("as_is", "whole"),
            "not a table of objects, expected rows of id, class, own",
        ),
        (lambda text: text.splitlines()[0], "not a table of objects"),
        (lambda text: text + "x\n", "row 10: 1 cells, expected 10"),
    ],
)
def test_a_damaged_table_is_refused_with_its_name(tmp_path, objects, change, message):
    write_background(tmp_path, {"split": "val"}, objects)
    path = tmp_path / "background.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=message):
        read_background(tmp_path)


def test_half_of_the_files_is_refused(tmp_path, objects):
    write_background(tmp_path, {"split": "val"}, objects)
    (tmp_path / "background.csv").unlink()
    with pytest.raises(RunError, match=r"background\.csv: no such file, expected it beside background\.json"):
        read_background(tmp_path)
    (tmp_path / "background.json").write_text("{")
    with pytest.raises(RunError, match=r"background\.json: not JSON"):
        read_background(tmp_path)
    (tmp_path / "background.json").write_text(json.dumps({}))
    assert read_background(tmp_path) is None
