"""How much each class counts in L_cl."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_gain import NAMES, make_gain, make_shapes, make_shapes_gain, make_trainer

from gain_lightning.methods.class_weights import class_weights_of
from gain_lightning.methods.load import load_model


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, None),
        ("balanced", [1, 1, 1]),
        ([1, 2, 0.5], [1, 2, 0.5]),
        ({"c": 3, "a": 2}, [2, 1, 3]),
        ({}, [1, 1, 1]),
    ],
)
def test_a_setting_gives_one_weight_a_class(setting, expected):
    weights = class_weights_of(setting, NAMES)
    assert (weights if weights is None else weights.tolist()) == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "even",
            "model.class_weights is 'even', expected null, balanced, a number for each of the 3 classes",
        ),
        (
            [1, 2],
            "model.class_weights is [1, 2], expected null, balanced, a number for each of the 3 classes",
        ),
        ({"d": 1}, "model.class_weights names 'd', expected names among a, b, c"),
        ([1, 2, 0], "model.class_weights has 0, expected positive numbers"),
        ({"a": float("nan")}, "model.class_weights has nan, expected positive numbers"),
    ],
)
def test_another_setting_is_refused(setting, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_gain(class_weights=setting)


def step(module, label):
    batch = {
        "image": torch.randn(len(label), 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        "label": label,
        "id": [str(row) for row in range(len(label))],
    }
    return module.losses(batch, None, 1.0)["loss_cl"], module.eval()(batch["image"])


@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_given_weights_are_those_of_the_loss(task):
    """Against torch's own weighted losses."""
    weights = torch.tensor([0.5, 2.0, 4.0])
    module = make_gain(task=task, class_weights=weights.tolist(), freeze_batch_norm=True)
    label = torch.eye(3)[[0, 1, 1, 2]]
    loss, logits = step(module, label)
    if task == "single_label":
        expected = F.cross_entropy(logits, label.argmax(1), weight=weights, reduction="sum") / 4
    elif task == "multi_label":
        expected = F.binary_cross_entropy_with_logits(logits, label, pos_weight=weights, reduction="sum") / 4
    else:
        expected = ((logits - label) ** 2 * (1 + (weights - 1) * label)).sum() / 4
    torch.testing.assert_close(loss, expected)


def test_weights_stay_out_of_a_checkpoint_that_has_none():
    assert "class_weights" not in make_gain().state_dict()


def test_balanced_weights_come_from_the_training_labels_and_stay_in_the_checkpoint(tmp_path):
    module = make_shapes_gain(class_weights="balanced")
    data = make_shapes(num_train=40)
    trainer = make_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    present = np.asarray(data.train_set.labels, float).sum(0)
    expected = torch.as_tensor((40 - present) / present, dtype=torch.float32)
    torch.testing.assert_close(module.class_weights, expected)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    torch.testing.assert_close(load_model(tmp_path / "last.ckpt").class_weights, expected)
