"""What ``gain background`` measured, in a comparison of runs."""

from pathlib import Path

import numpy as np
import pytest
from comparing import compared, difference

from gain_lightning.runs.background import VERSIONS, Objects, write_background
from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.tables import text_table

NAMES = [(f"image {number // 2}", "boat", "own", "other") for number in range(60)]


def measured(path, shares, seed=0, names=NAMES, **result):
    """Write the files of a run whose objects are recognised with these chances on their two grounds."""
    draws = np.random.default_rng(seed).random((len(names), 1))
    chances = np.full((1, len(VERSIONS)), 0.9)
    chances[:, 2:4] = shares
    recognised = draws < chances
    write_background(
        Path(path),
        {"split": "val", "grounds": "train", "trusted": True, **result},
        Objects(names, recognised),
    )
    return recognised


def by_image(recognised):
    """The sums of a gap over the two objects of each image."""
    return (recognised[:, 2] * 1.0 - recognised[:, 3]).reshape(-1, 2).sum(1) / 2


def test_a_gap_is_a_score_of_the_run(make_run):
    path = make_run("a")
    before = read_run(path).metrics
    recognised = measured(path, (0.8, 0.3))
    added = {key: value for key, value in read_run(path).metrics.items() if key not in before}
    gap = recognised[:, 2].mean() - recognised[:, 3].mean()
    assert added == pytest.approx(
        {"test/swapped_grounds": recognised[:, 3].mean(), "test/background_gap": gap}
    )


def test_differences_have_paired_intervals_over_images(make_run):
    """One network each: the interval is that of the mean of the images' differences."""
    paths = [make_run("a", "gradcam"), make_run("b", "gain")]
    gaps = [
        by_image(measured(path, shares)) for path, shares in zip(paths, ((0.9, 0.2), (0.8, 0.6)), strict=True)
    ]
    comparison = compared(paths)
    row = difference(comparison, "test/background_gap", "gradcam", "gain")
    deltas = gaps[1] - gaps[0]
    half = 1.96 * deltas.std() / np.sqrt(len(deltas))
    assert row.over == "images"
    assert row.delta == pytest.approx(deltas.mean())
    assert row.is_clear
    np.testing.assert_allclose(row.ci95, (deltas.mean() - half, deltas.mean() + half), atol=0.1 * half)
    text = text_table(comparison)
    assert "background gap" in text
    assert "swapped grounds" in text
    assert any("objects of val on grounds of train" in note for note in comparison.notes)


def test_other_objects_have_no_intervals_and_a_note(make_run):
    paths = [make_run("a", "gradcam"), make_run("b", "gain")]
    measured(paths[0], (0.9, 0.2))
    measured(paths[1], (0.9, 0.6), names=[(name, "boat", "another", "other") for name, *_ in NAMES])
    comparison = compared(paths)
    assert difference(comparison, "test/background_gap", "gradcam", "gain").ci95 is None
    assert any(
        f"other objects or grounds were shown to {paths[1]} than to" in note for note in comparison.notes
    )
    # the other scores keep theirs
    assert difference(comparison, "test/mean_ap", "gradcam", "gain").ci95 is not None


def test_a_gap_of_one_run_alone_is_shown_and_not_compared(make_run):
    paths = [make_run("a", "gradcam"), make_run("b", "gain")]
    measured(paths[0], (0.9, 0.2))
    comparison = compared(paths)
    assert "test/background_gap" in comparison.metrics
    assert not [row for row in comparison.differences if row.metric == "test/background_gap"]


def test_a_gap_that_is_not_to_be_trusted_is_named(make_run):
    paths = [make_run("a", "gradcam"), make_run("b", "gain")]
    measured(paths[0], (0.9, 0.2))
    measured(paths[1], (0.9, 0.2), trusted=False)
    notes = compared(paths).notes
    assert any(f"not to be trusted of {paths[1]}:" in note for note in notes)
