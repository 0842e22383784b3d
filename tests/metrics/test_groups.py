"""Accuracies of groups, against the definitions of WILDS in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from gain_lightning.metrics.groups import GroupAccuracy, group_averages, worst

# The training set of Waterbirds, by place and class, as WILDS' own evaluation weighs groups.
TRAIN = {(0, 0): 3498, (1, 0): 184, (0, 1): 56, (1, 1): 1057}


def wilds_eval(y_pred: np.ndarray, y_true: np.ndarray, metadata: np.ndarray) -> dict[str, float]:
    """WILDS' ``eval`` of Waterbirds: its Grouper numbers groups of (background, y), ``Accuracy`` takes their means.

    ``CombinatorialGrouper.metadata_to_group`` is metadata @ factors, ``factors`` being the cumulated cardinalities;
    ``Metric.compute_group_wise`` takes the minimum over groups that have an element; ``adj_acc_avg`` weighs the groups
    by the training set.
    """
    cardinality = metadata.max(0) + 1
    factors = np.concatenate([[1], np.cumprod(cardinality)[:-1]])
    group = metadata @ factors
    right = (y_pred == y_true).astype(np.float64)
    accuracy = {number: right[group == number].mean() for number in np.unique(group)}
    named = {(number % cardinality[0], number // cardinality[0]): value for number, value in accuracy.items()}
    return {
        "acc_avg": right.mean(),
        "acc_wg": min(accuracy.values()),
        "adj_acc_avg": sum(TRAIN[key] * value for key, value in named.items()) / sum(TRAIN.values()),
        "mean": np.mean(list(accuracy.values())),
    }


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_scored_as_by_wilds_own_evaluation(seed):
    rng = np.random.default_rng(seed)
    place, y_true = rng.integers(0, 2, (2, 3000))
    # each group is right at a rate of its own
    rate = rng.random((2, 2))[place, y_true]
    y_pred = np.where(rng.random(3000) < rate, y_true, 1 - y_true)
    expected = wilds_eval(y_pred, y_true, np.stack([place, y_true], 1))

    metric = GroupAccuracy(4)
    for batch in np.array_split(np.arange(3000), 7):
        right = torch.from_numpy(y_pred[batch] == y_true[batch]).float()
        metric.update(right, torch.from_numpy(2 * y_true[batch] + place[batch]))
    found = metric.compute()
    num_train = torch.tensor([TRAIN[place, y] for y in (0, 1) for place in (0, 1)])
    averages = group_averages(found["accuracy"], found["num_images"], num_train)
    assert worst(found["accuracy"], found["num_images"]).item() == pytest.approx(expected["acc_wg"], abs=1e-9)
    assert averages["test_average"].item() == pytest.approx(expected["acc_avg"], abs=1e-9)
    assert averages["train_weighted_average"].item() == pytest.approx(expected["adj_acc_avg"], abs=1e-9)
    assert averages["group_mean"].item() == pytest.approx(expected["mean"], abs=1e-9)


def test_few_images_make_no_worst_group_and_an_error_is_worst_where_it_is_highest():
    value, count = torch.tensor([0.9, 0.5, 0.0, torch.nan]), torch.tensor([50, 10, 9, 0])
    assert worst(value, count).item() == 0.5
    assert worst(value, count, is_error=True).item() == pytest.approx(0.9)
    assert worst(value, torch.tensor([9, 9, 9, 0])).isnan()


def test_a_group_without_a_tested_image_has_no_part_in_means_over_tested_groups():
    value, count = torch.tensor([1.0, 0.5, torch.nan]), torch.tensor([1, 3, 0])
    averages = group_averages(value, count, torch.tensor([1, 1, 0]))
    assert averages["group_mean"] == 0.75
    assert averages["test_average"] == pytest.approx(0.625)
    assert averages["train_weighted_average"] == 0.75
    # the training knows a group that was not tested, so nobody knows its part
    assert group_averages(value, count, torch.tensor([1, 1, 1]))["train_weighted_average"].isnan()
    assert group_averages(value, count, torch.zeros(3))["train_weighted_average"].isnan()


def test_images_in_no_group_do_not_count_and_half_precision_counts_exactly():
    module = nn.Module()
    module.metric = GroupAccuracy(1)
    module.to(torch.bfloat16)
    for _ in range(40):
        module.metric.update(torch.ones(100), torch.zeros(100, dtype=torch.long))
    module.metric.update(torch.zeros(2), torch.tensor([-1, 0]))
    found = module.metric.compute()
    assert found["num_images"].item() == 4001
    assert found["accuracy"].item() == pytest.approx(4000 / 4001, abs=1e-12)
