"""A head treats images independently, or is made to, or is refused."""

import copy

import pytest
import torch
from torch import nn

from gain_lightning import backbones
from gain_lightning.backbones import BUILDERS, Backbone, build_backbone
from gain_lightning.backbones.batch_norm import batch_norm_layers, frozen_batch_norm
from gain_lightning.backbones.head import batch_norm_run_by
from gain_lightning.methods.layer_sync import SyncEveryBatchNorm

MIXING = ["mobilenetv4_conv_small", "efficientvit_b0", "repvit_m1", "levit_conv_128s", "shvit_s1"]


def maps_of_three(backbone, generator):
    shape = backbones.map_shape(backbone.features, backbone.image_size)
    return torch.randn(3, *shape[1:], generator=generator).requires_grad_()


def assert_apart(backbone, features):
    """Logits of image 0, and their gradient, are the same beside image 1 and beside image 2."""
    logits, gradients = [], []
    for others in ([0, 1], [0, 2]):
        logit = backbone.head(features[others])[0]
        (gradient,) = torch.autograd.grad((logit * torch.arange(1.0, 1 + len(logit))).sum(), features)
        logits.append(logit)
        gradients.append(gradient[0])
        assert not gradient[1:].any()
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].any()


@pytest.mark.parametrize("name", MIXING)
def test_batch_norm_of_a_timm_head_keeps_images_apart(generator, name):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, num_classes=3).train()
    features = model.forward_features(torch.randn(3, 3, 224, 224, generator=generator)).detach()
    pair, other = model.forward_head(features[[0, 1]])[0], model.forward_head(features[[0, 2]])[0]
    assert (pair - other).abs().max() > 1e-3  # timm's own mixes them

    backbone = build_backbone(f"timm/{name}", 3)
    features = maps_of_three(backbone, generator)
    assert_apart(backbone, features)
    twin = copy.deepcopy(backbone)
    for module in (backbone.train(), backbone.eval().train(), nn.Sequential(twin).eval().train()[0]):
        held = [layer for layer in batch_norm_layers(module) if not layer.training]
        assert held == [module.get_submodule(name) for name in module.frozen] != []
    assert_apart(backbone.train(), features)
    with frozen_batch_norm(backbone):
        pass
    assert_apart(backbone, features)
    plugin = SyncEveryBatchNorm()
    plugin.apply(backbone)
    assert_apart(backbone.train(), features)
    plugin.revert(backbone)
    assert_apart(backbone.train(), features)


def test_building_leaves_statistics_and_draws_as_they_are():
    timm = pytest.importorskip("timm")
    torch.manual_seed(3)
    expected = timm.create_model("mobilenetv4_conv_small", num_classes=3).state_dict()
    draw = torch.rand(1)
    torch.manual_seed(3)
    found = build_backbone("timm/mobilenetv4_conv_small", 3).features.model.state_dict()
    assert torch.rand(1) == draw
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18", "lite0", "timm/mobilenetv3_small_050"])
def test_other_heads_freeze_nothing(name):
    if name not in ("tiny_cnn", "resnet18"):
        pytest.importorskip("timm")
    backbone = build_backbone(name, 3)
    assert backbone.frozen == ()
    assert all(layer.training for layer in batch_norm_layers(backbone))


class Centred(nn.Module):
    def forward(self, features):
        return features - features.mean(0)


def own(*layers):
    """A backbone whose head has these layers before the last one."""
    features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=8, padding=1), nn.BatchNorm2d(8))
    classifier = nn.Linear(8, 2)
    head = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
    return Backbone(features, head, classifier)


def test_batch_norm_of_one_s_own_head_is_frozen_without_a_builder(generator):
    backbone = own(nn.BatchNorm2d(8), nn.Dropout(0.0)).train()
    assert backbone.frozen == ("head.0",)
    assert [layer.training for layer in batch_norm_layers(backbone)] == [True, False]
    assert_apart(backbone, maps_of_three(backbone, generator))


@pytest.mark.parametrize(
    "layer", [Centred(), nn.BatchNorm2d(8, track_running_stats=False), nn.Softmax(0)], ids=str
)
def test_head_that_mixes_images_otherwise_is_refused(monkeypatch, layer):
    monkeypatch.setitem(BUILDERS, "mine", lambda num_classes, weights, output_stride: own(layer))
    with pytest.raises(ValueError, match="backbone 'mine': the head mixes the images of a batch"):
        build_backbone("mine", 2)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.Softmax(1)], ids=str
)
def test_head_that_treats_images_alone_is_taken(monkeypatch, layer):
    monkeypatch.setitem(BUILDERS, "mine", lambda num_classes, weights, output_stride: own(layer))
    assert build_backbone("mine", 2).frozen == ()


def test_batch_norm_that_a_head_does_not_run_is_not_found():
    net = nn.ModuleDict({"used": nn.BatchNorm2d(2), "unused": nn.BatchNorm2d(2)})
    head = nn.Sequential(net["used"].eval(), nn.Flatten())
    assert batch_norm_run_by(head, torch.zeros(2, 2, 3, 3), owner=net) == ("used",)
    assert [net["used"].training, net["unused"].training] == [False, True]


@pytest.mark.parametrize("name", ["tiny_cnn", "resnet18"])
def test_head_treats_images_independently(generator, name):
    """As Grad-CAM needs, in training mode too."""
    backbone = build_backbone(name, 3).train()
    features = torch.randn(4, backbone.classifier.in_features, 3, 3, generator=generator)
    logits = backbone.head(features)
    torch.testing.assert_close(logits[[2, 0]], backbone.head(features[[2, 0]]))
