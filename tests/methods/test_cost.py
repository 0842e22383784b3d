import gc
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_batch import masks_of

from gain_lightning.backbones import build_backbone
from gain_lightning.constants import VOID
from gain_lightning.methods.cost import CostForecast, expected_cost, saved_bytes
from gain_lightning.methods.gain import GAIN

SIDE = 64


def held_bytes(module, run):
    """What ``run`` leaves in memory for the backward pass, weights aside; by the tensors it really saves."""
    weights = {tensor.untyped_storage()._cdata for tensor in [*module.parameters(), *module.buffers()]}
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    sizes = [tensor.untyped_storage().nbytes() for storage, tensor in saved.items() if storage not in weights]
    del result
    return sum(sizes)


def pictures(num_images):
    return torch.randn(num_images, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)


def batch(label, *, masked):
    masks = masks_of(torch.full((len(label), SIDE, SIDE), 1 if masked else VOID), label)
    return {"image": pictures(len(label)), "label": label, **masks, "id": ["x"] * len(label)}


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18", "vgg16", "lite0"])
def test_saved_bytes_are_those_of_a_real_forward_pass(name):
    if name == "lite0":
        pytest.importorskip("timm")
    backbone = build_backbone(name, 5)
    image = pictures(1)
    assert saved_bytes(backbone, SIDE) == held_bytes(backbone, lambda: backbone(image))


@pytest.mark.parametrize(("name", "tolerance"), [("tiny_cnn", 0.1), ("resnet18", 0.06)])
@pytest.mark.parametrize(("am_weight", "ext_weight"), [(0.0, 0.0), (1.0, 0.0), (1.0, 10.0)])
def test_memory_of_a_step_grows_with_images_and_pairs_as_foreseen(am_weight, ext_weight, name, tolerance):
    label = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]])
    module = GAIN(["a", "b", "c"], SIDE, backbone=name, am_weight=am_weight, ext_weight=ext_weight)
    weak, masked = batch(label, masked=False), batch(label[:2], masked=True)
    optimizer = torch.optim.AdamW(module.parameters())
    cost = expected_cost(module, label, 4, 2, optimizer)
    num_images = 4 + 6 * (am_weight > 0) + 2 * (ext_weight > 0)
    assert cost.plain_steps == num_images / 4
    foreseen = cost.peak_bytes - cost.fixed_bytes
    held = held_bytes(module, lambda: module.losses(weak, masked, 1.0))
    assert held == pytest.approx(foreseen, rel=tolerance)  # maps and masks besides


def test_fixed_bytes_are_weights_gradients_and_optimizer_state():
    module = GAIN(["a", "b"], SIDE, am_weight=1.0)
    for optimizer in (
        torch.optim.AdamW(module.parameters()),
        torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
        torch.optim.SGD(module.parameters(), lr=0.1),
        torch.optim.Adam(module.parameters(), amsgrad=True),
        torch.optim.RMSprop(module.parameters(), centered=True, momentum=0.9),
        torch.optim.Adagrad(module.parameters()),
        torch.optim.Adadelta(module.parameters()),
        torch.optim.Rprop(module.parameters()),
        torch.optim.ASGD(module.parameters()),
    ):
        cost = expected_cost(module, torch.ones(2, 2), 2, 0, optimizer)
        module.losses(batch(torch.ones(2, 2), masked=False), None, 1.0)["loss"].backward()
        optimizer.step()
        parameters = list(module.backbone.parameters())
        state = [
            v for values in optimizer.state.values() for v in values.values() if torch.is_tensor(v) and v.ndim
        ]
        real = [*parameters, *(parameter.grad for parameter in parameters), *state]
        assert cost.fixed_bytes == sum(tensor.nbytes for tensor in real)


def test_frozen_weights_have_no_gradient_and_no_state():
    module = GAIN(["a", "b"], SIDE, am_weight=1.0)
    module.backbone.features.requires_grad_(False)
    cost = expected_cost(module, torch.ones(2, 2), 2, 0, torch.optim.AdamW(module.parameters()))
    head = sum(parameter.nbytes for parameter in module.backbone.head.parameters())
    assert cost.fixed_bytes == sum(parameter.nbytes for parameter in module.backbone.parameters()) + 3 * head


def test_erased_images_cost_less_where_their_loss_reaches_maps_alone():
    """Forward, and backward to the images, of the three parts that a training pass has."""
    module = GAIN(["a", "b"], SIDE, am_weight=1.0, am_gradient="maps")
    cost = expected_cost(module, torch.ones(2, 2), 2, 0, torch.optim.AdamW(module.parameters()))
    assert cost.plain_steps == pytest.approx(1 + 2 * 2 / 3)
    assert "less, by a judge that does not learn, than the" in str(cost)


def test_mixed_precision_makes_the_forecast_an_upper_end_and_double_is_named():
    module = GAIN(["a", "b"], SIDE, am_weight=1.0)
    optimizer = torch.optim.AdamW(module.parameters())
    single = expected_cost(module, torch.ones(2, 2), 2, 0, optimizer)
    mixed = expected_cost(module, torch.ones(2, 2), 2, 0, optimizer, "bf16-mixed")
    assert "less, by bf16-mixed, than the" in str(mixed)
    double = expected_cost(module.double(), torch.ones(2, 2), 2, 0, optimizer, "64-true")
    assert double.peak_bytes == 2 * single.peak_bytes
    assert "GiB in float64" in str(double)


class Positions(torch.nn.Module):
    """Makes a tensor of its own, and, if ``asks``, wants to know a value."""

    def __init__(self, asks):
        super().__init__()
        self.conv, self.asks = torch.nn.Conv2d(4, 8, 3), asks

    def forward(self, image):
        ramp = torch.linspace(0, 1, image.shape[3]).expand(len(image), 1, *image.shape[2:])
        if self.asks and image.mean().item() > 9:
            image = image / 2
        return self.conv(torch.cat([image, ramp], 1))


