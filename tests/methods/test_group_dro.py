"""Group DRO against a loop by hand, and on data that lack a group."""

import re
from pathlib import Path

import grouped_processes
import numpy as np
import pytest
import torch
from rival_runs import fit as rival_fit
from several_processes import run_two
from small_gain import make_shapes, make_trainer

from gain_lightning.datasets.shapes import two_shortcuts
from gain_lightning.datasets.shapes.boat import CLASSES, GROUPS
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.group_dro import GroupDRO

NAMES = ["a", "b", "c"]


def make(groups, cls=GroupDRO, **settings):
    names = {} if cls is GAIN else {"group_names": groups}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return cls(class_names=NAMES, image_size=32, freeze_batch_norm=True, **names, **settings)


def batch_of(groups, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(len(groups), 3, 32, 32, generator=generator),
        "label": torch.eye(3)[torch.randint(3, (len(groups),), generator=generator)],
        "group": torch.tensor(groups),
        "id": [str(row) for row in range(len(groups))],
    }


def oracle(weights, losses, groups, counts, step, adjustment):
    """Algorithm 1 in numpy: each group's weight rises by its loss, and the loss is the weighted sum."""
    weights, mean = weights.copy(), np.zeros(len(weights))
    for group in range(len(weights)):
        own = losses[groups == group]
        if len(own):
            mean[group] = own.mean()
            weights[group] *= np.exp(step * (mean[group] + adjustment / np.sqrt(counts[group])))
    weights /= weights.sum()
    return weights, float((weights * mean).sum())


@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
@pytest.mark.parametrize("adjustment", [0.0, 2.0])
def test_weights_and_loss_are_those_of_the_algorithm(task, adjustment):
    module = make(["x", "y", "z"], task=task, group_step=0.3, group_adjustment=adjustment)
    counts = np.array([60.0, 5.0, 11.0])
    module.group_counts = torch.as_tensor(counts, dtype=torch.float32)
    weights = np.full(3, 1 / 3)
    # the second batch lacks a group, whose weight then only shrinks with the others' growth
    for seed, groups in enumerate(([0, 1, 2, 0, 1], [0, 0, 2, 2, 0], [1, 1, 1, 2, 0])):
        batch = batch_of(groups, seed)
        logits = module.eval()(batch["image"])
        losses = module.task.losses(logits, batch["label"]).detach().numpy().astype(float)
        weights, expected = oracle(weights, losses, np.array(groups), counts, 0.3, adjustment)
        loss = module.losses(batch, None, 1.0)["loss_cl"]
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(module.group_weights, weights, rtol=1e-5)


def test_the_gradient_is_that_of_the_weighted_losses():
    """The weights are numbers: nothing learns to lower them."""
    module = make(["x", "y"], group_step=0.5)
    batch = batch_of([0, 1, 1, 0, 1])
    (loss,) = torch.autograd.grad(module.losses(batch, None, 1.0)["loss"], module.backbone.classifier.weight)
    losses = module.task.losses(module(batch["image"]), batch["label"])
    by_hand = sum(
        weight * losses[batch["group"] == group].mean()
        for group, weight in enumerate(module.group_weights.tolist())
    )
    (expected,) = torch.autograd.grad(by_hand, module.backbone.classifier.weight)
    torch.testing.assert_close(loss, expected)


def test_with_one_group_it_is_plain_training():
    batch = batch_of([0, 0, 0, 0])
    plain, module = make([], GAIN), make(["all"], group_step=0.5, group_adjustment=3.0)
    for gain in (plain, module):
        optimizer = torch.optim.SGD(gain.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            gain.losses(batch, None, 1.0)["loss"].backward()
            optimizer.step()
    torch.testing.assert_close(module.backbone.state_dict(), plain.backbone.state_dict())


def test_a_large_loss_leaves_the_weights_finite():
    module = make(["x", "y"], group_step=1e6)
    module.losses(batch_of([0, 1, 1]), None, 1.0)
    assert module.group_weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("model", "data", "label"),
    [
        ({"ext_weight": 0}, {"balance_by": "group"}, "group_dro"),
        ({"ext_weight": 0}, {}, "group_dro"),
        ({"ext_weight": 1}, {"balance_by": "class"}, "gain_ext+group_dro+resampled_class"),
    ],
)
def test_equal_draws_of_groups_are_part_of_the_method(model, data, label):
    assert GroupDRO.label(model, data) == label


