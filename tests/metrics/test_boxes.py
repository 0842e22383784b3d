"""Scores of maps against boxes: the published evaluator's values, an oracle by loops, and cases by hand."""

import numpy as np
import pytest
import reference
import torch

from gain_lightning.attention import label_pairs, resize_maps
from gain_lightning.constants import NO, VOID, YES
from gain_lightning.datasets.boxes import Boxes, box_masks
from gain_lightning.metrics import BoxAccuracy, center_gaussian
from gain_lightning.metrics.boxes import (
    BOX_THRESHOLDS,
    PairBoxes,
    box_accuracy,
    box_ious,
    box_share,
    energy_in_box,
    pair_boxes,
    pointing_in_box,
)

SIZE = (20, 24)


def one_each(corners):
    """The boxes of as many pairs, one each."""
    return PairBoxes(torch.tensor(corners, dtype=torch.float32), torch.arange(len(corners)), len(corners))


def smooth_maps(count, generator):
    """Maps of a few cells, drawn large, with several bodies and holes."""
    cells = torch.rand(count, 1, 6, 7, generator=generator) ** 2
    return resize_maps(cells, SIZE)


def random_boxes(count, generator):
    """Two boxes for each pair but the last, which has none; corners are whole numbers."""
    low = torch.rand(2 * count - 2, 2, generator=generator) * torch.tensor([12.0, 8.0])
    side = 3 + torch.rand(2 * count - 2, 2, generator=generator) * 8
    corners = torch.cat([low, low + side], 1).floor()
    return PairBoxes(corners, torch.arange(2 * count - 2) // 2, count)


# The published evaluator ----------------------------------------------------------------------------------

# The maps of evaluation_test.py in clovaai/wsolevaluation, and the boxes that it expects at 0, 0.2, ... 0.8.
ONE_BODY = [
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.4, 0.4, 0.4, 0.6],
    [0.0, 0.4, 1.0, 0.8, 0.6],
    [0.0, 0.4, 0.4, 0.4, 0.6],
]
OF_ONE_BODY = [[1, 1, 4, 3], [1, 1, 4, 3], [2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]]
BODIES = [
    [0.4, 0.0, 0.2, 0.2, 0.2],
    [0.4, 0.4, 0.0, 0.4, 0.0],
    [0.0, 0.0, 0.0, 0.4, 0.0],
    [1.0, 0.6, 0.8, 0.2, 0.2],
]
OF_BODIES = [[0, 0, 4, 3], [0, 0, 2, 2], [0, 3, 3, 3], [2, 3, 3, 3], [0, 3, 1, 3]]


@pytest.mark.parametrize(("values", "expected"), [(ONE_BODY, OF_ONE_BODY), (BODIES, OF_BODIES)])
def test_boxes_of_a_map_are_those_that_the_evaluators_own_test_expects(values, expected):
    maps = torch.tensor(values, dtype=torch.float64).expand(5, 1, 4, 5)
    ious = box_ious(maps, one_each(expected), np.arange(0, 1, 0.2))
    assert torch.diagonal(ious[:, 0]).tolist() == [1] * 5
    assert (ious[:, 1] >= ious[:, 0]).all()


def test_overlap_counts_both_corners_as_the_evaluator_does():
    """Its own test has 8 / 27 of (1, 2, 5, 6) and (3, 1, 4, 5); the map's body ends a pixel earlier."""
    maps = torch.zeros(1, 1, 12, 12)
    maps[0, 0, 2:6, 1:5] = 1
    assert box_ious(maps, one_each([[3, 1, 4, 5]]), (0.5,))[0, 0].item() == pytest.approx(8 / 27)


