import copy
import shutil
import subprocess
import sys

import pytest
import reference
import torch
from small_gain import (
    NAMES,
    SIDE,
    batch_norms,
    make_gain,
    make_shapes,
    make_shapes_gain,
    make_trainer,
    modes_of,
    same_state,
    state_of,
)
from torch import nn

from gain_lightning.attention import CAMS, grad_cam, label_pairs
from gain_lightning.backbones import Backbone
from gain_lightning.methods import gain_settings
from gain_lightning.methods.gain import GAIN

# Input ----------------------------------------------------------------------------------------------------


def test_batch_is_normalised_once_on_arrival(generator):
    module = make_gain()

    def picture_batch(num_images):
        picture = torch.randint(0, 256, (num_images, 3, 4, 4), dtype=torch.uint8, generator=generator)
        return {
            "image": picture,
            "label": torch.ones(num_images, 3),
            "mask": torch.ones(num_images, 4, 4, dtype=torch.uint8),
            "mask_image": torch.arange(num_images),
            "mask_class": torch.zeros(num_images, dtype=torch.long),
            "id": ["x"],
        }

    batch = {"weak": picture_batch(2), "masked": picture_batch(1)}
    kept = copy.deepcopy(batch)
    out = module.on_after_batch_transfer(batch, 0)
    assert list(out) == ["weak", "masked"]
    for name, stream in out.items():
        expected = (kept[name]["image"].double() / 255 - 0.5) / 0.5  # statistics of the tiny CNN
        torch.testing.assert_close(stream["image"].double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(batch[name]["image"], kept[name]["image"])
        assert stream["label"] is batch[name]["label"]
        assert stream["mask"] is batch[name]["mask"]
        torch.testing.assert_close(module.on_after_batch_transfer(batch[name], 0)["image"], stream["image"])
    with pytest.raises(TypeError, match="uint8"):
        module.on_after_batch_transfer(out, 0)


# With a Trainer -------------------------------------------------------------------------------------------


def test_validation_changes_nothing(tmp_path):
    module = make_shapes_gain(am_weight=1, second_order=True)
    batch_norms(module)[0].eval()
    state, modes = state_of(module.backbone), modes_of(module.backbone)
    make_trainer(tmp_path).validate(module, datamodule=make_shapes(), verbose=False)
    assert same_state(module.backbone, state)
    assert modes_of(module.backbone) == modes
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_validation_under_inference_mode_says_what_to_do(tmp_path):
    trainer = make_trainer(tmp_path, inference_mode=True)
    with pytest.raises(RuntimeError, match=r"Trainer\(inference_mode=False\)"):
        trainer.validate(make_shapes_gain(), datamodule=make_shapes(), verbose=False)


def test_attend_gives_the_maps_of_grad_cam(tiny_backbone, batches):
    """Under no_grad, as in validation, and with several labels."""
    module = make_gain(tiny_backbone).eval()
    image, label = batches[0]["image"], batches[0]["label"]
    features = tiny_backbone.features(image)
    logits = tiny_backbone.head(features)
    expected = grad_cam(features, logits, label_pairs(label))
    with torch.no_grad():
        ours, maps, pairs = module.attend(image, label)
    assert not ours.requires_grad
    assert not maps.requires_grad
    assert torch.equal(ours, logits)
    torch.testing.assert_close(maps, expected)
    assert list(zip(pairs.image.tolist(), pairs.label.tolist(), strict=True)) == reference.pairs(
        label.numpy()
    )


def test_attend_builds_no_graph_of_the_features(tiny_backbone, batches, monkeypatch):
    """Its memory is that of validation, also where the caller has gradients switched on."""
    module = make_gain(tiny_backbone).eval()
    seen = []
    monkeypatch.setattr(
        tiny_backbone.features[-1], "forward", lambda x: seen.append(x.requires_grad) or x.relu()
    )
    module.attend(batches[0]["image"], batches[0]["label"])
    assert seen == [False]


# Levers of cost -------------------------------------------------------------------------------------------


def step_of(module, batches, seed=0):
    """Losses, gradients and statistics of one step of GAIN_ext in float64."""
    weak, masked = ({**batch, "image": batch["image"].double()} for batch in batches)
    module.double().zero_grad()
    torch.manual_seed(seed)  # of dropout
    terms = module.losses(weak, masked, 1.0)
    terms["loss"].backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    return terms, gradients, dict(module.named_buffers())


def vgg_like():
    """In-place ReLUs, some of which a cut between pieces could split from their convolution, and dropout."""
    convolutions = [nn.Conv2d(inputs, 8, 3, padding=1) for inputs in (3, 8, 8, 8, 8)]
    layers = [layer for conv in convolutions for layer in (conv, nn.ReLU(inplace=True))]
    last = nn.Linear(8 * 16, len(NAMES))
    head = nn.Sequential(
        nn.AdaptiveMaxPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 16, 8 * 16),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        last,
    )
    return Backbone(nn.Sequential(*layers), head, last)


