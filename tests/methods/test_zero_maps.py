import pytest
import torch

from gain_lightning.methods.gain import GAIN
from gain_lightning.methods.zero_maps import ZeroMaps


class Trainer:
    current_epoch, global_step, precision, world_size = 3, 70, "32-true", 1
    callback_metrics = {"train/loss_am": torch.tensor(0.5)}
    loggers = ()


BATCH = {"weak": {"id": ["cat_1", "dog_2"]}, "masked": {"id": ["cow_3"]}}


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


def test_a_module_counts_its_zero_maps():
    module = GAIN(["a", "b"], 32, am_weight=1.0)
    with torch.no_grad():  # the logit falls with every feature: nothing is left after the ReLU
        module.backbone.classifier.weight[1] = -module.backbone.classifier.weight[1].abs()
    weak = {"image": torch.randn(3, 3, 32, 32), "label": torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])}
    module.losses(weak, None, 1.0)
    assert (int(module.zero_maps[0]), module.zero_maps[1]) == (2, 3)
