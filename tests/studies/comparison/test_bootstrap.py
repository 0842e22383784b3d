import numpy as np
import pytest
from fake_runs import slow_average_precision

from gain_lightning.runs.images import ImageTable
from gain_lightning.runs.pixels import PixelTable
from gain_lightning.studies.comparison.bootstrap import (
    DecisionRule,
    average_precision,
    image_scores,
    is_correct,
    resampled_miou,
    resampled_scores,
)


def make_table(num_images: int, num_classes: int = 2, seed: int = 0) -> ImageTable:
    rng = np.random.default_rng(seed)
    shape = (num_images, num_classes)
    present = rng.random(shape) < 0.4
    score = (rng.random(shape) + 0.5 * present).round(1)  # many ties
    energy = np.where(present, rng.random(shape), np.nan)
    pointing = np.where(present, rng.random(shape) < 0.6, np.nan)
    names = [f"class_{i}" for i in range(num_classes)]
    amount = np.where(present, 1 + rng.random(shape), 0)
    of_pairs = {"energy": energy, "pointing": pointing}
    return ImageTable([f"{i:05}" for i in range(num_images)], names, present, score, amount, of_pairs)


def repeat(table: ImageTable, weight: np.ndarray) -> ImageTable:
    """The table with image n taken weight[n] times: what a resample means."""
    taken = np.repeat(np.arange(len(weight)), weight)
    return ImageTable(
        [table.ids[n] for n in taken],
        table.class_names,
        *(array[taken] for array in (table.present, table.score, table.amount)),
        {key: values[taken] for key, values in table.of_pairs.items()},
    )


def test_average_precision_equals_its_definition_on_resampled_images():
    table = make_table(30)
    weight = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), 20)

    got = average_precision(table.score[:, 0], table.present[:, 0], weight)

    for value, row in zip(got, weight, strict=True):
        drawn = repeat(table, row)
        expected = slow_average_precision(drawn.score[:, 0].tolist(), drawn.present[:, 0].tolist())
        assert value == pytest.approx(expected, abs=1e-12)


def test_average_precision_equals_torchmetrics():
    torch = pytest.importorskip("torch")
    from torchmetrics.classification import BinaryAveragePrecision

    table = make_table(200)
    metric = BinaryAveragePrecision()
    expected = metric(torch.tensor(table.score[:, 0]), torch.tensor(table.present[:, 0]).long())

    got = average_precision(table.score[:, 0], table.present[:, 0], np.ones((1, 200)))

    assert got[0] == pytest.approx(float(expected), abs=1e-6)


def test_equal_infinite_scores_make_one_step():
    score, weight = np.array([np.inf, np.inf, 0.1]), np.ones((1, 3))
    for present in ([True, False, True], [False, True, True]):
        assert average_precision(score, np.array(present), weight) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_no_resamples_leave_the_score_itself():
    (scores,) = resampled_scores([{"test": make_table(30)}], DecisionRule(), resamples=0)
    assert all(values.shape == (1,) for values in scores.values())


def test_average_precision_without_positives_is_nan():
    assert np.isnan(average_precision(np.array([0.2, 0.1]), np.array([False, False]), np.ones((1, 2)))).all()


def test_image_scores_equal_loops_on_resampled_images():
    table = make_table(25, num_classes=3)
    weight = np.random.default_rng(2).multinomial(25, np.full(25, 1 / 25), 5)

    got = image_scores(table, weight, DecisionRule(scored=["class_0", "class_2"]))

    for r, row in enumerate(weight):
        drawn = repeat(table, row)
        precisions = [
            slow_average_precision(drawn.score[:, c].tolist(), drawn.present[:, c].tolist()) for c in (0, 2)
        ]
        assert got["test/mean_ap"][r] == pytest.approx(np.mean(precisions))
        assert got["test/energy"][r] == pytest.approx(np.nanmean(drawn.of_pairs["energy"][:, [0, 2]]))
        errors = [abs(drawn.score[:, c] - drawn.amount[:, c]).mean() for c in (0, 2)]
        assert got["test/mae"][r] == pytest.approx(np.mean(errors))
        assert got["test/pointing"][r] == pytest.approx(
            np.mean([np.nanmean(drawn.of_pairs["pointing"][:, c]) for c in (0, 2)])
        )


def test_image_scores_pass_over_a_class_that_a_resample_lacks():
    table = make_table(10)
    weight = np.where(table.present[:, 0], 0, 1)[None]

    got = image_scores(table, weight, DecisionRule())

    drawn = repeat(table, weight[0])
    assert got["test/mean_ap"][0] == slow_average_precision(
        drawn.score[:, 1].tolist(), drawn.present[:, 1].tolist()
    )
    assert got["test/pointing"][0] == pytest.approx(np.nanmean(drawn.of_pairs["pointing"][:, 1]))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (DecisionRule(accuracy_class="class_1"), [True, False]),
        (DecisionRule(), [False, False]),
        (DecisionRule(scored=["class_1"]), [True, False]),
        (DecisionRule(scored=["class_0"], accuracy_class="class_1"), [True, False]),
        (DecisionRule(single_label=True), [True, True]),
    ],
)
def test_is_correct_follows_the_decision_rule(rule, expected):
    present = np.array([[False, True], [True, False]])
    score = np.array([[0.6, 0.7], [0.9, 0.8]])
    table = ImageTable(
        ["a", "b"], ["class_0", "class_1"], present, score, score, {"energy": score, "pointing": score}
    )

    assert is_correct(table, rule).tolist() == expected


