import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import yaml
from small_gain import make_shapes, make_shapes_gain, make_trainer
from torch.optim.lr_scheduler import MultiStepLR, StepLR

from gain_lightning.methods.gain_settings import guidance_at
from gain_lightning.methods.schedules import OneCycle, Steps, length_of

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
# What those configs said that once counted epochs and have kept their schedule: warm-up and ramp, milestones and
# factor, epochs of the training, and steps an epoch of their data.
IN_EPOCHS = {
    "shapes": (10, 0, [13], 0.1, 14, 75),
    "boat/shapes": (3, 0, [13], 0.1, 14, 75),
    "camera": (4, 0, [15], 0.1, 20, 44),
    "count": (4, 0, [12], 0.1, 14, 75),
    "voc12": (5, 0, [], 0.1, 35, 10582),
    "boat": (5, 0, [], 0.1, 35, 10582),
}
CLASSIFIERS = [f"{folder}/{name}" for folder in IN_EPOCHS for name in ("gradcam", "gain", "gain_ext")]
SEGMENTERS = {"folder/sec": ([10], 15, 40), "voc12/lite0_subset/sec": ([2], 3, 209)}
LR = 0.002


def optimizer_of(*rates):
    return torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in rates])


def rates_of(schedule, optimizer, steps, step_after=lambda step: True):
    """Return the rates of the first group, one a step; the schedule steps after the steps that are asked for."""
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step_after(step):
            schedule.step()
    return rates


def config_of(name):
    return yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())


def steps_of(model, num_steps):
    """Return the schedule of a shipped config with its optimizer, begun."""
    optimizer, settings = optimizer_of(LR), model["lr_scheduler"]
    assert settings["class_path"] == "Steps"
    schedule = Steps(optimizer, **settings["init_args"])
    schedule.begin(num_steps)
    return schedule, optimizer


