"""The table of Waterbirds, by hand."""

import pytest

from gain_lightning.studies.waterbirds_table import COLUMNS, tables


def scores(worst, overall):
    """Every column has the overall accuracy, but for the worst group."""
    return dict.fromkeys(COLUMNS, overall) | {"worst_group": worst}


ROWS = {
    "gradcam": {0: scores(0.40, 0.70), 1: scores(0.44, 0.74), 2: scores(0.1, 0.1)},
    "gain_ext_1_energy": {0: scores(0.50, 0.70), 1: scores(0.58, 0.72)},
}


def cells_of(cells, method):
    row = next(row for row in cells[1:] if row[0] == method)
    return dict(zip(cells[0], row, strict=True))


def test_differences_pair_the_seeds_that_both_have():
    """Worst: (10 + 14) / 2 points, deviation 4 / sqrt(2); overall: (0 - 2) / 2, deviation 2 / sqrt(2)."""
    text, cells = tables(ROWS, is_reversed=False)
    row = cells_of(cells, "gain_ext_1_energy")
    assert row["runs"] == 2
    assert row["worst_group"] == pytest.approx(0.54)
    assert row["worst_group spread"] == pytest.approx(0.08 / 2**0.5)
    assert row["worst_group difference"] == pytest.approx(0.12)
    assert row["worst_group difference spread"] == pytest.approx(0.04 / 2**0.5)
    assert row["test_average difference"] == pytest.approx(-0.01)
    assert row["test_average difference spread"] == pytest.approx(0.02 / 2**0.5)
    lines = text.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("gain_ext_1_energy"))
    assert lines[place].split()[1:] == [*["71.0"] * 4, "54.0", "+12.0", "71.0", "71.0", "-1.0"]
    assert lines[place + 1].split() == ["2", "runs", *["±1.4"] * 4, "±5.7", "±2.8", "±1.4", "±1.4", "±1.4"]


def test_the_baseline_has_no_difference_to_itself():
    _, cells = tables(ROWS, is_reversed=False)
    assert cells_of(cells, "gradcam")["worst_group difference"] is None
    assert cells_of(cells, "gradcam")["runs"] == 3


def test_without_a_baseline_of_the_same_seed_there_is_no_difference():
    rows = {"gradcam": {0: scores(0.4, 0.7)}, "gain": {1: scores(0.5, 0.7)}}
    text, cells = tables(rows, is_reversed=False)
    row = cells_of(cells, "gain")
    assert row["worst_group"] == 0.5
    assert row["worst_group spread"] is None
    assert row["worst_group difference"] is None
    assert next(line for line in text.splitlines() if line.startswith("gain")).split()[-1] == "-"
    assert "±" not in text.split("published")[0]


def test_a_score_that_a_run_lacks_is_a_dash():
    text, cells = tables({"gain": {0: dict.fromkeys(COLUMNS)}}, is_reversed=False)
    assert cells_of(cells, "gain")["test_average"] is None
    assert next(line for line in text.splitlines() if line.startswith("gain")).split()[1:] == ["-"] * 9


@pytest.mark.parametrize(
    ("is_reversed", "baseline", "energy", "l1"),
    [
        (False, ["43.4", "68.7"], ["56.1", "+12.7", "71.2", "+2.5"], ["51.1", "+7.7", "69.5", "+0.8"]),
        (True, ["56.6", "80.1"], ["62.8", "+6.2", "83.6", "+3.5"], ["58.8", "+2.2", "82.2", "+2.1"]),
    ],
)
def test_published_rows_are_named_as_what_they_are(is_reversed, baseline, energy, l1):
    text, cells = tables({}, is_reversed=is_reversed)
    lines = [line.split() for line in text.splitlines()]
    assert ["baseline", *baseline] in lines
    assert ["Energy", *energy] in lines
    assert ["L1", *l1] in lines
    assert "published: Rao et al., ICCV 2023, B-cos ResNet-50, 224 pixels, boxes on 1 %" in text
    assert "only differences compare with published ones" in text
    assert cells_of(cells, "Energy")["source"] == "Rao et al., ICCV 2023"
    assert cells_of(cells, "Energy")["runs"] == 4
    assert cells_of(cells, "Energy")["landbird on land"] is None


def test_no_line_is_wider_than_a_terminal():
    perfect = {"gain_ext_10_energy": {seed: scores(seed % 2, 1.0) for seed in range(12)}}
    rows = perfect | {"gradcam": {seed: scores(1 - seed % 2, 0.0) for seed in range(12)}}
    text, _ = tables(rows, is_reversed=True)
    assert max(map(len, text.splitlines())) <= 80
    assert "±104.4" in text
