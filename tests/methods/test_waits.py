"""A step must not wait for a GPU: it calls no operation whose result's size or value the CPU has to know.

The names are those of torch's operators that synchronise with a CUDA device.
"""

import pytest
import torch
from fake_batch import masks_of
from torch.utils._python_dispatch import TorchDispatchMode

from gain_lightning.methods.gain import GAIN

WAITING = {"nonzero", "_local_scalar_dense", "masked_select", "bincount", "_unique2", "equal", "is_nonzero"}


class Waits(TorchDispatchMode):
    """Notes operators that wait."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in WAITING or by_mask:
            self.names.append(name)
        return function(*args, **(kwargs or {}))


def test_what_waits_is_noticed():
    values = torch.tensor([1.0, 0.0])
    with Waits() as waits:
        values.nonzero()
        values[values > 0]
        bool(values[0])
        values.long().bincount()
    assert waits.names == ["nonzero", "index", "_local_scalar_dense", "bincount"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"second_order": False},
        {"max_classes_per_image": 1},
        {"am_weight": 0.0},
        {"ext_weight": 0.0},
        {"ext_loss": "energy"},
        {"ext_resolution": "map"},
        {"task": "single_label", "map_score": "margin"},
        {"task": "regression"},
    ],
    ids=str,
)
def test_a_step_waits_for_nothing(options):
    module = GAIN(["a", "b", "c"], 32, **{"am_weight": 1.0, "ext_weight": 10.0, **options})
    label = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    if module.hparams.task == "single_label":
        label = torch.eye(3)
    weak = {"image": torch.randn(3, 3, 32, 32), "label": label, "id": list("xyz")}
    masked = {**weak, **masks_of(torch.randint(0, 4, (3, 32, 32), dtype=torch.uint8), label)}
    batch = module.on_before_batch_transfer({"weak": weak, "masked": masked}, 0)  # still on the CPU
    with Waits() as waits:
        module.losses(batch["weak"], batch["masked"], 1.0)["loss"].backward()
    assert waits.names == []
