import copy
import math
import pickle

import numpy as np
import pytest
import reference
import torch
from label_tables import LABEL

from gain_lightning.attention import label_pairs
from gain_lightning.constants import VOID
from gain_lightning.metrics import THRESHOLDS, MeanAE, MeanAP, PairMean, SeedIoU
from gain_lightning.studies.comparison.bootstrap import average_precision

NUM_CLASSES = 4


def oracle_ious(batch, thresholds=THRESHOLDS, label=LABEL):
    maps, mask, _ = batch
    thresholds = [float(np.float32(threshold)) for threshold in thresholds]
    return np.array(
        [
            reference.seed_iou(list(maps[:, 0].numpy()), list(mask.numpy()), label.numpy(), t)
            for t in thresholds
        ]
    )


# SeedIoU --------------------------------------------------------------------------------------------------


def test_seed_iou_equals_the_oracle_at_every_threshold(batch):
    metric = SeedIoU(NUM_CLASSES)
    metric.update(*batch)
    scores = metric.compute()
    expected = oracle_ious(batch)
    assert expected.shape == (19, NUM_CLASSES + 1)
    np.testing.assert_allclose(scores["iou"].numpy(), expected, rtol=1e-12)
    assert np.isnan(expected[:, 4]).all()
    np.testing.assert_allclose(scores["miou"].numpy(), np.nanmean(expected, axis=1), rtol=1e-12)


def test_seed_iou_scores_background_and_the_named_classes(batch):
    metric = SeedIoU(NUM_CLASSES, score_classes=[2, 3])
    metric.update(*batch)
    expected = np.nanmean(oracle_ious(batch)[:, [0, 3, 4]], axis=1)
    np.testing.assert_allclose(metric.compute()["miou"].numpy(), expected, rtol=1e-12)


def test_seed_iou_of_a_worked_example():
    """Two images, threshold 0.5: background 2/4, class 1 2/4, class 2 1/1."""
    maps = torch.tensor([[[[0.9, 0.8, 0.1, 1.0]]], [[[0.1, 0.2, 0.9, 0.6]]], [[[0.3, 0.5, 0.7, 0.8]]]])
    #   seeds:            1    1    0   -                                            0    0    1    2
    masks = torch.tensor([[[0, 1, 1, VOID]], [[0, 0, 1, 0]], [[0, 0, 0, 1]]])
    metric = SeedIoU(2, thresholds=(0.5,))
    metric.update(maps, masks, label_pairs(torch.tensor([[1, 0], [1, 1]])))
    iou = metric.compute()["iou"][0].tolist()
    assert iou == pytest.approx([2 / 4, 2 / 4, 1 / 1])
    assert metric.compute()["miou"].item() == pytest.approx((0.5 + 0.5 + 1) / 3)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_seed_iou_of_equal_maps_shares_their_pixels(order):
    """Such as the centre Gaussian's: half of every pixel is each label's, 1 right of 2, 1 wrong: 1/3 for both."""
    maps = torch.ones(2, 1, 1, 4)
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 1, 1]]])[list(order)]
    metric = SeedIoU(2, thresholds=(0.5,))
    metric.update(maps, masks, label_pairs(torch.ones(1, 2)))
    iou = metric.compute()["iou"][0]
    assert iou[1:].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert iou[0].isnan()


def test_seed_iou_of_classes_that_overlap_blames_neither():
    """The pixel in the middle is of both, and only one can have it; the other has found its other pixel."""
    masks = torch.tensor([[[1, 1, 0]], [[0, 1, 1]]])
    maps = torch.tensor([[[[0.9, 0.8, 0.0]]], [[[0.0, 0.7, 0.6]]]])
    metric = SeedIoU(2, thresholds=(0.5,))
    metric.update(maps, masks, label_pairs(torch.ones(1, 2)))
    assert metric.compute()["iou"][0, 1:].tolist() == [1.0, 1.0]
    metric.reset()
    maps[1, 0, 0, 2] = 0.4  # but here it has not
    metric.update(maps, masks, label_pairs(torch.ones(1, 2)))
    np.testing.assert_array_equal(metric.compute()["iou"][0], [np.nan, 1.0, 0.0])  # no pixel is background


