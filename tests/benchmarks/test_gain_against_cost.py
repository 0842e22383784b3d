"""The figure of ``benchmarks/gain_against_cost.py``: trials of guidance, and what they cost."""

from pathlib import Path

from benchmark_scripts import load

SCRIPT = load("gain_against_cost")
TRIALS = Path(__file__).parents[2] / "experiments" / "results" / "guidance_trials.csv"


def test_guidance_costs_nothing_before_it_begins(tmp_path):
    table = tmp_path / "trials.csv"
    table.write_text(
        "trial,group,guided_share,cost_guided,seed_miou_best\na,x,0.5,3,40\nb,y,0,1,30\nc,x,1,2,50\n"
    )
    points = SCRIPT.read_trials(table)
    assert points["x"].tolist() == [[2.0, 2.0], [40.0, 50.0]]
    assert points["y"].tolist() == [[1.0], [30.0]]


def test_the_figure_is_that_of_the_published_trials(tmp_path):
    SCRIPT.main([str(TRIALS), "--figure", str(tmp_path / "figure.svg")])
    drawn = (tmp_path / "figure.svg").read_text()
    assert all(f"<!-- {group} -->" in drawn for group in SCRIPT.read_trials(TRIALS))
    assert SCRIPT.read_trials(TRIALS)["Grad-CAM"].tolist() == [[1.0], [34.5]]
