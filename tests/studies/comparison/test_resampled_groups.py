"""The scores of groups on resampled images, against plain loops."""

import numpy as np
import pytest

from gain_lightning.runs.images import ImageTable
from gain_lightning.studies.comparison.bootstrap import DecisionRule
from gain_lightning.studies.comparison.resampled_groups import group_sizes, resampled_groups

SIZES = {"boat+water": 40, "boat+land": 12, "car+land": 9}
RULE = DecisionRule(single_label=True)


def make_table(seed: int, *, amounts: bool = False) -> ImageTable:
    """A single-label table; images in no group have groups of "" at the end."""
    rng = np.random.default_rng(seed)
    groups = np.array([name for name, size in SIZES.items() for _ in range(size)] + ["", ""])
    present = np.array([[name.startswith("boat"), not name.startswith("boat")] for name in groups])
    score = rng.random(present.shape)
    amount = present * 2.0 if amounts else np.full(present.shape, np.nan)
    ids = [f"{number:03}" for number in range(len(groups))]
    return ImageTable(ids, ["boat", "car"], present, score, amount, {}, groups=groups)


def by_group(table: ImageTable) -> dict[str, list[float]]:
    """1 for each image whose likeliest class is its own, or its mean error, one image after another."""
    found: dict[str, list[float]] = {}
    for row, name in enumerate(table.groups.tolist()):
        right = table.score[row].argmax() == table.present[row].argmax()
        error = np.abs(table.score[row] - table.amount[row]).mean()
        found.setdefault(name, []).append(float(right) if np.isnan(error) else error)
    return found


def test_the_first_column_has_the_scores_of_the_whole_set():
    table = make_table(0)
    (found,) = resampled_groups([table], RULE, {"boat+water": 90, "car+land": 10, "boat+land": 0}, 5)
    mean = {name: np.mean(of_group) for name, of_group in by_group(table).items()}
    expected = {f"test/group/{name}": mean[name] for name in SIZES}
    # the group of 9 is no worst one
    expected["test/worst_group"] = min(mean["boat+water"], mean["boat+land"])
    expected["test/group_mean"] = np.mean([mean[name] for name in SIZES])
    expected["test/test_average"] = np.mean(np.concatenate([by_group(table)[name] for name in SIZES]))
    expected["test/train_weighted_average"] = 0.9 * mean["boat+water"] + 0.1 * mean["car+land"]
    assert {key: values[0] for key, values in found.items()} == pytest.approx(expected, abs=1e-12)
    assert all(values.shape == (6,) for values in found.values())


def test_a_draw_keeps_the_size_of_every_group():
    table = make_table(1)
    (found,) = resampled_groups([table], RULE, {}, 400)
    for name, size in SIZES.items():
        right = by_group(table)[name]
        counts = found[f"test/group/{name}"] * size
        assert counts == pytest.approx(counts.round(), abs=1e-9)
        # the standard error of a share
        share = np.mean(right)
        error = np.sqrt(share * (1 - share) / size)
        assert found[f"test/group/{name}"][1:].std() == pytest.approx(error, rel=0.15)
    worst = np.minimum(found["test/group/boat+water"], found["test/group/boat+land"])
    np.testing.assert_allclose(found["test/worst_group"], worst)
    assert "test/train_weighted_average" not in found


def test_all_runs_see_the_same_images():
    table = make_table(2)
    one, other = resampled_groups([table, table], RULE, {}, 30)
    np.testing.assert_array_equal(one["test/worst_group"], other["test/worst_group"])
    assert np.ptp(one["test/worst_group"]) > 0


def test_an_error_is_worst_where_it_is_highest():
    table = make_table(3, amounts=True)
    (found,) = resampled_groups([table], DecisionRule(), {}, 0)
    mean = {name: np.mean(of_group) for name, of_group in by_group(table).items()}
    assert found["test/worst_group_mae"][0] == pytest.approx(max(mean["boat+water"], mean["boat+land"]))
    assert found["test/group/car+land_mae"][0] == pytest.approx(mean["car+land"])


def test_a_training_group_that_was_not_tested_leaves_no_average_over_the_training():
    (found,) = resampled_groups([make_table(4)], RULE, {"car+water": 1, "boat+water": 5}, 2)
    assert "test/train_weighted_average" not in found


def test_sizes_are_of_known_groups():
    assert group_sizes(make_table(5)) == SIZES
    assert group_sizes(make_table(5)._replace(groups=None)) == {}