def test_seed_iou_knows_nothing_of_a_class_that_nobody_drew():
    """Cat and dog by its label, only the cat drawn: what the dog's map wins beside it is no fault of either."""
    masks = torch.tensor([[[1, 0, 0, 0]], [[VOID] * 4]])
    maps = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]], [[[0.0, 0.0, 1.0, 1.0]]]])
    metric = SeedIoU(2, thresholds=(0.5,))
    metric.update(maps, masks, label_pairs(torch.ones(1, 2)))
    iou = metric.compute()["iou"][0]
    assert iou[1].item() == 1
    assert iou[[0, 2]].isnan().all()
    assert metric.compute()["miou"].item() == 1  # was a third
    metric.update(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[1, 0]]]), label_pairs(torch.eye(2)[:1]))
    assert metric.compute()["iou"][0, :2].tolist() == [0.0, pytest.approx(1 / 3)]  # of another image it is


def test_seed_iou_counts_pixels_over_the_set_and_is_no_mean_over_images():
    """A large wrong image outweighs a small right one: 1/11, where the mean over images is 1/2."""
    mask = torch.ones(2, 1, 10, dtype=torch.long)
    mask[0, 0, 1:] = VOID
    maps = torch.zeros(2, 1, 1, 10)
    maps[0, 0, 0, 0] = 1
    metric = SeedIoU(1, thresholds=(0.5,))
    metric.update(maps, mask, label_pairs(torch.ones(2, 1)))
    assert metric.compute()["iou"][0, 1].item() == pytest.approx(1 / 11)


def test_seed_iou_takes_a_value_at_the_threshold_for_background():
    maps = torch.tensor([[[[0.2, 0.200001]]]])
    metric = SeedIoU(1, thresholds=(0.2,))
    metric.update(maps, torch.tensor([[[0, 1]]]), label_pairs(torch.ones(1, 1)))
    assert metric.compute()["iou"].tolist() == [[1.0, 1.0]]


def test_seed_iou_of_all_zero_maps_is_that_of_background_alone():
    metric = SeedIoU(2)
    metric.update(
        torch.zeros(1, 1, 1, 4), torch.tensor([[[0, 0, 0, 1]]]), label_pairs(torch.tensor([[1, 0]]))
    )
    scores = metric.compute()
    assert scores["iou"][:, :2].tolist() == [[0.75, 0.0]] * 19
    assert scores["iou"][:, 2].isnan().all()
    assert scores["miou"].tolist() == [0.375] * 19


STATES = ("true", "hit", "false_alarm", "excused")


def same_states(first, second) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in STATES)


def test_seed_iou_ignores_what_maps_say_where_no_pair_of_an_image_is_known(batch):
    maps, mask, pairs = batch
    known = torch.zeros(len(LABEL), 6, 7).index_add_(0, pairs.image, (mask != VOID).float())[pairs.image] > 0
    changed = torch.where(known.unsqueeze(1), maps, 1 - maps)
    assert not known.all()
    metrics = SeedIoU(NUM_CLASSES), SeedIoU(NUM_CLASSES)
    for metric, values in zip(metrics, (maps, changed), strict=True):
        metric.update(values, mask, pairs)
    assert same_states(*metrics)
    by_class = [int((mask[pairs.label == c] == 1).sum()) for c in range(NUM_CLASSES)]
    assert metrics[0].true[1:].sum(1).tolist() == by_class


def test_seed_iou_over_single_images_equals_one_batch(batch):
    maps, mask, pairs = batch
    whole, single = SeedIoU(NUM_CLASSES), SeedIoU(NUM_CLASSES)
    whole.update(*batch)
    for n in range(len(LABEL)):
        mine = pairs.image == n
        single.update(maps[mine], mask[mine], label_pairs(LABEL[n : n + 1]))
    assert same_states(whole, single)
    np.testing.assert_array_equal(whole.compute()["iou"], single.compute()["iou"])


