"""The table and the figure of ``benchmarks/mask_noise.py``, of runs whose scores are known."""

import json

import pytest
import yaml
from benchmark_scripts import load

SCRIPT = load("mask_noise")


def write_run(folder, loss, noise, scores, void_border=0):
    folder.mkdir(parents=True)
    names = ("seed_miou_best", "energy", "biased_accuracy")
    metrics = {f"test/{name}": score for name, score in zip(names, scores, strict=True)}
    summary = {"state": "finished", "method": "gain_ext", "seed": 0, "metrics": metrics}
    (folder / "summary.json").write_text(json.dumps(summary))
    none = {"wrong_class": 0.0, "grow": 0.0, "missing": 0.0, "shift": 0.0, "as_boxes": False}
    data = {
        "class_path": "ShapesDataModule",
        "init_args": {"mask_noise": {**none, **noise}, "void_border": void_border},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"ext_loss": loss}, "data": data}))


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "a", "l2", {"grow": -0.25}, (0.5, 0.25, 0.75))
    write_run(tmp_path / "b", "l2", {"grow": -0.25}, (0.7, 0.35, 0.25))
    write_run(tmp_path / "c", "l2", {}, (0.9, 0.8, 0.7))
    write_run(tmp_path / "d", "energy", {"as_boxes": True}, (0.1, 0.2, 0.3))
    write_run(tmp_path / "e", "energy", {}, (0.4, 0.5, 0.6), void_border=2)
    return [str(tmp_path / name) for name in "abcde"]


def test_a_row_for_each_kind_of_marks_and_a_column_for_each_distance(runs, capsys):
    SCRIPT.main(runs)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[0][1:] == ["l2", "energy"]
    assert rows[2:] == [
        ["as they are", "90.0 / 80.0 / 70.0 (70.0)", ""],
        ["grow -0.25", "60.0 / 30.0 / 50.0 (25.0)", ""],
        ["as_boxes", "", "10.0 / 20.0 / 30.0 (30.0)"],
        ["void_border 2", "", "40.0 / 50.0 / 60.0 (60.0)"],
    ]


def test_a_point_for_each_mean_and_a_bar_over_its_seeds(runs, tmp_path):
    scores = SCRIPT.gather(runs)
    drawing = SCRIPT.figure(scores, ["l2", "energy"])
    panels = drawing.axes
    assert [panel.get_title() for panel in panels] == list(SCRIPT.SCORES.values())
    assert [label.get_text() for label in panels[0].get_yticklabels()] == list(scores)
    lines = [line.get_xdata() for line in panels[2].get_lines()]
    means = sorted(float(x[0]) for x in lines if len(x) == 1)
    bars = sorted(tuple(map(float, x)) for x in lines if len(x) == 2)
    assert means == pytest.approx([30, 50, 60, 70])
    assert bars == [pytest.approx(bar) for bar in ((25, 75), (30, 30), (60, 60), (70, 70))]
    SCRIPT.main([*runs, "--figure", str(tmp_path / "noise.svg")])
    assert (tmp_path / "noise.svg").read_text().startswith("<?xml")
