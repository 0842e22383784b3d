"""Guidance gives way where it harms the classifier."""

import warnings

import pytest
import torch
from small_gain import make_shapes, make_shapes_gain, make_trainer

from gain_lightning.methods.guard import Guard


def test_weights_are_halved_again_while_the_harm_goes_on():
    guard = Guard(tolerance=0.01, patience=2)
    guard.see(0.9, guided=False)
    assert [guard.see(0.8, guided=True) for _ in range(4)] == [False, True, False, True]
    assert (guard.factor, guard.lowered) == (0.25, 2)


@pytest.mark.parametrize("scores", [[0.8, 0.79, 0.79], [0.8, 0.7, 0.8, 0.7], [0.5, 0.6, 0.7]])
def test_noise_and_progress_are_no_harm(scores):
    guard = Guard(tolerance=0.02, patience=2)
    assert not any(guard.see(score, guided=True) for score in scores)


def test_a_fall_without_guidance_is_not_guidance_s():
    guard = Guard(tolerance=0.01, patience=1)
    assert not any(guard.see(score, guided=False) for score in (0.9, 0.5))


def test_a_state_goes_on():
    whole, half, rest = (Guard(0.01) for _ in range(3))
    for score in (0.9, 0.8):
        half.see(score, guided=True)
    rest.restore(half.state())
    for score in (0.9, 0.8, 0.8):
        lowered = whole.see(score, guided=True)
    assert rest.see(0.8, guided=True) == lowered is True
    assert rest.state() == whole.state()


def fit(folder, scores, guard, **settings):
    """Train on shapes with given scores in place of the validation's, and return the model and each step's guidance."""
    module, seen = make_shapes_gain(am_weight=0.5, guard=guard, **settings), []
    true_losses, left = module.losses, list(scores)

    def record(weak, masked, guidance, **options):
        seen.append(guidance)
        return true_losses(weak, masked, guidance, **options)

    def log_scores(split, metrics):
        metrics.reset()
        module.log("val/mean_ap", torch.tensor(left.pop(0)))

    module.losses, module._log_scores = record, log_scores
    trainer = make_trainer(folder, max_epochs=len(scores), num_sanity_val_steps=0)
    trainer.fit(module, datamodule=make_shapes(mask_budget=0))
    return module, seen


def test_a_training_lowers_its_guidance_and_says_so(tmp_path):
    with pytest.warns(UserWarning, match=r"val/mean_ap is 0\.700 after 0\.900.*now 0\.5 of what"):
        module, seen = fit(tmp_path, [0.9, 0.8, 0.7, 0.7], guard=0.05)
    # Two batches an epoch; the second worse validation follows the third epoch.
    assert seen == [1.0] * 6 + [0.5] * 2
    assert module.guard.lowered == 1


def test_a_training_without_a_guard_keeps_its_weights(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="guidance seems to harm")
        _, seen = fit(tmp_path, [0.9, 0.5, 0.5, 0.5], guard=None)
    assert set(seen) == {1.0}