@pytest.mark.parametrize("scored", [None, ["class_0", "class_2"]])
def test_decisions_are_judged_as_a_run_judges_them(scored):
    """A class that does not count makes no image wrong, in a run's accuracy and in its interval."""
    torch = pytest.importorskip("torch")
    from gain_lightning.methods.gain import GAIN

    table = make_table(60, num_classes=3)
    module = GAIN(class_names=table.class_names, image_size=32, score_classes=scored)

    judged = module.task.judge(torch.tensor(table.score), torch.tensor(table.present).float(), None)

    assert judged.bool().tolist() == is_correct(table, DecisionRule(scored)).tolist()


def test_resampled_scores_start_with_the_score_itself():
    table = make_table(50)

    (scores,) = resampled_scores(
        [{"test": table, "further": make_table(20, seed=5)}], DecisionRule(), resamples=30
    )

    assert {key: len(values) for key, values in scores.items()} == dict.fromkeys(
        [
            f"test/{name}"
            for name in (
                *("mean_ap", "mae", "energy", "pointing", "accuracy", "worst_class", "worst_class_ap"),
                *("further", "further_mae", "biased_accuracy"),
            )
        ],
        31,
    )
    assert scores["test/accuracy"][0] == is_correct(table, DecisionRule()).mean()
    assert scores["test/energy"][0] == pytest.approx(np.nanmean(table.of_pairs["energy"]))
    assert scores["test/further"][0] == is_correct(make_table(20, seed=5), DecisionRule()).mean()


def test_the_worst_class_is_the_least_of_those_with_enough_images():
    table, rule = make_table(60), DecisionRule(single_label=True)
    # of the first class nine images are left
    table.present[np.flatnonzero(table.present[:, 0])[9:], 0] = False
    right, counts = is_correct(table, rule), table.present.sum(0)
    assert counts[0] == 9
    assert (counts[1:] >= 10).all()

    (scores,) = resampled_scores([{"test": table}], rule, resamples=40)

    classes = range(1, len(counts))
    of_class = [right[table.present[:, column]].mean() for column in classes]
    ap = [average_precision(table.rank[:, c], table.present[:, c], np.ones((1, 60)))[0] for c in classes]
    assert scores["test/worst_class"][0] == pytest.approx(min(of_class))
    assert scores["test/worst_class_ap"][0] == pytest.approx(min(ap))
    assert not np.isnan(scores["test/worst_class"]).any()
    few = table._replace(present=table.present & (np.arange(60) < 12)[:, None])
    (none,) = resampled_scores([{"test": few}], rule, resamples=3)
    assert np.isnan(none["test/worst_class"]).all()


def test_resampled_scores_draw_the_same_images_for_every_run():
    table = make_table(60)

    a, b = resampled_scores([{"test": table}, {"test": table}], DecisionRule(), resamples=20)

    assert a["test/mean_ap"].std() > 0
    np.testing.assert_array_equal(a["test/mean_ap"], b["test/mean_ap"])


@pytest.mark.parametrize("at_once", [1, 90, 1_000_000])
def test_scores_do_not_depend_on_how_many_resamples_are_held(monkeypatch, at_once):
    runs = [{"test": make_table(30)}]
    (expected,) = resampled_scores(runs, DecisionRule(), resamples=7)
    monkeypatch.setattr("gain_lightning.studies.comparison.bootstrap._AT_ONCE", at_once)
    (scores,) = resampled_scores(runs, DecisionRule(), resamples=7)
    for key, values in expected.items():
        assert len(values) == 8
        np.testing.assert_allclose(scores[key], values, rtol=1e-12)


def test_further_sets_are_resampled_on_their_own():
    same = make_table(40)

    sets = {"test": same, "x": same, "y": same}

    (scores,) = resampled_scores([sets], DecisionRule(accuracy_class="class_0"), resamples=200)

    assert abs(np.corrcoef(scores["test/x"][1:], scores["test/y"][1:])[0, 1]) < 0.3
    np.testing.assert_allclose(scores["test/biased_accuracy"], (scores["test/x"] + scores["test/y"]) / 2)


def test_resampled_miou_equals_loops_on_the_images_drawn(monkeypatch):
    """Pixels of the images drawn together, then IoU of every scored class that masks show, then the mean."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (6, 50))
    masks[1:][masks[1:] == 2] = 0  # class 2 is in image 0 alone
    found = np.where(rng.random((6, 50)) < 0.5, masks, 0)
    found[3, :5] = 2  # and found elsewhere
    names = ["background", "cat", "dog", "cow"]
    pixels = [
        [[(what == c)[n].sum() for c in range(4)] for n in range(6)]
        for what in (masks, found, np.where(masks == found, masks, -1))
    ]
    table = PixelTable(list("abcdef"), names, {"miou": np.array(pixels)})
    weights = [np.ones((1, 6)), np.array([[2, 0, 1, 0, 3, 0], [0, 1, 1, 1, 1, 2]])]
    monkeypatch.setattr("gain_lightning.studies.comparison.bootstrap.draws", lambda *_: iter(weights))
    for scored, columns in ((None, range(4)), (["dog", "cow"], (0, 2, 3))):
        (scores,) = resampled_miou([table], scored)
        expected = []
        for weight in np.concatenate(weights).astype(int):
            mask, guess = np.repeat(masks, weight, 0), np.repeat(found, weight, 0)
            shown = [c for c in columns if (mask == c).any()]
            sums = [(((mask == c) & (guess == c)).sum(), ((mask == c) | (guess == c)).sum()) for c in shown]
            expected.append(np.mean([both / either for both, either in sums]))
        np.testing.assert_allclose(scores["test/miou"], expected, atol=1e-12)
