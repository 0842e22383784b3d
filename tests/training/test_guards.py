from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_batch import masks_of
from PIL import Image

from gain_lightning.attention import label_pairs, pair_masks
from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.gain_preflight import check_trainer
from gain_lightning.methods.image_record import keep_maps
from gain_lightning.methods.panels import log_to_wandb, panel_rows
from gain_lightning.methods.zero_maps import ZeroMaps
from gain_lightning.training.guards import FiniteGuard


class Trainer:
    current_epoch, global_step, precision, world_size = 3, 70, "32-true", 1
    callback_metrics = {"train/loss_am": torch.tensor(0.5)}
    loggers = ()


BATCH = {"weak": {"id": ["cat_1", "dog_2"]}, "masked": {"id": ["cow_3"]}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_guard_stops_at_a_loss_that_is_not_finite_and_names_the_images(value, precision, monkeypatch):
    monkeypatch.setattr(Trainer, "precision", precision)
    model, guard = torch.nn.Linear(2, 1), FiniteGuard()
    guard.on_train_batch_start(Trainer(), model, {"weak": {"id": ["pig_0"]}}, 0)
    guard.on_before_backward(Trainer(), model, torch.tensor(1.0))
    guard.on_before_optimizer_step(Trainer(), model, None)
    for batch, loss in (({"weak": {"id": ["hen_4"]}}, 1.0), (BATCH, value)):  # accumulated
        guard.on_train_batch_start(Trainer(), model, batch, 1)
        guard.on_before_backward(Trainer(), model, torch.tensor(loss))
    expected = r"the loss is -?(nan|inf) .*loss_am': '0\.5'.* epoch 3, step 70.*: cat_1, dog_2, cow_3\."
    with pytest.raises(FloatingPointError, match=expected):
        guard.on_before_optimizer_step(Trainer(), model, None)


def test_guard_stops_at_a_gradient_that_is_not_finite_before_the_weights_move():
    model, guard = torch.nn.Linear(2, 1), FiniteGuard()
    model.weight.grad = torch.tensor([[1.0, 2.0]])
    for _ in range(2):
        guard.on_train_batch_start(Trainer(), None, BATCH, 0)
        guard.on_before_backward(Trainer(), model, torch.tensor(1.0))
        if model.weight.grad[0, 1] == 2:
            guard.on_before_optimizer_step(Trainer(), model, None)
            model.weight.grad[0, 1] = float("nan")
    with pytest.raises(FloatingPointError, match=r"a gradient is not finite.*: cat_1, dog_2, cow_3"):
        guard.on_before_optimizer_step(Trainer(), model, None)


def test_guard_of_a_process_points_to_the_others_and_a_skipped_step_is_none(monkeypatch):
    monkeypatch.setattr(Trainer, "world_size", 2)
    model, guard = torch.nn.Linear(2, 1), FiniteGuard()
    guard.on_train_batch_start(Trainer(), None, BATCH, 0)
    guard.on_before_optimizer_step(Trainer(), model, None)
    model.weight.grad = torch.full((1, 2), float("nan"))
    guard.on_before_backward(Trainer(), model, torch.tensor(1.0))
    with pytest.raises(
        FloatingPointError, match="gradient is not finite, though each loss of this process is"
    ):
        guard.on_before_optimizer_step(Trainer(), model, None)


class Logged:
    """A module that remembers what it logged."""

    def __init__(self, *steps):
        self.steps, self.values = list(steps), []

    @property
    def zero_maps(self):
        return self.steps[0]

    @zero_maps.setter
    def zero_maps(self, value):
        self.steps.pop(0)

    def log(self, name, value, **options):
        self.values.append((name, value))


def test_many_maps_that_are_zero_everywhere_are_counted_and_said():
    """Over an epoch, also of one that resumed in its middle; an epoch without maps says nothing."""
    module, before = Logged((torch.tensor(1), 4), (torch.tensor(5), 6)), ZeroMaps()
    before.on_train_batch_end(Trainer(), module, None, BATCH, 0)
    after = ZeroMaps()
    after.load_state_dict(before.state_dict())
    after.on_train_batch_end(Trainer(), module, None, BATCH, 1)
    with pytest.warns(UserWarning, match=r"6 of 10 attention maps of epoch 3 were zero everywhere \(60%\)"):
        after.on_train_epoch_end(Trainer(), module)
    after.on_train_epoch_end(Trainer(), module)
    assert module.values == [("train/zero_maps", 0.6)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_never_become_the_last_checkpoint(value):
    state = {"good": torch.ones(2), "bad": torch.tensor([1.0, value])}
    with pytest.raises(FloatingPointError, match="the weights bad are not finite after step 70"):
        FiniteGuard().on_save_checkpoint(Trainer(), None, {"state_dict": state})
    FiniteGuard().on_save_checkpoint(Trainer(), None, {"state_dict": {"good": torch.ones(2)}})


def test_a_module_counts_its_zero_maps():
    module = GAIN(["a", "b"], 32, am_weight=1.0)
    with torch.no_grad():  # the logit falls with every feature: nothing is left after the ReLU
        module.backbone.classifier.weight[1] = -module.backbone.classifier.weight[1].abs()
    weak = {"image": torch.randn(3, 3, 32, 32), "label": torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])}
    module.losses(weak, None, 1.0)
    assert (int(module.zero_maps[0]), module.zero_maps[1]) == (2, 3)


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


def _kept():
    label = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    maps = torch.tensor([2.0, 4.0, 0.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    batch = {"id": ["a", "b"], "label": label, **masks_of(torch.full((2, 4, 4), 2), label)}
    pairs = label_pairs(label)
    mask = pair_masks(batch["mask"], batch["mask_image"], batch["mask_class"], pairs)
    outputs = {"maps": maps, "pairs": pairs, "mask": mask}
    return keep_maps(batch, outputs, torch.full((2, 3, 4, 4), 90, dtype=torch.uint8), ["cat", "dog"])


def test_panel_rows_belong_to_their_image_and_are_scaled_one_by_one():
    rows = panel_rows([_kept(), _kept()])
    assert [row["caption"] for row in rows] == ["a: dog", "b: cat", "b: dog"] * 2
    assert [row["image_idx"] for row in rows] == [0, 1, 1, 2, 3, 3]
    assert [row["map"].max() for row in rows] == [1, 1, 0] * 2


def test_wandb_gets_pictures_with_the_step_as_a_field(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb = pytest.importorskip("wandb")
    logged = []

    class Logger:
        class experiment:  # noqa: N801
            log = staticmethod(logged.append)

    run = wandb.init(dir=tmp_path, mode="offline")
    try:
        log_to_wandb(Logger, panel_rows([_kept()]), ["cat", "dog"], step=70)
    finally:
        run.finish()
    assert logged[0]["trainer/global_step"] == 70
    assert [panel._caption for panel in logged[0]["panels"]] == ["a: dog", "b: cat", "b: dog"]
    picture = np.array(Image.open(logged[0]["panels"][0]._path))
    assert picture.shape[:2] == (4, 8)  # image | map
    assert (picture[:, :4, :3] == 90).all()
