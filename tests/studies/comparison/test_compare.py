import json
import re
from pathlib import Path

import numpy as np
import pytest
from comparing import compared, difference
from fake_runs import SETS, image_rows, slow_metrics, write_csv

from gain_lightning.cli import main
from gain_lightning.runs.errors import RunError
from gain_lightning.studies.comparison.compare import _agrees


def test_mean_and_sample_deviation_over_runs(make_run):
    paths = [make_run(str(s), seed=s, metrics={"test/seed_miou": v}) for s, v in enumerate((0.3, 0.5, 0.4))]

    stat = compared(paths).groups[0].metrics["test/seed_miou"]

    assert (stat.mean, stat.std, stat.n) == (pytest.approx(0.4), pytest.approx(0.1), 3)
    assert compared(paths[:1]).groups[0].metrics["test/seed_miou"].std is None


def test_differences_are_later_minus_earlier(make_study):
    comparison = compared(make_study(seeds=(0, 1, 2)))

    assert {(row.a, row.b) for row in comparison.differences} == {
        ("gradcam", "gain"),
        ("gradcam", "gain_ext"),
        ("gain", "gain_ext"),
    }
    means = {group.name: group.metrics["test/energy"].mean for group in comparison.groups}
    row = difference(comparison, "test/energy", "gradcam", "gain_ext")
    assert row.delta == pytest.approx(means["gain_ext"] - means["gradcam"])
    assert row.over == "seeds and images"
    assert row.ci95[0] < row.delta < row.ci95[1]
    assert row.is_clear
    assert not [row for row in comparison.differences if "threshold" in row.metric]


def test_every_metric_of_per_image_csv_gets_an_interval_over_images(make_study):
    comparison = compared(
        make_study(seeds=(0,))
    )  # the metrics come from a slow oracle, which they must agree with

    over = {row.metric: row.over for row in comparison.differences}
    assert over == {
        "test/mean_ap": "images",
        "test/energy": "images",
        "test/pointing": "images",
        "test/boat_without_water": "images",
        "test/water_without_boat": "images",
        "test/biased_accuracy": "images",
        "test/seed_miou": "",  # one pair of seeds
    }
    assert not comparison.notes


def test_seed_miou_has_students_interval_over_seeds(make_run):
    values = {"gradcam": (0.30, 0.32, 0.31), "gain": (0.36, 0.35, 0.39)}
    paths = [
        make_run(f"{name}_{seed}", name, seed, metrics={"test/seed_miou": value})
        for name, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]

    row = difference(compared(paths), "test/seed_miou", "gradcam", "gain")

    deltas = [0.06, 0.03, 0.08]
    half = (
        4.302653 * np.std(deltas, ddof=1) / np.sqrt(3)
    )  # Student's t with two degrees of freedom, from a table
    assert row.over == "seeds"
    assert row.ci95 == pytest.approx((np.mean(deltas) - half, np.mean(deltas) + half))
    assert not row.is_clear  # though the second method is better with every seed


def test_seeds_that_all_differ_by_the_same_give_no_interval(make_study):
    row = difference(compared(make_study(seeds=(0, 1))), "test/seed_miou", "gradcam", "gain")

    assert (row.ci95, row.over, row.is_clear) == (None, "", False)
    assert row.delta == pytest.approx(0.05)


def test_pairing_by_seed_ignores_the_order(make_study):
    paths = make_study(seeds=(0, 1))

    first, second = compared(paths), compared(paths[::-1])

    for row in first.differences:
        other = difference(second, row.metric, row.a, row.b)
        assert (other.delta, other.ci95) == (
            pytest.approx(row.delta),
            pytest.approx(row.ci95) if row.ci95 else None,
        )


@pytest.mark.parametrize("seeds", [(0, 1), (1, 1), (None, 0)])
def test_runs_that_cannot_be_paired_have_no_interval(make_run, seeds):
    paths = [make_run("a", "gradcam", 0), make_run("b", "gradcam", 2)]
    paths += [make_run(f"c{i}", "gain", summary={"seed": seed}) for i, seed in enumerate(seeds)]

    comparison = compared(paths)

    assert {row.ci95 for row in comparison.differences} == {None}
    assert any("cannot be paired by seed" in note for note in comparison.notes)


def test_without_per_image_csv_there_is_a_note_and_no_interval(make_study):
    paths = make_study(seeds=(0,))
    Path(paths[1], "per_image.csv").unlink()

    comparison = compared(paths)

    assert {row.ci95 for row in comparison.differences} == {None}
    assert f"No per_image.csv in {paths[1]}" in comparison.notes[0]