def test_seed_iou_survives_pickle_clone_and_reset(batch):
    metric = SeedIoU(NUM_CLASSES, thresholds=(0.3, 0.6), score_classes=[0])
    metric.update(*batch)
    expected = metric.compute()
    for other in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric.clone()):
        np.testing.assert_array_equal(other.compute()["iou"], expected["iou"])
        np.testing.assert_array_equal(other.compute()["miou"], expected["miou"])
    metric.reset()
    assert not any(getattr(metric, name).any() for name in STATES)
    metric.update(*batch)
    np.testing.assert_array_equal(metric.compute()["iou"], expected["iou"])
    assert metric.state_dict() == {}


def test_seed_iou_refuses_thresholds_that_do_not_ascend():
    with pytest.raises(ValueError, match="ascending"):
        SeedIoU(2, thresholds=(0.5, 0.2))


def test_thresholds_hold_the_paper_s():
    assert THRESHOLDS[3] == 0.2
    assert [round(100 * threshold) for threshold in THRESHOLDS] == list(range(5, 100, 5))


# PairMean -------------------------------------------------------------------------------------------------


def test_pair_mean_runs_over_pairs_and_over_classes():
    metric = PairMean(4)
    for value, class_idx in [(1.0, 0), (0.0, 0), (0.0, 0), (0.5, 2)]:
        metric.update(torch.tensor([value]), torch.tensor([class_idx]))
    means = metric.compute()
    assert means["over_pairs"].item() == pytest.approx(1.5 / 4)
    assert means["over_classes"].item() == pytest.approx((1 / 3 + 1 / 2) / 2)
    np.testing.assert_allclose(means["per_class"], [1 / 3, np.nan, 0.5, np.nan])
    assert means["num_pairs"].tolist() == [3, 0, 1, 0]


def test_pair_mean_of_the_scored_classes_alone():
    """Class 1 is not scored, so neither mean knows of it; its own value is still told."""
    metric = PairMean(3, score_classes=[2, 0])
    metric.update(torch.tensor([1.0, 0.0, 0.0, 0.5, 0.25]), torch.tensor([0, 0, 1, 1, 2]))
    means = metric.compute()
    assert means["over_pairs"].item() == pytest.approx(1.25 / 3)
    assert means["over_classes"].item() == pytest.approx((0.5 + 0.25) / 2)
    assert means["per_class"].tolist() == [0.5, 0.25, 0.25]
    assert means["num_pairs"].tolist() == [2, 2, 1]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric PairMean was called before:UserWarning")
def test_pair_mean_without_a_pair_is_nan():
    metric = PairMean(2)
    metric.update(torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert all(math.isnan(metric.compute()[key]) for key in ("over_pairs", "over_classes"))
    metric.update(torch.ones(1), torch.ones(1, dtype=torch.long))
    metric.reset()
    assert all(math.isnan(metric.compute()[key]) for key in ("over_pairs", "over_classes"))


def test_pair_mean_survives_pickle():
    metric = PairMean(2)
    metric.update(torch.tensor([0.25, 0.75]), torch.tensor([0, 1]))
    assert pickle.loads(pickle.dumps(metric)).compute()["over_classes"].item() == 0.5


# MeanAP ---------------------------------------------------------------------------------------------------


def test_mean_ap_by_hand_and_only_over_what_is_shown():
    metric = MeanAP(3)
    score = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.9, 0.2], [0.7, 0.8, 0.2]])
    metric.update(score, torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0]]))
    scores = metric.compute()
    np.testing.assert_allclose(scores["ap"], [(1 + 2 / 3) / 2, 1, np.nan], rtol=1e-6)
    assert scores["mean_ap"].item() == pytest.approx((5 / 6 + 1) / 2)
    assert scores["num_images"].tolist() == [2, 2, 0]


def mean_ap(score, target):
    metric = MeanAP(score.shape[1])
    metric.update(score, target)
    return metric.compute()