def test_networks_that_make_tensors_are_foreseen_and_those_that_ask_values_stop_nothing(capsys):
    module = GAIN(["a", "b"], SIDE, am_weight=1.0)
    module.backbone.features = Positions(asks=False)
    module.backbone.head = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 2)
    )
    image = pictures(1)
    assert saved_bytes(module.backbone, SIDE) == held_bytes(module.backbone, lambda: module.backbone(image))
    module.backbone.features.asks = True
    data = SimpleNamespace(
        train_set=SimpleNamespace(labels=[[1, 1]]), masked_set=None, batch_size=2, masked_batch_size=0
    )
    trainer = SimpleNamespace(
        datamodule=data,
        optimizers=[torch.optim.AdamW(module.parameters())],
        precision="32-true",
        is_global_zero=True,
    )
    with pytest.warns(UserWarning, match="the cost of a step cannot be foreseen for this network"):
        CostForecast().on_fit_start(trainer, module)
    assert capsys.readouterr().out == ""


def test_few_classes_an_image_lower_the_forecast():
    module = GAIN(["a", "b", "c"], SIDE, am_weight=1.0, max_classes_per_image=1)
    optimizer = torch.optim.AdamW(module.parameters())
    cost = expected_cost(module, torch.tensor([[1, 1, 1], [1, 0, 0]]), 4, 0, optimizer)
    assert (cost.num_erased, cost.plain_steps) == (4.0, 2.0)
    assert "4 weak + 4.0 erased images, 2.00 x a plain step" in str(cost)


def test_mining_in_some_steps_alone_lowers_the_forecast():
    module = GAIN(["a", "b"], SIDE, am_weight=1.0, am_every=4)
    cost = expected_cost(module, torch.ones(2, 2), 4, 0, torch.optim.AdamW(module.parameters()))
    assert (cost.num_erased, cost.plain_steps) == (8.0, 1.5)  # docs/cost.md: (N + P / k) / N
    assert "8.0 erased (every 4 steps) images, 1.50 x a plain step" in str(cost)


def test_memory_of_checkpointed_features_is_not_called_a_lower_end():
    module = GAIN(["a", "b"], SIDE, am_weight=1.0, checkpoint_features=True)
    cost = str(expected_cost(module, torch.ones(2, 2), 4, 0, torch.optim.AdamW(module.parameters())))
    assert "Memory less, by checkpointed features, than the " in cost
    assert "at least" not in cost


def test_the_forecast_of_compiled_features_compiles_nothing():
    plain, compiled = (GAIN(["a", "b"], SIDE, compile_features=choice) for choice in (False, True))
    assert saved_bytes(compiled.backbone, SIDE) == saved_bytes(plain.backbone, SIDE)


def test_class_indices_count_as_one_label_each():
    module = GAIN(["a", "b"], SIDE, am_weight=1.0, task="single_label")
    cost = expected_cost(module, torch.tensor([0, 1, 1]), 2, 0, torch.optim.AdamW(module.parameters()))
    assert cost.num_erased == 2.0


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads the memory of the process from /proc"
)
def test_500_steps_leave_nothing_behind():
    module = GAIN(["a", "b", "c"], SIDE, am_weight=1.0, ext_weight=10.0)
    optimizer = torch.optim.AdamW(module.parameters())
    label = torch.tensor([[1.0, 0, 0], [1, 1, 0]])
    weak, masked = batch(label, masked=False), batch(label, masked=True)

    def state():
        gc.collect()
        tensors = sum(type(thing) is torch.Tensor for thing in gc.get_objects())
        return tensors, int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for step in range(500):
        optimizer.zero_grad()
        module.losses(weak, masked, 1.0)["loss"].backward()
        optimizer.step()
        if step == 99:
            tensors, memory = state()
    tensors_after, memory_after = state()
    assert tensors_after == tensors
    assert memory_after - memory < 20 * 2**20


def test_views_pass_forward_alone():
    """A quarter of 8 images at 1.5 times their side: 2 x 2.25 / 3 of the 8 of a plain step."""
    module = GAIN(["a", "b", "c"], 32, view_weight=1.0, guided_share=0.25)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    cost = expected_cost(module, torch.ones(10, 3), 8, 0, optimizer)
    assert cost.plain_steps == pytest.approx(1 + 2 * 2.25 / 3 / 8)
    assert "8 weak + 2 enlarged to 225% of the pixels images" in str(cost)


def test_a_judge_that_sees_half_the_side_costs_a_sixth():
    settings = {
        "judge": "frozen",
        "am_size": 0.5,
        "sufficiency_weight": 1.0,
        "ext_weight": 1.0,
        "ext_every": 4,
    }
    module = GAIN(["a", "b", "c"], 32, am_weight=1.0, **settings)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    cost = expected_cost(module, torch.ones(10, 3), 8, 4, optimizer)
    # Two pictures of each of 24 pairs, a quarter as large, without the gradient of weights.
    assert cost.plain_steps == pytest.approx((8 + 4 / 4 + 2 * 24 / 4 * 2 / 3) / 8)


def test_a_late_guidance_costs_its_share_of_the_training():
    module = GAIN(["a", "b", "c"], 32, am_weight=1.0, warmup=0.75)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    cost = expected_cost(module, torch.eye(3), 8, 0, optimizer)
    # Three plain steps of 1, then one of 2.
    assert cost.whole_plain_steps == pytest.approx((3 * 1 + 2) / 4)
    assert "2.00 x a plain step once guided, 1.25 x over the whole training" in str(cost)