def test_overlaps_equal_the_oracle(generator):
    maps, boxes = smooth_maps(12, generator), random_boxes(12, generator)
    thresholds = (0, 0.1, 0.3, 0.5, 0.7, 0.9)
    found = box_ious(maps, boxes, thresholds)
    differ = ties = 0
    for p in range(11):
        values = maps[p, 0].numpy()
        scaled = (values - values.min()) / (values.max() - values.min())
        true = [[int(corner) for corner in box] for box in boxes.corners[boxes.pair == p].tolist()]
        for step, threshold in enumerate(thresholds):
            largest, best = reference.box_ious(scaled, true, threshold)
            first, any_body = found[p, :, step].tolist()
            assert any(first == pytest.approx(iou) for iou in largest), (p, threshold)
            assert any_body == pytest.approx(best), (p, threshold)
            differ += best not in largest
            ties += len(largest) > 1
    assert differ > 5
    assert ties < 5
    assert (found[11] == 0).all()


def test_accuracies_of_a_set_equal_the_definition(generator):
    """Of each IoU the best threshold for all images: the largest body's box for V1, any body's for V2."""
    num_pairs, classes = 30, torch.arange(30) % 3
    maps = smooth_maps(num_pairs, generator)
    low = torch.rand(num_pairs, 2, generator=generator) * 6
    boxes = PairBoxes(
        torch.cat([low, low + 12], 1).floor().minimum(torch.tensor([23.0, 19, 23, 19])),
        torch.arange(num_pairs),
        num_pairs,
    )
    ious = box_ious(maps, boxes).double().numpy()
    assert ious.shape == (num_pairs, 2, 100)
    metric = BoxAccuracy(3, score_classes=[0, 2])
    for rows in torch.arange(num_pairs).split(7):
        metric.update(torch.from_numpy(ious)[rows], classes[rows])
    found = {key: value.item() for key, value in metric.compute().items()}

    counted = [p for p in range(num_pairs) if p % 3 != 1]

    def share(kind, least, step):
        return np.mean([ious[p, kind, step] >= least for p in counted])

    first = [share(0, 0.5, step) for step in range(100)]
    second = [max(share(1, least, step) for step in range(100)) for least in (0.3, 0.5, 0.7)]
    assert found["max_box_acc"] == pytest.approx(max(first))
    assert found["max_box_acc_v2"] == pytest.approx(np.mean(second))
    assert found["box_threshold_best"] == pytest.approx(BOX_THRESHOLDS[int(np.argmax(first))])
    assert 0 < found["max_box_acc"] < 1
    assert len({round(value, 6) for value in second}) == 3


def test_accuracies_without_a_pair_are_nan():
    metric = BoxAccuracy(2, score_classes=[1])
    metric.update(torch.ones(1, 2, 100), torch.tensor([0]))
    assert all(torch.isnan(value) for value in metric.compute().values())


# By hand --------------------------------------------------------------------------------------------------


def test_a_hit_at_the_fixed_threshold_needs_half_of_the_union():
    """A body of 4 x 4 pixels counts as 5 x 5; boxes of 25 pixels share 5 x 3 or 5 x 4 of them with it."""
    maps = torch.zeros(3, 1, 12, 12)
    maps[:, 0, 2:6, 2:6] = 1
    maps[2, 0, 8:, :8] = 0.19  # a larger body below the threshold
    boxes = one_each([[2, 4, 6, 8], [2, 3, 6, 7], [2, 2, 6, 6]])
    assert box_accuracy(maps, boxes).tolist() == [0, 1, 1]  # 15 / 35, 20 / 30, 1
    maps[2] += 0.02 * (maps[2] > 0)
    assert box_accuracy(maps[2:], one_each([[2, 2, 6, 6]])).tolist() == [0]


def test_a_corner_that_divides_evenly_keeps_its_whole_number():
    corners = np.array([[375.0, 0.0, 500.0, 500.0]]) * (224 / 500)
    maps = torch.zeros(1, 1, 224, 224)
    maps[0, 0, :, 168:] = 1
    assert box_ious(maps, one_each(corners.tolist()), (0.5,))[0, 0].item() == 1


def test_a_map_that_all_pairs_share_is_judged_like_copies_of_it():
    boxes = one_each([[5, 4, 19, 16], [0, 0, 8, 8], [10, 2, 12, 4]])
    shared = center_gaussian(SIZE).expand(3, -1, -1, -1)
    assert torch.equal(box_ious(shared, boxes), box_ious(shared.contiguous(), boxes))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_map_has_no_box(value):
    """Scaled from its minimum it is zero, so it does not pass for a box around the whole image."""
    boxes = one_each([[0, 0, 24, 20]])
    assert box_ious(torch.full((1, 1, *SIZE), value), boxes).max().item() < 0.01
    assert box_accuracy(torch.full((1, 1, *SIZE), value), boxes).tolist() == [0]


