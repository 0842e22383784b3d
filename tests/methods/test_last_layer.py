"""A last layer trained anew, against scikit-learn, and where it changes what is decided."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from gain_lightning.losses import classification_loss
from gain_lightning.methods.last_layer import balanced_rows, fit_sparse, retrain


def blobs(generator, n=200, num_features=12):
    features = torch.randn(n, num_features, generator=generator)
    score = features[:, 0] * 2 - features[:, 1] + 0.5 + torch.randn(n, generator=generator)
    return features, torch.stack([score > 0, score <= 0], 1).float()


def price(layer, features, label, strength, task):
    return (
        classification_loss(layer(features), label, task=task) + strength * layer.weight.abs().sum()
    ).item()


@pytest.mark.filterwarnings("ignore:.*penalty.*")
@pytest.mark.parametrize("strength", [0.3, 0.03, 0.003])
def test_logistic_regression_is_scikit_learns(generator, strength):
    """Of one class against none: the same weights, the same zeros, and the same bias."""
    features, label = blobs(generator)
    layer = fit_sparse(features, label[:, :1], strength=strength, task="multi_label", max_steps=20000)
    settings = {"C": 1 / (len(features) * strength), "tol": 1e-8, "max_iter": 100000, "random_state": 0}
    theirs = LogisticRegression(l1_ratio=1, solver="saga", penalty="elasticnet", **settings)
    theirs.fit(features.numpy().astype(float), label[:, 0].numpy())
    np.testing.assert_allclose(layer.weight.numpy(), theirs.coef_, atol=2e-3)
    np.testing.assert_allclose(layer.bias.numpy(), theirs.intercept_, atol=2e-3)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_no_step_from_the_solution_is_downhill(generator, task):
    features, _ = blobs(generator)
    label = torch.eye(3)[torch.randint(3, (len(features),), generator=generator)]
    layer = fit_sparse(features, label, strength=0.02, task=task, max_steps=20000)
    least = price(layer, features, label, 0.02, task)
    assert least < price(layer._replace(weight=layer.weight * 0), features, label, 0.02, task)
    for _ in range(30):
        moved = [part + 0.01 * torch.randn(part.shape, generator=generator) for part in layer]
        assert price(type(layer)(*moved), features, label, 0.02, task) > least - 1e-6


def test_draws_are_balanced_and_differ():
    groups = np.repeat([0, 1, 3], [30, 5, 9])
    drawn = [balanced_rows(groups, np.random.default_rng(seed)) for seed in (0, 1)]
    for rows in drawn:
        assert np.bincount(groups[rows]).tolist() == [5, 5, 0, 5]
        assert len(set(rows.tolist())) == 15
    assert set(drawn[0]) != set(drawn[1])


def biased(generator, majority, minority):
    """Two classes: feature 0 says the class with noise, feature 1 says the ground without; in the majority both agree.

    Groups are class and ground.
    """
    groups = torch.tensor([0] * majority + [1] * minority + [2] * minority + [3] * majority)
    kind, ground = groups // 2, groups % 2
    noise = torch.randn(2, len(groups), generator=generator)
    features = torch.stack([2 * kind - 1 + 0.6 * noise[0], 6.0 * ground - 3 + 0.1 * noise[1]], 1)
    return features, torch.eye(2)[kind], groups.numpy()


def test_balanced_groups_turn_the_decision_from_the_ground_to_the_class(generator):
    features, label, groups = biased(generator, 900, 12)
    unseen, truth, of = biased(generator, 300, 300)

    def accuracy(layer):
        right = (layer(unseen).argmax(1) == truth.argmax(1)).numpy()
        return [right[of == group].mean() for group in range(4)]

    plain = accuracy(fit_sparse(features, label, strength=0.003, task="single_label"))
    found = retrain(
        features,
        label,
        groups,
        task="single_label",
        strengths=(0.1, 0.01, 0.001),
        draws=5,
        seed=0,
    )
    assert found.per_group == 12
    assert min(plain) < 0.75
    assert min(accuracy(found.layer)) > 0.85
    weight = (found.layer.weight[1] - found.layer.weight[0]).abs()
    assert weight[0] > 3 * weight[1]


def test_the_layer_is_of_features_as_they_are(generator):
    """Retraining scales them; a shift and a factor of each feature change no decision."""
    features, label, groups = biased(generator, 40, 12)
    settings = {
        "task": "multi_label",
        "strengths": (0.01,),
        "draws": 2,
        "seed": 1,
    }
    layer = retrain(features, label, groups, **settings).layer
    moved = features * torch.tensor([3.0, 0.1]) + 5
    other = retrain(moved, label, groups, **settings).layer
    torch.testing.assert_close(other(moved), layer(features), rtol=1e-3, atol=1e-3)
