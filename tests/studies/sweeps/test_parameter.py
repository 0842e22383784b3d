"""Values of a parameter are those that W&B would draw."""

import math

import numpy as np
import pytest

from gain_lightning.studies.sweeps.file import read_sweep_file

HEAD = "method: {method}\nmetric: {{name: val/ap, goal: maximize}}\nrun_cap: 400\nprogram: train.py\nparameters:\n"


def read(parameters, method="random"):
    text = HEAD.format(method=method) + "".join(f"  {line}\n" for line in parameters.splitlines())
    return read_sweep_file(text, where="s.yaml")


def values_of(parameters):
    sweep = read(parameters)
    (parameter,) = sweep.parameters
    return np.array([parameter.value(raw[parameter.key]) for raw in sweep.planned()])


@pytest.mark.parametrize(
    ("entry", "low", "high", "mean_of"),
    [
        ("{min: 1.0, max: 3.0}", 1, 3, lambda x: x.mean() - 2),
        ("{min: 1, max: 3}", 1, 3, lambda x: x.mean() - 2),
        ("{distribution: q_uniform, min: 0, max: 4, q: 2}", 0, 4, lambda x: x.mean() - 2),
        (
            "{distribution: log_uniform, min: -2, max: 2}",
            math.exp(-2),
            math.exp(2),
            lambda x: np.log(x).mean(),
        ),
        ("{distribution: log_uniform_values, min: 0.1, max: 10}", 0.1, 10, lambda x: np.log(x).mean()),
        ("{distribution: inv_log_uniform_values, min: 0.1, max: 10}", 0.1, 10, lambda x: np.log(x).mean()),
        ("{distribution: inv_log_uniform, min: 0, max: 2}", math.exp(-2), 1, lambda x: np.log(x).mean() + 1),
        ("{distribution: normal, mu: 3, sigma: 0.5}", 0, 6, lambda x: x.mean() - 3),
        ("{distribution: log_normal, mu: 1, sigma: 0.5}", 0, 60, lambda x: np.log(x).mean() - 1),
        ("{distribution: q_normal, mu: 3, sigma: 1, q: 0.5}", -3, 9, lambda x: x.mean() - 3),
    ],
)
def test_random_draws_follow_the_distribution(entry, low, high, mean_of):
    values = values_of(f"x: {entry}")
    assert values.min() >= low - 1e-12
    assert values.max() <= high + 1e-12
    assert abs(mean_of(values)) < 0.25  # of 400 draws
    assert np.array_equal(values, values_of(f"x: {entry}"))
    if "q_" in entry:
        q = 2 if "uniform" in entry else 0.5
        np.testing.assert_allclose(values / q, np.round(values / q))


def test_probabilities_weigh_the_values():
    values = values_of("x: {values: [a, b], probabilities: [0.9, 0.1]}")
    assert 0.82 < (values == "a").mean() < 0.97


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ("{distribution: q_uniform, min: 1, max: 10, q: 4}", [1, 5, 9]),
        ("{distribution: q_uniform, min: 0, max: 1, q: 0.25}", [0, 0.25, 0.5, 0.75]),
        ("{distribution: q_uniform, min: 0, max: 0.4, q: 0.1}", [0, 0.1, 0.2, 0.3]),
    ],
)
def test_a_grid_over_a_quantised_range_is_that_of_wandb(entry, values):
    """From the lower end on, without the upper one, as numpy.arange."""
    text = f"method: grid\nprogram: t\nparameters: {{a: {entry}}}"
    sweep = read_sweep_file(text, where="s")
    assert [sweep.parameters[0].value(raw["a"]) for raw in sweep.planned()] == values


@pytest.mark.parametrize(("q", "kind"), [("8", int), ("0.2", float)])
def test_a_whole_q_gives_whole_numbers(q, kind):
    text = (
        "method: random\nrun_cap: 200\nprogram: t\n"
        f"parameters: {{a: {{distribution: q_log_uniform_values, q: {q}, min: 16, max: 64}}}}"
    )
    sweep = read_sweep_file(text, where="s")
    values = {sweep.parameters[0].value(raw["a"]) for raw in sweep.planned()}
    assert {type(value) for value in values} == {kind}
    assert all(len(str(value)) <= 4 for value in values)  # not 20.200000000000003
    assert min(values) >= 16
    assert max(values) <= 64


def test_a_normal_distribution_has_its_deviation():
    text = (
        "method: random\nrun_cap: 4000\nprogram: t\n"
        "parameters: {a: {distribution: normal, mu: 3, sigma: 2}, b: {distribution: log_normal, mu: 1, sigma: 0.5}}"
    )
    sweep = read_sweep_file(text, where="s")
    a, b = (np.array([p.value(raw[p.key]) for raw in sweep.planned()]) for p in sweep.parameters)
    assert (a.mean(), a.std()) == pytest.approx((3, 2), rel=0.05)
    assert (np.log(b).mean(), np.log(b).std()) == pytest.approx((1, 0.5), rel=0.05)
