from types import SimpleNamespace

import pytest
import torch
from small_gain import SIDE, make_gain, make_shapes, make_shapes_gain, make_trainer

from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_preflight import check_trainer


def test_fit_refuses_gain_ext_without_masks(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=1)
    with pytest.raises(ValueError, match=r"model.ext_weight is 10.*data.mask_budget > 0"):
        trainer.fit(make_shapes_gain(ext_weight=10), datamodule=make_shapes(mask_budget=0))


def test_fit_refuses_gain_ext_on_a_loader_without_masks(tmp_path, batches):
    """Without a data module too: GAIN_ext would silently be GAIN."""
    weak = {**batches[0], "image": torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8)}
    loader = torch.utils.data.DataLoader([{"weak": weak}], batch_size=None)
    trainer = make_trainer(tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="ext_weight"):
        trainer.fit(make_gain(ext_weight=10), loader)


@pytest.mark.parametrize(
    "limit", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 3}, {"max_epochs": 9, "max_steps": 3}]
)
def test_a_warm_up_as_long_as_the_training_warns(tmp_path, limit):
    module = make_shapes_gain(am_weight=1.0, warmup=1)
    trainer = make_trainer(tmp_path, limit_train_batches=2, limit_val_batches=0, **limit)
    message = r"guidance never begins: model.warmup is 1 of a training of [34] batches"
    with pytest.warns(UserWarning, match=message):
        trainer.fit(module, datamodule=make_shapes(mask_budget=0))


@pytest.mark.parametrize("key", ["warmup", "ramp"])
def test_a_share_of_a_training_without_end_is_refused(tmp_path, key):
    module = make_shapes_gain(am_weight=1.0, **{key: 0.5})
    trainer = make_trainer(tmp_path, max_epochs=-1, limit_val_batches=0)
    with pytest.raises(
        ValueError, match=rf"model.{key} is 0.5, a share of the training, but this training has no end"
    ):
        trainer.fit(module, datamodule=make_shapes(mask_budget=0))


@pytest.mark.parametrize("warmup", [0, 0.67])
@pytest.mark.parametrize("every", [1, 3, 4, 5, 8, 11, 16])
@pytest.mark.parametrize(
    "limit", [{"max_epochs": 3}, {"max_epochs": 3, "max_steps": 5}, {"max_epochs": -1, "max_steps": 3}]
)
def test_a_training_in_which_mining_has_no_turn_warns(every, warmup, limit, recwarn):
    """The oracle asks every batch."""
    module = make_gain(am_weight=1.0, am_every=every, warmup=warmup)
    batches = limit.get("max_steps", 6) * 2 if "max_steps" in limit else 12
    guided = [n for n in range(batches) if module.guidance(n, batches) > 0]
    mined = [n for n in guided if (n + 1) % every == 0]
    module._trainer = SimpleNamespace(
        **{"max_steps": -1, **limit},
        num_training_batches=4,
        accumulate_grad_batches=2,
        lr_scheduler_configs=[],
    )
    module.on_train_start()
    told = " ".join(str(warning.message) for warning in recwarn)
    assert ("guidance never begins" in told) == (not guided)
    assert ("loss_am will never be computed" in told) == bool(guided and not mined)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "16-mixed"}, "trainer.precision is 16-mixed: gradients of gradients"),
        ({"strategy": "fsdp"}, "trainer.strategy is FSDPStrategy, which shards weights"),
    ],
)
def test_what_maps_cannot_be_taken_through_is_refused(options, message):
    module = GAIN(["a"], 32, am_weight=1.0)
    strategy = type("FSDPStrategy", (), {})() if "strategy" in options else object()
    module._trainer = SimpleNamespace(strategy=strategy, precision=options.get("precision", "32-true"))
    with pytest.raises(ValueError, match=message):
        check_trainer(module)
    module.hparams.second_order = False
    module._trainer.strategy = object()
    check_trainer(module)