@pytest.mark.parametrize("shift", [0.0, 30.0, -30.0, 80.0, -110.0])
def test_mean_ap_ranks_logits_whose_probabilities_round(shift):
    """By hand: the one of rank 1 of 1, the other of rank 4 of 4 with 2 found."""
    logits = torch.tensor([[25.0], [20.0], [18.0], [-3.0]]) + shift
    assert mean_ap(logits, torch.tensor([[1], [0], [0], [1]]))["mean_ap"].item() == pytest.approx(
        (1 + 2 / 4) / 2
    )


@pytest.mark.parametrize("num_values", [3, 10_000])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_mean_ap_equals_the_bootstrap_of_any_scores_with_ties_or_none(generator, scale, num_values):
    score = (torch.randint(num_values, (60, 3), generator=generator) - num_values // 2) * scale
    target = (torch.rand(60, 3, generator=generator) < 0.3).long()
    expected = [
        average_precision(score[:, c].numpy(), target[:, c].numpy() == 1, np.ones((1, 60)))[0]
        for c in range(3)
    ]
    np.testing.assert_allclose(mean_ap(score, target)["ap"], expected, rtol=1e-6)


def test_mean_ap_of_a_thousand_classes_keeps_five_bytes_a_score():
    metric = MeanAP(1000)
    metric.update(torch.rand(40, 1000), torch.eye(1000)[:40])
    assert sum(state.nbytes for state in (*metric.score, *metric.target)) == 5 * 40 * 1000
    scores = metric.compute()
    assert scores["ap"].isnan().sum() == 960
    assert scores["num_images"].tolist() == [1] * 40 + [0] * 960


def test_seed_iou_gives_none_to_what_no_mask_shows():
    """Labels cat and dog, only the cat drawn, one of its pixels missed: the background is unknown, not wrong."""
    metric = SeedIoU(2, thresholds=(0.5,))
    mask = torch.tensor([[[1, 1, 0, 0]], [[255, 255, 255, 255]]], dtype=torch.uint8)
    maps = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]], [[[0.0, 0.0, 0.0, 1.0]]]])
    metric.update(maps, mask, label_pairs(torch.ones(1, 2)))
    np.testing.assert_allclose(metric.compute()["iou"][0], [np.nan, 0.5, np.nan])
    assert metric.compute()["miou"].item() == 0.5


def test_metrics_count_exactly_in_a_module_of_half_precision():
    module = torch.nn.ModuleDict({"seed": SeedIoU(1), "mean": PairMean(1)}).to(torch.bfloat16)
    for _ in range(300):
        module["seed"].update(torch.ones(1, 1, 1, 3), torch.ones(1, 1, 3), label_pairs(torch.ones(1, 1)))
        module["mean"].update(torch.ones(1), torch.zeros(1, dtype=torch.long))
    assert module["seed"].true.sum() == 900
    assert module["mean"].compute()["num_pairs"].item() == 300


@pytest.mark.parametrize(("scored", "expected"), [([0], None), ([1], 1.0), ([0, 1], 1.0)])
def test_background_alone_judges_no_seeds(scored, expected):
    """Two images, of which only class 1 is drawn: nothing can be said of class 0, though background has an IoU."""
    label = torch.tensor([[1, 0], [0, 1]])
    mask = torch.tensor([[[VOID, 0]], [[1, 0]]], dtype=torch.uint8)
    metric = SeedIoU(2, thresholds=(0.2,), score_classes=scored)
    metric.update(torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]]), mask, label_pairs(label))
    miou = metric.compute()["miou"].item()
    assert math.isnan(miou) if expected is None else miou == expected


def test_error_of_amounts_against_loops(generator):
    score, amount = torch.rand(2, 7, 3, generator=generator)
    metric = MeanAE(3, [0, 2])
    for rows in (slice(0, 4), slice(4, 7)):
        metric.update(score[rows], amount[rows])
    got = metric.compute()
    per_class = [
        np.mean([abs(s - a) for s, a in zip(score[:, c].tolist(), amount[:, c].tolist(), strict=True)])
        for c in range(3)
    ]
    assert got["per_class"].tolist() == pytest.approx(per_class)
    assert got["mae"].item() == pytest.approx((per_class[0] + per_class[2]) / 2)
    assert got["num_images"].tolist() == [7, 7, 7]
