"""Intervals by simulation: studies whose true difference is known, and how many of their intervals hold it."""

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp

from gain_lightning.runs.images import ImageTable
from gain_lightning.runs.read import Run
from gain_lightning.studies.comparison.bootstrap import DecisionRule, resampled_scores
from gain_lightning.studies.comparison.compare import _group_differences
from gain_lightning.studies.comparison.groups import Difference, Group, Stat
from gain_lightning.studies.comparison.intervals import difference_interval

METHODS = ("gradcam", "gain")


# Numbers ---------------------------------------------------------------------------------------------------


NUM_IMAGES = 80
DRAWS = (
    np.random.default_rng(1).multinomial(NUM_IMAGES, np.full(NUM_IMAGES, 1 / NUM_IMAGES), 150) / NUM_IMAGES
)


def draw_deltas(rng, num_seeds, of_seeds, of_images, of_both):
    """Differences of a mean over images that have three parts; the true difference is 0."""
    values = (
        of_seeds * rng.normal(size=(num_seeds, 1)) / np.sqrt(NUM_IMAGES)
        + of_images * rng.normal(size=NUM_IMAGES)
        + of_both * rng.normal(size=(num_seeds, NUM_IMAGES))
    )
    return np.column_stack([values.mean(1), values @ DRAWS.T])


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize(
    "parts",
    [(3, 1, 1), (1, 1, 1), (0, 0, 1), (0.3, 1, 0.3), (1, 0.2, 0)],
    ids=["seeds scatter", "all scatter", "each network for itself", "images dominate", "seeds alone"],
)
def test_an_interval_over_seeds_and_images_holds_the_truth_in_95_of_100_studies(num_seeds, parts):
    rng = np.random.default_rng(0)
    intervals = [difference_interval(draw_deltas(rng, num_seeds, *parts)) for _ in range(1500)]

    covered = np.mean([low <= 0 <= high for low, high, _ in intervals])

    assert {over for _, _, over in intervals} == {"seeds and images"}
    assert 0.93 <= covered <= 0.97


def test_two_seeds_keep_what_they_promise():
    """Few seeds make it wide, and where all seeds differ by the same (few images, coarse scores) it is no point."""
    rng = np.random.default_rng(0)
    intervals = []
    for _ in range(1500):  # how many of 20 decisions two networks of two methods get right, each for itself
        right = rng.random((2, 2, 20)) < 0.6
        draws = rng.multinomial(20, np.full(20, 1 / 20), 150)
        scores = np.concatenate([right.mean(2)[..., None], right @ draws.T / 20], 2)
        intervals.append(difference_interval(scores[1] - scores[0]))

    assert np.mean([not low <= 0 <= high for low, high, _ in intervals]) <= 0.05


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_over_seeds_alone_it_is_students_interval(num_seeds):
    deltas = np.random.default_rng(num_seeds).normal(0.1, 0.2, num_seeds)

    low, high, over = difference_interval(deltas[:, None])

    assert over == "seeds"
    assert (low, high) == pytest.approx(tuple(ttest_1samp(deltas, 0).confidence_interval(0.95)))


def test_of_one_seed_it_is_the_normal_interval_over_images():
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 0.2, 4000)
    draws = rng.multinomial(4000, np.full(4000, 1 / 4000), 2000)

    low, high, over = difference_interval(np.append(values.mean(), draws @ values / 4000)[None])

    half = 1.96 * values.std(ddof=1) / np.sqrt(4000)
    assert over == "images"
    assert (low, high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.1 * half
    )  # 2000 resamples: about 2 % of half


def test_where_nothing_varies_there_is_no_interval():
    assert difference_interval(np.array([[0.1]])) is None
    assert difference_interval(np.array([[0.1], [0.1]])) is None  # says nothing of other seeds
    assert difference_interval(np.array([[0.1, np.nan, np.nan]])) is None
    assert difference_interval(np.zeros((1, 101))) is None  # the same on every image, whichever are drawn
    assert difference_interval(np.full((3, 101), 0.1)) is None


