"""Simulated annotation: its table of made-up runs, and the whole of it on a few pictures."""

import json

import pytest
import yaml
from benchmark_scripts import load
from small_run import EXPERIMENTS

from gain_lightning.methods.advice import POLICIES, STRATA

ANNOTATE = load("annotate")
SCORE = "test/seed_miou_best"


def finished(folder, score):
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"state": "finished", "metrics": {SCORE: score}}))


def test_a_policy_is_compared_with_random_seed_by_seed(tmp_path):
    plan = {"score": SCORE, "marks": {20: 12, 48: 28}}
    for seed in range(5):
        finished(tmp_path / f"seed-{seed}" / "first", 0.1)
        for count in (12, 20, 28, 48):
            finished(tmp_path / f"seed-{seed}" / f"random-{count}", count / 100)
        finished(tmp_path / f"seed-{seed}" / "spread-12", 0.2 if seed else 0.19)
        finished(tmp_path / f"seed-{seed}" / "by_class-12", 0.15 + 0.02 * seed)
    finished(tmp_path / "seed-0" / "spread-28", 0.9)
    result = ANNOTATE.judge(plan, tmp_path)
    rows = {(row["policy"], row["marks"]): row for row in result["rows"]}
    assert [rows["spread", 12][key] for key in ("random_marks", "num_seeds", "reached")] == [20, 5, 4]
    assert rows["spread", 12]["score"] == pytest.approx(0.198)
    assert rows["by_class", 12]["reached"] == 2
    assert rows["random", 12]["reached"] == 0
    assert [rows["spread", 28][key] for key in ("num_seeds", "reached")] == [1, 1]
    assert ("by_class", 28) not in rows
    lines = ANNOTATE.table(result).splitlines()
    assert lines[2].split()[:4] == ["spread", "12", "19.8", "20"]
    assert [line.split()[0] for line in lines if "saves marks" in line] == ["spread", "spread"]


def test_random_is_tried_with_all_numbers():
    plan = {"marks": {20: 12, 48: 28}}
    assert ANNOTATE.counts(plan, "random") == [12, 20, 28, 48]
    assert ANNOTATE.counts(plan, "spread") == [12, 28]
    assert ANNOTATE.counts(plan, "by_class", ["by_class"]) == [12, 28]
    assert ANNOTATE.counts(plan, "by_class", ["unlike_marked"]) == [6]
    assert ANNOTATE.counts(plan, "by_class", ["by_class", "unlike_marked"]) == [6, 12, 28]


@pytest.mark.parametrize(
    "path", sorted((EXPERIMENTS / "annotate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_plans_name_configs_and_policies_that_exist(path):
    plan = yaml.safe_load(path.read_text())
    assert all((EXPERIMENTS.parent / plan[key]).is_file() for key in ("first", "guided"))
    assert set(plan["policies"]) <= set(POLICIES) - {"random"}
    assert set(plan["stratify"]) <= set(STRATA)
    assert all(fewer <= 0.6 * most for most, fewer in plan["marks"].items())
    assert len(plan["seeds"]) == 5


@pytest.mark.slow
def test_the_whole_runs_on_a_few_pictures_and_is_not_done_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(EXPERIMENTS.parent)
    plan = yaml.safe_load((EXPERIMENTS / "annotate" / "shapes.yaml").read_text())
    small = [
        *("--data.num_train=40", "--data.num_val=8", "--data.num_test=8", "--data.num_biased=4"),
        *("--trainer.max_epochs=1", "--model.warmup=0", "--trainer.accelerator=cpu"),
    ]
    plan |= {"options": small, "marks": {8: 4}, "policies": ["unlike_marked"], "seeds": [1]}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    words = ["annotate.py", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", words)
    ANNOTATE.main()
    folder = tmp_path / "out" / "seed-1"
    names = {"first", "random-4", "random-8", "by_class-2", "unlike_marked-4"}
    assert {path.parent.name for path in folder.glob("*/summary.json")} == names
    # what unlike_marked adds comes behind what by_class had
    lists = {name: (folder / "lists" / f"{name}.txt").read_text().split() for name in names - {"first"}}
    assert lists["random-8"][:4] == lists["random-4"]
    chosen = (folder / "next" / "unlike_marked" / "mask_list.txt").read_text().split()
    assert set(chosen[:2]) == set(lists["by_class-2"])
    assert chosen == lists["unlike_marked-4"]
    for name in names - {"first"}:
        assert sorted((folder / name / "masked_ids.txt").read_text().split()) == sorted(lists[name])
    assert "unlike_marked" in capsys.readouterr().out
    log = (folder / "log.txt").read_text()
    ANNOTATE.main()
    assert (folder / "log.txt").read_text() == log
