"""Weights as shares of the classification's gradient."""

import pytest
import torch
from small_gain import make_gain, make_shapes, make_shapes_gain, make_trainer

from gain_lightning.methods.balance import MOMENTUM, STEPS_BETWEEN, GradientBalance, strength


def test_strength_is_the_mean_norm_of_an_image_s_gradient(generator):
    features = torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.double, requires_grad=True)
    losses = features.square().sum((1, 2, 3))
    expected = sum(2 * features[n].detach().norm() for n in range(4)) / 4
    torch.testing.assert_close(strength(losses.mean(), features), expected)


def test_a_term_apart_from_the_features_has_no_strength():
    features = torch.ones(1, 1, 1, 1, requires_grad=True)
    assert strength(torch.ones(1, requires_grad=True).sum(), features) == 0


@pytest.mark.parametrize("share", [0.5, 2.0])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_share_is_the_ratio_of_the_weighted_gradient_to_that_of_the_classification(generator, share, scale):
    features = torch.randn(4, 3, 2, 2, generator=generator, requires_grad=True)
    terms = {"loss_cl": features.square().mean(), "loss_am": scale * features.sin().mean()}
    (weight,) = GradientBalance().weigh({"loss_am": share}, terms, features).values()
    ratio = weight * strength(terms["loss_am"], features) / strength(terms["loss_cl"], features)
    torch.testing.assert_close(ratio, torch.tensor(share))


def test_means_run_over_every_so_many_steps():
    balance = GradientBalance()
    weights = []
    for step in range(STEPS_BETWEEN + 1):
        features = torch.ones(1, 1, 1, 1, requires_grad=True)
        terms = {"loss_cl": features.sum(), "loss_am": (1 + step) * features.sum()}
        weights.append(float(balance.weigh({"loss_am": 1.0}, terms, features)["loss_am"]))
    assert weights[:-1] == [1.0] * STEPS_BETWEEN
    # The last step measures 17 and keeps the mean of 1 by its momentum.
    assert weights[-1] == pytest.approx(1 / (MOMENTUM + (1 - MOMENTUM) * (1 + STEPS_BETWEEN)))


def test_a_batch_without_a_pair_leaves_the_weight_at_nothing(batches):
    weak = {key: value for key, value in batches[0].items() if key != "pairs"}
    weak["label"] = torch.zeros_like(weak["label"])
    module = make_gain(am_weight=0.5, balance="gradient")
    terms = module.losses(weak, None, 1.0)
    torch.testing.assert_close(terms["loss"], terms["loss_cl"])
    assert torch.isfinite(module.losses(batches[0], None, 1.0)["loss"])


def test_a_sum_over_classes_needs_no_other_share(batches):
    """L_cl as a sum of three classes pulls three times as hard as their mean, and so does guidance beside it."""
    found = {}
    for reduction in ("sum", "mean"):
        module = make_gain(am_weight=0.5, balance="gradient", cl_reduction=reduction).eval()
        terms = module.losses(batches[0], None, 1.0)
        found[reduction] = terms["loss"] - terms["loss_cl"]
    torch.testing.assert_close(found["sum"], 3 * found["mean"])


def test_a_training_that_goes_on_has_the_same_weights(tmp_path):
    def fit(folder, max_epochs, ckpt_path=None):
        module = make_shapes_gain(am_weight=0.5, balance="gradient")
        trainer = make_trainer(tmp_path / folder, max_epochs=max_epochs, limit_val_batches=0)
        trainer.fit(module, datamodule=make_shapes(mask_budget=0), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / folder / "end.ckpt")
        return module.balance

    whole = fit("whole", 12)
    fit("half", 5)
    resumed = fit("rest", 12, tmp_path / "half" / "end.ckpt")
    assert resumed.steps == whole.steps == {"loss_am": 24}
    assert resumed.means == whole.means
