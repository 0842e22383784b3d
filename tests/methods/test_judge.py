"""The judge of S_am is a copy that only the maps can please."""

import pytest
import torch
from small_gain import make_gain, make_shapes, make_shapes_gain, make_trainer

from gain_lightning.methods.judge import Judge


def weights_of(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_a_frozen_judge_is_the_network_as_it_was_when_guidance_began():
    backbone = make_gain().backbone
    judge = Judge("frozen", 0.9)
    judge.follow(backbone)
    assert judge.state() is None
    before = weights_of(backbone)
    copy = judge.of(backbone)
    with torch.no_grad():
        next(backbone.parameters()).add_(1)
    judge.follow(backbone)
    assert judge.of(backbone) is copy
    assert torch.equal(weights_of(copy), before)
    assert not copy.training
    assert backbone.training


def test_an_average_judge_is_the_running_mean_of_the_weights():
    backbone = make_gain().backbone
    judge = Judge("average", 0.75)
    expected = weights_of(judge.of(backbone))
    for _ in range(3):
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(1)
        judge.follow(backbone)
        expected = 0.75 * expected + 0.25 * weights_of(backbone)
    torch.testing.assert_close(weights_of(judge.of(backbone)), expected)


@pytest.mark.parametrize("kind", ["frozen", "average"])
def test_the_judge_gets_no_gradient_and_the_maps_do(batches, kind):
    module = make_gain(am_weight=1.0, judge=kind)
    loss = module.losses(batches[0], None, 1.0)["loss_am"]
    loss.backward()
    assert all(parameter.grad is None for parameter in module.judge.network.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in module.backbone.features.parameters())


def test_a_judge_that_equals_the_network_says_what_the_network_says(batches):
    """At its first step a frozen judge is the network itself; only the gradient differs."""
    shared, frozen = (make_gain(am_weight=1.0, judge=kind).eval() for kind in ("shared", "frozen"))
    frozen.load_state_dict(shared.state_dict())
    found = [module.losses(batches[0], None, 1.0)["loss_am"] for module in (shared, frozen)]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("kind", ["frozen", "average"])
def test_a_training_that_goes_on_has_the_same_judge(tmp_path, kind):
    settings = {"am_weight": 0.5, "judge": kind, "judge_momentum": 0.5}

    def fit(folder, max_epochs, ckpt_path=None):
        module = make_shapes_gain(**settings)
        trainer = make_trainer(tmp_path / folder, max_epochs=max_epochs, limit_val_batches=0)
        trainer.fit(module, datamodule=make_shapes(mask_budget=0), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / folder / "end.ckpt")
        return module

    whole = fit("whole", 4)
    fit("half", 2)
    resumed = fit("rest", 4, tmp_path / "half" / "end.ckpt")
    assert torch.equal(weights_of(resumed.judge.network), weights_of(whole.judge.network))
    assert torch.equal(weights_of(resumed.backbone), weights_of(whole.backbone))


def test_the_judge_is_no_part_of_the_weights():
    module = make_gain(am_weight=1.0, judge="frozen")
    names = set(module.state_dict())
    module.judge.of(module.backbone)
    assert set(module.state_dict()) == names


def test_a_test_without_the_guides_of_its_training_loads():
    """A checkpoint that keeps a judge and a guard is read by a model that has neither, and the other way round."""
    kept = {}
    trained = make_gain(am_weight=1.0, judge="frozen", guard=0.1)
    trained.guard.factor = 0.25
    trained.on_save_checkpoint(kept)
    bare = make_gain(am_weight=1.0)
    bare.on_load_checkpoint(kept)
    assert bare.guides == {}
    guarded = make_gain(am_weight=1.0, guard=0.1, balance="gradient")
    guarded.on_load_checkpoint(kept)
    assert (guarded.guard.factor, guarded.balance.means) == (0.25, {})
    guarded.on_load_checkpoint({})
    assert guarded.guard.factor == 0.25