def in_epochs(milestones, gamma, epochs, per_epoch):
    """Return the rates of torch's schedule in epochs, one a step."""
    optimizer = optimizer_of(LR)
    schedule = MultiStepLR(optimizer, milestones, gamma)
    return rates_of(schedule, optimizer, epochs * per_epoch, lambda step: (step + 1) % per_epoch == 0)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_shipped_configs_guide_and_step_as_they_did_in_epochs(name):
    config = config_of(name)
    warmup, ramp, milestones, gamma, epochs, per_epoch = IN_EPOCHS[name.rpartition("/")[0]]
    model, total = config["model"], epochs * per_epoch
    assert config["trainer"]["max_epochs"] == epochs
    for batch in range(0, total, 1 if total < 10**4 else per_epoch // 2):
        past = batch / per_epoch - warmup
        expected = 0.0 if past < 0 else min(past / ramp, 1.0) if ramp else 1.0
        share = guidance_at(batch, total, model["warmup"], model.get("ramp", 0))
        assert share == pytest.approx(expected, abs=1e-9), batch
    edge = warmup * per_epoch
    assert (
        guidance_at(edge - 1, total, model["warmup"], 0) == 0 < guidance_at(edge, total, model["warmup"], 0)
    )
    if not milestones:
        assert "lr_scheduler" not in model
        return
    schedule, optimizer = steps_of(model, total)
    assert rates_of(schedule, optimizer, total) == in_epochs(milestones, gamma, epochs, per_epoch)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_shipped_configs_of_sec_step_as_they_did_in_epochs(name):
    config, (milestones, epochs, per_epoch) = config_of(name), SEGMENTERS[name]
    assert config["trainer"]["max_epochs"] == epochs
    schedule, optimizer = steps_of(config["model"], epochs * per_epoch)
    assert rates_of(schedule, optimizer, epochs * per_epoch) == in_epochs(milestones, 0.1, epochs, per_epoch)


@pytest.mark.parametrize("name", ["sec_cues", "sec_gain", "sec_gain_ext"])
def test_published_secs_rate_falls_every_2000_steps(name):
    config = config_of(f"voc12/{name}")
    schedule, optimizer = steps_of(config["model"], config["trainer"]["max_steps"])
    rates = rates_of(schedule, optimizer, 8000)
    other = optimizer_of(LR)
    assert rates == rates_of(StepLR(other, 2000, 0.1), other, 8000)


def test_every_shipped_config_speaks_in_shares():
    """A shorter training then keeps its warm-up and its schedule."""
    for path in EXPERIMENTS.rglob("*.yaml"):
        model = yaml.safe_load(path.read_text()).get("model", {})
        assert not {"warmup_epochs", "ramp_epochs"} & set(model), path
        scheduler = model.get("lr_scheduler", {}).get("class_path")
        assert scheduler in (None, "Steps", "OneCycle"), path


def test_one_cycle_rises_on_a_line_and_falls_on_a_cosine():
    optimizer = optimizer_of(1.0, 10.0)
    schedule = OneCycle(optimizer, rise=0.25)
    schedule.begin(40)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(10 * optimizer.param_groups[0]["lr"])
    rates = rates_of(schedule, optimizer, 40)
    assert rates[:10] == pytest.approx([(step + 0.5) / 10 for step in range(10)])
    assert rates[10:] == pytest.approx([math.cos(math.pi * (step + 0.5) / 60) ** 2 for step in range(30)])
    assert optimizer.param_groups[0]["lr"] == 0


@pytest.mark.parametrize("rise", [0, 1])
def test_one_cycle_may_only_fall_or_only_rise(rise):
    optimizer = optimizer_of(1.0)
    schedule = OneCycle(optimizer, rise=rise)
    schedule.begin(10)
    rates = rates_of(schedule, optimizer, 10)
    assert rates == sorted(rates, reverse=not rise)
    assert 0 < min(rates) < 0.06
    assert 0.94 < max(rates) < 1


class Rates(pl.Callback):
    """Keeps the rate and the share of guidance of every batch."""

    def __init__(self):
        self.rates, self.guidance = [], []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.guidance.append(trainer.callback_metrics["train/guidance"].item())


@pytest.mark.parametrize(
    ("limits", "batches", "steps"),
    [
        ({"max_epochs": 3}, 12, 12),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 12, 6),
        ({"max_steps": 5, "max_epochs": -1}, 5, 5),
        ({"max_steps": 3, "max_epochs": 9, "accumulate_grad_batches": 3}, 7, 3),
        ({"max_epochs": 2, "limit_train_batches": 3}, 6, 6),
    ],
)
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_shares_are_of_the_whole_training(tmp_path, limits, batches, steps, interval):
    watch = Rates()
    trainer = make_trainer(tmp_path, callbacks=[watch], limit_val_batches=0, **limits)
    module = make_shapes_gain(
        am_weight=1.0,
        warmup=0.5,
        lr_interval=interval,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1),
        lr_scheduler=lambda optimizer: OneCycle(optimizer, rise=0),
    )
    trainer.fit(module, datamodule=make_shapes(mask_budget=0, num_train=16))
    assert trainer.global_step == steps
    assert length_of(trainer) == (batches, steps)
    assert watch.guidance == [float(batch >= round(batches / 2)) for batch in range(batches)]
    expected = [0.1 * math.cos(math.pi * (step + 0.5) / steps / 2) ** 2 for step in range(steps)]
    assert list(dict.fromkeys(watch.rates)) == pytest.approx(expected)


def test_length_agrees_with_lightnings_own(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=3, accumulate_grad_batches=3, limit_val_batches=0)
    trainer.fit(make_shapes_gain(), datamodule=make_shapes(mask_budget=0, num_train=16))
    assert length_of(trainer).steps == trainer.estimated_stepping_batches


def test_a_stream_without_end_has_steps_alone():
    trainer = SimpleNamespace(
        num_training_batches=math.inf, accumulate_grad_batches=2, max_epochs=-1, max_steps=7
    )
    assert length_of(trainer) == (14, 7)
    trainer.max_steps = -1
    assert not length_of(trainer).is_finite


def test_a_schedule_without_end_is_refused(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=-1, limit_val_batches=0)
    module = make_shapes_gain(lr_scheduler=OneCycle)
    with pytest.raises(
        ValueError, match=r"model.lr_scheduler is OneCycle, a share .* expected trainer.max_epochs"
    ):
        trainer.fit(module, datamodule=make_shapes(mask_budget=0))
