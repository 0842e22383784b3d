"""Images are chosen stratum by stratum, and an image counts for all classes that it shows."""

import numpy as np
import pytest

from gain_lightning.methods.advice.choose import choose


def fixed(values):
    return lambda chosen: np.array(values, float)


def test_the_highest_are_taken_in_their_order_without_strata():
    chosen = choose(fixed([1, 5, 3, 4]), np.arange(4), np.zeros(4, int), 3, taken=np.zeros(1, int))
    assert [one.pair for one in chosen] == [1, 3, 2]
    assert [one.value for one in chosen] == [5, 4, 3]
    assert [one.num_left for one in chosen] == [4, 3, 2]


def test_rare_strata_are_served_as_often_as_frequent_ones():
    stratum = np.array([0] * 90 + [1] * 6 + [2] * 4)
    values = np.random.default_rng(0).random(100)
    chosen = choose(lambda _: values, np.arange(100), stratum, 12, taken=np.zeros(3, int))
    pairs = [one.pair for one in chosen]
    assert len(set(pairs)) == 12
    assert np.bincount(stratum[pairs]).tolist() == [4, 4, 4]
    for number in range(3):
        of_stratum = np.flatnonzero(stratum == number)
        best = set(of_stratum[np.argsort(-values[of_stratum])[:4]].tolist())
        assert {pair for pair in pairs if stratum[pair] == number} == best


def test_what_is_marked_already_counts():
    chosen = choose(fixed(np.zeros(20)), np.arange(20), np.arange(20) % 2, 6, taken=np.array([4, 0]))
    assert np.bincount([one.pair % 2 for one in chosen]).tolist() == [1, 5]


def test_an_image_counts_in_all_its_strata():
    """Image 0 shows both classes and is best of either; then each class has one, and neither a second."""
    image, stratum = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 0, 1, 1])
    chosen = choose(fixed([9, 9, 5, 7, 1]), image, stratum, 3, taken=np.zeros(2, int))
    assert image[chosen[0].pair] == 0
    assert sorted(image[one.pair] for one in chosen[1:]) == [1, 2]


def test_a_stratum_that_has_run_out_is_passed_over():
    chosen = choose(fixed([0, 0, 0, 0]), np.arange(4), np.array([0, 1, 1, 1]), 4, taken=np.zeros(2, int))
    assert sorted(one.pair for one in chosen) == [0, 1, 2, 3]


def test_values_are_asked_anew_with_what_was_chosen():
    asked = []

    def values(chosen):
        asked.append(list(chosen))
        return np.array([3.0, 2.0, 1.0])

    choose(values, np.array([7, 8, 9]), np.zeros(3, int), 3, taken=np.zeros(1, int))
    assert asked == [[], [7], [7, 8]]


def test_equal_values_are_drawn_by_the_seed():
    def first(seed):
        stratum, taken = np.zeros(50, int), np.zeros(1, int)
        return choose(fixed(np.zeros(50)), np.arange(50), stratum, 1, taken=taken, seed=seed)[0].pair

    assert first(3) == first(3)
    assert len({first(seed) for seed in range(8)}) > 3


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="asked for 3 images, but 2 can be marked"):
        choose(fixed([1, 1, 1]), np.array([0, 0, 1]), np.zeros(3, int), 3, taken=np.zeros(1, int))