@pytest.mark.parametrize(
    ("backbone", "frozen", "second_order"),
    [
        *(
            (name, frozen, order)
            for name in ("tiny_cnn", "resnet18")
            for frozen in (0, 1)
            for order in (0, 1)
        ),
        ("lite0", 0, 1),
        ("in_place", 0, 1),
    ],
)
def test_checkpointed_features_change_no_result(batches, backbone, frozen, second_order):
    """Nor dropout's draws, nor BatchNorm's statistics, which see each picture once."""
    settings = {
        "backbone": "tiny_cnn" if backbone == "in_place" else backbone,
        "am_weight": 1.0,
        "ext_weight": 10.0,
        "second_order": bool(second_order),
        "freeze_batch_norm": bool(frozen),
    }
    if backbone == "lite0":
        pytest.importorskip("timm")
    net = vgg_like() if backbone == "in_place" else None
    plain = make_gain(net, **settings)
    lever = make_gain(copy.deepcopy(net), **settings, checkpoint_features=True)
    lever.load_state_dict(plain.state_dict())
    for ours, theirs in zip(step_of(lever, batches), step_of(plain, batches), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-12, msg=key)
    assert modes_of(lever) == modes_of(plain)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_features_change_no_result(batches):
    settings = {"am_weight": 1.0, "ext_weight": 10.0, "second_order": True}
    plain = make_gain(**settings)
    lever = make_gain(**settings, compile_features=True)
    lever.load_state_dict(plain.state_dict())
    for ours, theirs in zip(step_of(lever, batches), step_of(plain, batches), strict=True):
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-12, msg=key)


def test_checkpointed_features_keep_less(batches):
    """Bytes that the graph holds for the backward pass."""

    def held(module):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module.losses(*batches, 1.0)
        return sum(tensor.untyped_storage().nbytes() for tensor in sizes.values())

    parameters = 4 * sum(p.numel() for p in make_gain(backbone="resnet18").parameters())
    keep, again = (
        held(make_gain(backbone="resnet18", am_weight=1.0, ext_weight=1.0, checkpoint_features=value))
        for value in (False, True)
    )
    assert again - parameters < 0.5 * (keep - parameters)


COMPILED = """
import torch
from gain_lightning.methods.gain import GAIN

options = []
torch.nn.Module.compile = lambda self, **given: options.append(given)
features = GAIN(["a"], 64, backbone="lite0", output_stride=16, compile_features=True).backbone.features
features = torch.compile(features, backend="aot_eager", **options[0])  # what comes after takes minutes on a CPU
for num_images in (2, 3, 5):
    features(torch.rand(num_images, 3, 64, 64)).sum().backward()
"""


@pytest.mark.slow
def test_compiled_features_of_lite0_come_to_an_end():
    """Had the size of the images been a symbol too, torch.compile would not have ended in minutes."""
    process = subprocess.run([sys.executable, "-c", COMPILED], check=False, timeout=600)
    assert process.returncode == 0


def test_the_map_method_is_a_row_of_the_table(batches, monkeypatch):
    monkeypatch.setitem(
        CAMS, "ones", lambda features, score, pairs, *, second_order: 1 + 0 * grad_cam(features, score, pairs)
    )
    monkeypatch.setitem(gain_settings.CHOICES, "map_method", tuple(CAMS))
    module = GAIN(NAMES, SIDE, map_method="ones")
    weak = batches[0]
    assert (module.attend(weak["image"], module.multi_hot(weak["label"]))[1] == 1).all()
    with pytest.raises(ValueError, match=r"model\.map_method is 'lrp', expected one of grad_cam, ones"):
        GAIN(NAMES, SIDE, map_method="lrp")
