"""Groups of images in a comparison: terminal, summary, report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from gain_lightning.runs.groups import GroupTable, write_groups
from gain_lightning.runs.images import read_images
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.bootstrap import is_correct
from gain_lightning.studies.comparison.compare import compare, decision_rule_of
from gain_lightning.studies.comparison.tables import text_table, write_summary
from gain_lightning.studies.report.group_scores import group_scores
from gain_lightning.studies.report.report import write_report

NAMES = ["boat+water", "boat+land", "car+<b>land"]
# 40 images are tested.
SIZES = [18, 13, 9]


@pytest.fixture
def grouped_runs(make_run):
    """Two methods with two seeds each, whose images are in three groups; the last has 9."""

    def make(name: str, method: str, seed: int) -> str:
        folder = Path(make_run(name, method, seed))
        with (folder / "per_image.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        group_of = np.repeat(NAMES, SIZES)
        for row in rows:
            number = int(row["id"].rpartition("_")[2])
            row["group"] = str(group_of[number]) if row["set"] == "test" else ""
        with (folder / "per_image.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        right = is_correct(read_images(folder)["test"], decision_rule_of(read_run(str(folder))))
        accuracy = [float(part.mean()) for part in np.split(right, np.cumsum(SIZES)[:-1])]
        write_groups(
            folder,
            GroupTable(NAMES, {"num_images": SIZES, "accuracy": accuracy, "num_train": [900, 0, 1100]}),
        )
        summary = json.loads((folder / "summary.json").read_text())
        summary["metrics"] |= {
            f"test/group/{name}": value for name, value in zip(NAMES, accuracy, strict=True)
        }
        summary["metrics"] |= {
            "test/worst_group": min(accuracy[:2]),
            "test/group_mean": float(np.mean(accuracy)),
            "test/test_average": float(right.mean()),
            "test/train_weighted_average": 0.45 * accuracy[0] + 0.55 * accuracy[2],
        }
        (folder / "summary.json").write_text(json.dumps(summary))
        return str(folder)

    return [make(f"{method}_{seed}", method, seed) for method in ("gradcam", "gain") for seed in (0, 1)]


def test_groups_are_compared_with_intervals_over_seeds_and_images(grouped_runs, tmp_path):
    comparison = compare([read_run(path) for path in grouped_runs])
    write_summary(comparison, tmp_path / "summary.json")
    written = json.loads((tmp_path / "summary.json").read_text())
    keys = [*("worst_group", "group_mean", "test_average", "train_weighted_average")]
    keys += [f"group/{name}" for name in NAMES]
    over = {row["metric"].removeprefix("test/"): row["over"] for row in written["differences"]}
    for key in keys:
        assert f"test/{key}" in written["groups"][0]["metrics"]
        assert over[key] == "seeds and images", key
    assert not any("its per_image.csv gives" in note for note in comparison.notes)
    assert (
        "Groups with fewer than 10 images are left out of the worst group: car+<b>land (9)."
        in comparison.notes
    )
    text = text_table(comparison)
    assert "worst group" in text
    assert "boat+land" in text
    assert max(map(len, text.splitlines())) <= 80


def test_runs_whose_images_are_in_other_groups_have_no_intervals_of_groups(grouped_runs):
    path = Path(grouped_runs[0], "per_image.csv")
    path.write_text(path.read_text().replace("boat+land", "boat+sand"))
    comparison = compare([read_run(path) for path in grouped_runs])
    over = {row.metric: row.over for row in comparison.differences}
    assert over["test/worst_group"] == "seeds"
    assert over["test/mean_ap"] == "seeds and images"
    assert any("images are in other groups in" in note for note in comparison.notes)


def test_runs_without_groups_are_compared_as_before(grouped_runs, make_run):
    runs = [*grouped_runs[:2], make_run("gain_ext_0", "gain_ext", 0), make_run("gain_ext_1", "gain_ext", 1)]
    comparison = compare([read_run(path) for path in runs])
    assert {row.metric for row in comparison.differences} >= {"test/mean_ap", "test/energy"}
    assert not any("group" in row.metric for row in comparison.differences)


def test_the_report_has_a_row_a_group(grouped_runs, tmp_path):
    comparison = compare([read_run(path) for path in grouped_runs])
    rows = group_scores(comparison)
    assert [(row.name, row.num_images, row.num_train) for row in rows] == [
        ("boat+water", "18", "900"),
        ("boat+land", "13", "0"),
        ("car+<b>land", "9", "1,100"),
    ]
    means = [[comparison.groups[k].metrics[f"test/group/{row.name}"].mean for k in (0, 1)] for row in rows]
    for row, (first, second) in zip(rows, means, strict=True):
        assert [cell.split(" ")[0] for cell, _ in row.cells] == [f"{100 * first:.1f}", f"{100 * second:.1f}"]
        assert row.cells[int(second > first)][1]
    write_report(comparison, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert '<h2 id="groups">' in page
    assert "car+&lt;b&gt;land" in page
    assert "car+<b>land" not in page