def test_a_draw_without_a_judged_image_is_passed_over():
    drawn = np.array([[0.1, 0.0, np.nan, 0.2], [0.3, 0.2, 0.3, 0.6]])

    assert difference_interval(drawn) == difference_interval(drawn[:, [0, 1, 3]])


# Scores of images -------------------------------------------------------------------------------------------


def draw_study(
    rng: np.random.Generator, num_seeds: int, *, of_seeds: float, of_images: float, skill: float = 0.0
) -> list[list[ImageTable]]:
    """Two methods' tables by seed: three classes, some rare, images that are hard for every network.

    Args:
        rng: Draws all.
        num_seeds: Of each method.
        of_seeds: How much the skill of a training scatters.
        of_images: How much one method finds other images hard than the other.
        skill: What the second method is better by.
    """
    num_images, shape = 100, (100, 3)
    present = rng.random(shape) < (0.5, 0.3, 0.15)
    hard = rng.normal(0, 0.7, shape)
    tables = []
    for method in range(2):
        of_method = of_images * rng.normal(size=shape)
        seeds = []
        for _ in range(num_seeds):
            margin = (
                1 + skill * method + of_seeds * rng.normal() + hard + of_method + rng.normal(0, 0.7, shape)
            )
            score = 1 / (1 + np.exp(-np.where(present, margin, -margin)))
            energy = np.where(present, score, np.nan)
            pointing = np.where(present, score > 0.7, np.nan)
            of_pairs = {"energy": energy, "pointing": pointing}
            ids = [f"{n:03}" for n in range(num_images)]
            seeds.append(
                ImageTable(ids, ["boat", "car", "cow"], present, score, np.full(shape, np.nan), of_pairs)
            )
        tables.append(seeds)
    return tables


def differences_of(tables: list[list[ImageTable]], resamples: int = 60) -> dict[str, Difference]:
    """What a comparison says of two methods, from the tables of their seeds."""
    resampled = resampled_scores(
        [{"test": table} for seeds in tables for table in seeds], DecisionRule(), resamples
    )
    keys = ("test/mean_ap", "test/accuracy", "test/energy")
    runs = [
        Run(f"{method}_{seed}", {}, {}, method, seed, {})
        for method, seeds in zip(METHODS, tables, strict=True)
        for seed in range(len(seeds))
    ]
    by_path = {run.path: scores for run, scores in zip(runs, resampled, strict=True)}
    for run in runs:
        run.metrics.update({key: by_path[run.path][key][0] for key in keys})
    half = len(runs) // 2
    a, b = (
        Group(
            of[0].method,
            of,
            {key: Stat(np.mean([run.metrics[key] for run in of]), None, half) for key in keys},
        )
        for of in (runs[:half], runs[half:])
    )
    rows = _group_differences(a, b, list(zip(a.runs, b.runs, strict=True)), by_path)
    return {row.metric: row for row in rows}


@pytest.mark.parametrize(
    ("num_seeds", "of_seeds", "of_images", "num_studies"),
    [(3, 0.4, 0.2, 100), (3, 0.0, 0.7, 100), (5, 0.4, 0.2, 60), (10, 0.4, 0.2, 40)],
)
def test_methods_that_do_not_differ_are_rarely_called_different(num_seeds, of_seeds, of_images, num_studies):
    """In mean AP, accuracy and energy; of 1,000 studies of a kind with 150 images it is 2.3 to 5.8 %."""
    rng = np.random.default_rng(0)
    studies = [
        differences_of(draw_study(rng, num_seeds, of_seeds=of_seeds, of_images=of_images))
        for _ in range(num_studies)
    ]

    for metric in ("test/mean_ap", "test/accuracy", "test/energy"):
        rows = [study[metric] for study in studies]
        assert {row.over for row in rows} == {"seeds and images"}, metric
        assert sum(row.is_clear for row in rows) <= binom.ppf(0.999, num_studies, 0.05), metric


def test_methods_that_differ_are_called_different():
    rng = np.random.default_rng(0)
    studies = [differences_of(draw_study(rng, 5, of_seeds=0.2, of_images=0.2, skill=1.0)) for _ in range(10)]

    assert all(study["test/energy"].is_clear and study["test/energy"].delta > 0 for study in studies)