def test_groups_that_are_told_as_one_are_one():
    told, merged = make(["x", "y", "x"], group_step=0.3), make(["x", "y"], group_step=0.3)
    for seed, groups in enumerate(([0, 1, 2, 0, 1], [2, 2, 0, 0, 1])):
        loss = told.losses(batch_of(groups, seed), None, 1.0)["loss_cl"]
        expected = merged.losses(batch_of([group % 2 for group in groups], seed), None, 1.0)["loss_cl"]
        torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(told.group_weights, merged.group_weights)


@pytest.mark.parametrize("key", ["group_step", "group_adjustment"])
def test_a_step_out_of_range_is_refused(key):
    with pytest.raises(ValueError, match=rf"model\.{key} is -1, expected a number of at least 0"):
        make(["x"], **{key: -1})


def fit(folder, bias, **settings):
    data = make_shapes(num_train=160, bias=bias, batch_size=16, **settings)
    module = GroupDRO(class_names=list(CLASSES), image_size=96, group_names=list(GROUPS), group_step=0.1)
    trainer = make_trainer(folder, max_epochs=1, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    return module, data


def test_it_trains_on_shapes_and_counts_their_groups(tmp_path):
    module, data = fit(tmp_path, 0.6, balance_by="group")
    assert module.group_counts.tolist() == np.bincount(data.train_set.groups).tolist()
    weights = module.trainer.callback_metrics
    assert [f"train/weight_{name}" in weights for name in GROUPS] == [True] * 4
    assert module.group_weights.sum().item() == pytest.approx(1)
    assert module.group_weights.std() > 0.01


def test_a_training_set_without_a_minority_is_refused_before_the_first_step(tmp_path):
    message = (
        "method GroupDRO needs training images of every group, but there are none of boat+no water, no boat"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(tmp_path, 1.0)


def test_rivals_told_of_the_ground_are_scored_by_all_groups(tmp_path):
    """The validation set has no picture of some of the eight groups, but of each class on each ground."""
    scene = ["--data.scene=two_shortcuts", "--data.companion_bias=1", "--model.task=single_label"]
    told = [*scene, "--data.bias=0.4", "--data.num_test=80", "--data.told_shortcuts=[ground]"]
    dro = rival_fit(tmp_path / "dro", *told, "--method=GroupDRO", "--data.balance_by=group")
    weights = {key for key in dro["metrics"] if key.startswith("train/weight_")}
    assert weights == {f"train/weight_{c}+{g}" for c in ("boat", "car") for g in ("water", "road")}
    dfr = rival_fit(tmp_path / "dfr", *told, "--method=DFR", f"--model.from_run={tmp_path / 'dro'}")
    for summary in (dro, dfr):
        groups = {key for key in summary["metrics"] if key.startswith("test/group/")}
        assert groups == {f"test/group/{name}" for name in two_shortcuts.GROUPS}


def test_pictures_that_are_made_have_no_group(tmp_path):
    with pytest.raises(
        ValueError, match=r"data\.mask_augment is 0\.2, but a picture that is made has no group"
    ):
        fit(tmp_path, 0.6, mask_augment=0.2, mask_budget=4)


def test_two_processes_take_the_step_of_one(tmp_path):
    """Each sees half of the images; a group may lie on one of them alone."""
    whole = list(grouped_processes.steps())
    for rank in run_two(Path(grouped_processes.__file__), tmp_path):
        for (weights, gradient), (expected_weights, expected) in zip(rank, whole, strict=True):
            torch.testing.assert_close(weights, expected_weights, rtol=1e-10, atol=0)
            torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