def test_energy_pointing_and_share_by_hand():
    maps = torch.tensor([[[[3.0, 1.0, 0.0, 4.0]]], [[[0.0, 0.0, 0.0, 0.0]]]])
    boxes = PairBoxes(
        torch.tensor([[0.0, 0, 1, 1], [1.0, 0, 3, 1], [0, 0, 4, 1]]), torch.tensor([0, 0, 1]), 2
    )
    assert energy_in_box(maps, boxes).tolist() == [0.5, 0]
    assert pointing_in_box(maps, boxes).tolist() == [0, 0]
    assert box_share(maps, boxes).tolist() == [0.75, 1]
    even = torch.ones(2, 1, 1, 4)
    assert energy_in_box(even, boxes).tolist() == box_share(even, boxes).tolist()


def test_filled_boxes_are_those_of_a_training_that_counts_other_boxes_as_outside(generator):
    corners = torch.rand(8, 4, generator=generator).double() * 24 - 2
    corners[:, 2:] = corners[:, :2] + torch.rand(8, 2, generator=generator).double() * 9
    class_idx = torch.arange(8) % 3
    boxes = Boxes(class_idx.numpy(), corners.numpy())
    expected = box_masks(boxes, SIZE, other_boxes="no")
    found = PairBoxes(corners, class_idx, 4).masks(SIZE)
    assert torch.equal(found[:3], torch.from_numpy(expected.mask))
    assert set(found[:3].unique().tolist()) == {NO, YES}
    assert (found[3] == VOID).all()


def test_boxes_are_found_by_image_and_class():
    pairs = label_pairs(torch.tensor([[1, 1], [0, 0], [0, 1]]))
    box = torch.arange(16.0).view(4, 4)
    found = pair_boxes(box, torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0, 1, 1]), pairs)
    assert found.corners.tolist() == box[[0, 2, 3]].tolist()
    assert found.pair.tolist() == [1, 2, 2]
    assert found.exist.tolist() == [False, True, True]


@pytest.mark.parametrize("score", [energy_in_box, pointing_in_box, box_share, box_accuracy])
def test_no_pair_is_no_error(score):
    boxes = PairBoxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 0)
    assert score(torch.zeros(0, 1, *SIZE), boxes).shape == (0,)


def test_borders_are_no_part_of_what_boxes_judge(generator):
    """The scores of images with borders are those of the pictures cut out of them."""
    maps = torch.rand(3, 1, 24, 24, generator=generator) + 0.3
    windows = torch.tensor([[0, 6, 24, 18], [4, 0, 20, 24], [0, 0, 24, 24]])
    corners = torch.tensor([[3.0, 8.0, 12.0, 15.0], [6.0, 2.0, 17.0, 9.0], [1.0, 1.0, 9.0, 9.0]])
    inside = torch.zeros(3, 24, 24, dtype=torch.bool)
    for row, (xmin, ymin, xmax, ymax) in enumerate(windows.tolist()):
        inside[row, ymin:ymax, xmin:xmax] = True
    framed = PairBoxes(corners, torch.arange(3), 3, windows)
    for row, (xmin, ymin, xmax, ymax) in enumerate(windows.tolist()):
        corner = torch.tensor([xmin, ymin, xmin, ymin])
        alone = PairBoxes(corners[row : row + 1] - corner, torch.tensor([0]), 1)
        cut = maps[row : row + 1, :, ymin:ymax, xmin:xmax]
        for score in (energy_in_box, pointing_in_box, box_share, box_accuracy):
            got = score(maps * inside.unsqueeze(1), framed)[row]
            torch.testing.assert_close(got, score(cut, alone)[0])
        # a contour at the picture's end has its last pixel inside of the square
        difference = box_ious(maps, framed)[row] - box_ious(cut, alone)[0]
        assert difference.abs().max() < 0.12