def test_a_score_that_per_image_csv_contradicts_has_no_interval(make_run):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", metrics={"test/energy": 0.9})]

    comparison = compared(paths)

    assert difference(comparison, "test/energy", "gradcam", "gain").ci95 is None
    assert difference(comparison, "test/mean_ap", "gradcam", "gain").ci95 is not None
    assert "test/energy is 0.9000 in" in comparison.notes[0]


def test_tests_on_different_images_have_no_interval(make_run):
    paths = [make_run("a", "gradcam"), make_run("b", "gain", sets={"test": 41, "x": 10})]

    comparison = compared(paths)

    assert {row.ci95 for row in comparison.differences} == {None}
    assert "other images or classes were tested" in comparison.notes[0]


def test_different_commits_are_noted(make_run):
    paths = [make_run("a"), make_run("b", seed=1, summary={"git_commit": "def"})]

    assert "The runs come from different commits: abc, def." in compared(paths).notes


def test_score_classes_restrict_every_score(make_run):
    """A run that scores boat alone has the intervals of one whose data know no other class."""
    comparisons = []
    for names in (["boat"], None):
        paths = []
        for method in ("gradcam", "gain"):
            rows = [row for row in image_rows(method, 0, SETS) if names is not None or row["class"] == "boat"]
            metrics = slow_metrics([row for row in rows if row["class"] == "boat"], ["boat"], "boat")
            path = make_run(
                f"{method}_{names}", method, config={"model.score_classes": names}, metrics=metrics
            )
            write_csv(Path(path, "per_image.csv"), rows)
            paths.append(path)
        comparisons.append(compared(paths))

    restricted, alone = comparisons
    assert not [note for note in restricted.notes if "but its per_image.csv gives" in note]
    for key in ("test/mean_ap", "test/energy", "test/pointing", "test/boat_without_water"):
        row, expected = (difference(one, key, "gradcam", "gain") for one in (restricted, alone))
        assert (row.delta, row.ci95, row.over) == (expected.delta, pytest.approx(expected.ci95), "images")


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_scores_of_val_are_said_to_be_of_val(make_run, tmp_path, capsys, seeds):
    """Without a test split: table, headline, figures and report."""
    for method in ("gradcam", "gain"):
        for seed in seeds:
            path = make_run(f"{method}_{seed}", method, seed)
            rows = [
                {**row, "set": "val" if row["set"] == "test" else row["set"]}
                for row in image_rows(method, seed, SETS)
            ]
            write_csv(Path(path, "per_image.csv"), rows)

    assert main(["compare", str(tmp_path / "runs" / "*"), "--out", str(tmp_path / "out")]) == 0

    text = capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Percent on val," in text
    assert "compared on val</h1>" in page
    assert "Scores on val in percent" in page
    assert "the same images of val" in page
    assert "seed mIoU (val, %)" in page
    for said in (text, page):
        said = said.replace("There is no test set: all scores are those of val", "")
        said = said.replace("the test set of this name", "").replace(
            "Mean accuracy over the further test sets", ""
        )
        assert not re.findall(
            r"\btests?\b", re.sub(r"data:\S+|<script>.*", "", said, flags=re.DOTALL), re.IGNORECASE
        )
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["scored_set"] == "val"


def test_maps_that_do_no_better_than_the_centre_of_the_image_are_named(make_run):
    centre = {"center/energy": 0.4, "center/seed_miou": 0.32, "center/pointing": 0.0}
    paths = [
        make_run(name, name, metrics={**centre, "test/energy": energy, "test/seed_miou": 0.33})
        for name, energy in (("gradcam", 0.35), ("gain", 0.6))
    ]

    notes = [note for note in compared(paths).notes if "centre" in note]

    assert notes == [
        "The maps of Grad-CAM do no better than a Gaussian at the centre of every image, which has seen nothing, "
        "in energy (35.0, the centre 40.0)."
    ]


def test_a_method_whose_maps_are_often_zero_everywhere_is_named(make_run):
    paths = [
        make_run(name, name, metrics={"test/zero_maps": share, "test/seed_miou": 0.24})
        for name, share in (("gradcam", 0.2), ("gain", 0.8))
    ]

    assert [note for note in compared(paths).notes if "zero" in note] == [
        "80 % of the maps of GAIN are zero everywhere: its seed mIoU is then of the background alone, which is nearly "
        "right where objects are small."
    ]


def test_a_difference_lies_within_its_own_interval(make_run):
    """Even where the scores of single images were rounded, and the summary says a little more."""
    paths = [make_run("a", "gradcam"), make_run("b", "gradcam")]
    content = json.loads(Path(paths[1], "summary.json").read_text())
    content["metrics"]["test/mean_ap"] += 0.0049
    Path(paths[1], "summary.json").write_text(json.dumps({**content, "method": "gain"}))

    (row,) = [row for row in compared(paths).differences if row.metric == "test/mean_ap"]

    assert (row.delta, row.ci95) == (0, None)  # equal on every image


def test_equal_runs_under_two_names_differ_by_nothing(make_run):
    paths = [make_run(name, summary={"method": method}) for name, method in (("a", "gradcam"), ("b", "gain"))]

    comparison = compared(paths)

    assert comparison.differences
    assert all(row.delta == 0 and not row.is_clear for row in comparison.differences)
    assert all(
        row.ci95 is None for row in comparison.differences
    )  # which does not say that no image tells them apart


@pytest.mark.parametrize(
    ("metric", "said", "found", "agrees"),
    [
        ("test/mae", 242603.3125, 242603.3050, True),
        ("test/mae", 0.002, 0.004, False),
        ("test/mae", 0.0, 0.0, True),
        ("test/mean_ap", 0.80, 0.804, True),
        ("test/mean_ap", 0.01, 0.016, False),
    ],
)
def test_an_error_is_checked_against_its_images_in_its_own_size(metric, said, found, agrees):
    assert _agrees(metric, said, found) == agrees


# Folds ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_folds(make_run):
    """Write runs of two methods, scored on folds of other sizes; ``test/seed_miou`` of each fold is given."""

    def make(gradcam, gain, seeds=(0,), num_folds=5):
        return [
            make_run(
                f"{method}_{fold}_{seed}",
                method,
                seed,
                config={"data.init_args": {"image_size": 96, "num_folds": num_folds, "fold": fold}},
                metrics={"test/seed_miou": value + 0.1 * seed},
                sets={**SETS, "test": 40 + fold},
            )
            for method, values in (("gradcam", gradcam), ("gain", gain))
            for fold, value in values.items()
            for seed in seeds
        ]

    return make


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_folds_are_paired_and_their_interval_is_widened(make_folds, seeds):
    before = {0: 0.30, 1: 0.35, 2: 0.20, 3: 0.31, 4: 0.28}
    deltas = [0.05, 0.01, 0.08, 0.04, 0.02]
    after = {fold: value + deltas[fold] for fold, value in before.items()}
    comparison = compared(make_folds(before, after, seeds))
    row = difference(comparison, "test/seed_miou", "gradcam", "gain")
    # Nadeau and Bengio 2003, with 2.776445 of Student's t with 4 degrees of freedom
    half = 2.776445 * np.std(deltas, ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert row.over == "folds"
    assert (row.delta, *row.ci95) == pytest.approx((0.04, 0.04 - half, 0.04 + half), abs=1e-6)
    assert {each.over for each in comparison.differences} == {"folds"}
    assert comparison.config == [("model.am_weight", ["0", "1"])]
    assert comparison.notes == []


def test_folds_that_are_left_out_are_noted_and_others_are_refused(make_folds):
    comparison = compared(make_folds({0: 0.3, 2: 0.35}, {0: 0.32, 2: 0.4}))
    assert comparison.notes == [
        "No run is scored on fold 1, 3, 4 of 5: their pictures count in no score."
    ]  # fmt: skip


def test_methods_on_other_folds_are_refused(make_folds):
    paths = make_folds({0: 0.3, 1: 0.35}, {0: 0.32, 2: 0.4})
    with pytest.raises(
        RunError, match=r"data.fold:\n    0, 1: Grad-CAM\n    0, 2: GAIN\nExpected the same folds"
    ):
        compared(paths)
    comparison = compared(paths, allow=["data.fold"])
    assert {row.over for row in comparison.differences} == {""}


def test_folds_of_other_numbers_are_refused(make_folds):
    paths = make_folds({0: 0.3}, {}) + make_folds({}, {0: 0.32}, num_folds=4)
    with pytest.raises(RunError, match=r"data.num_folds\n    5: .*\n    4: "):
        compared(paths)


def test_groups_by_fold_are_no_pairs(make_folds):
    comparison = compared(make_folds({0: 0.3, 1: 0.4}, {}), by="data.fold")
    assert [group.name for group in comparison.groups] == ["fold 0", "fold 1"]


@pytest.mark.parametrize("same", [True, False])
def test_how_val_was_drawn_may_differ_where_it_is_the_same_images(make_run, same):
    """A run of an earlier version drew it otherwise, but where a table names the splits nothing is drawn."""
    paths = [
        make_run(
            how,
            method,
            config={"data.init_args": {"image_size": 96, "val_draw": how}},
            sets={**SETS, "test": 40 if same or how == "random" else 41},
        )
        for how, method in (("random", "gradcam"), ("stratified", "gain"))
    ]
    if same:
        row = difference(compared(paths), "test/energy", "gradcam", "gain")
        assert row.over == "images"
    else:
        with pytest.raises(RunError, match=r"data.val_draw\n    random: .*random\n    stratified: "):
            compared(paths)
